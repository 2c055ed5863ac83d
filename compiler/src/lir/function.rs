//! A list of operations under construction.
//!
//! **Invariant**: registers and places are numbered from 0, in the order in which they were
//! asked for.

use kernel_vm::abi::Verdict;

use super::{AluOp, Base, Cond, Op, Operand, Place, Routine, VReg};

/// A function in LIR.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its operations.
    pub ops: Vec<Op>,
    regs: u32,
    places: u32,
}

impl Function {
    /// How many virtual registers it has.
    #[must_use]
    pub fn regs(&self) -> usize {
        self.regs as usize
    }

    /// How many places it has.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places as usize
    }

    /// How the row ends at `place`, if it does without anything else.
    #[must_use]
    pub fn ends_at(&self, place: Place) -> Option<Verdict> {
        let mut there = self.ops.iter().skip_while(|op| **op != Op::Bind(place));
        match there.find(|op| !matches!(op, Op::Bind(_) | Op::Mark(_))) {
            Some(Op::Exit(verdict)) => Some(*verdict),
            _ => None,
        }
    }

    /// A register that nothing has written yet.
    pub fn reg(&mut self) -> VReg {
        self.regs += 1;
        VReg(self.regs - 1)
    }

    /// A place to be bound later.
    pub fn place(&mut self) -> Place {
        self.places += 1;
        Place(self.places - 1)
    }

    /// Appends an operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// A register that holds `value`.
    pub fn constant(&mut self, value: i64) -> VReg {
        let dst = self.reg();
        self.push(Op::Const { dst, value });
        dst
    }

    /// A register that holds `lhs op rhs`.
    pub fn alu(&mut self, op: AluOp, lhs: VReg, rhs: impl Into<Operand>) -> VReg {
        let dst = self.reg();
        self.push(Op::Alu { op, dst, lhs, rhs: rhs.into() });
        dst
    }

    /// `dst = lhs op rhs`, for a register that other paths write too.
    pub fn alu_into(&mut self, dst: VReg, op: AluOp, lhs: VReg, rhs: impl Into<Operand>) {
        self.push(Op::Alu { op, dst, lhs, rhs: rhs.into() });
    }

    /// `dst = src`
    pub fn mov(&mut self, dst: VReg, src: VReg) {
        self.push(Op::Mov { dst, src });
    }

    /// A register that holds `-src`.
    pub fn neg(&mut self, src: VReg) -> VReg {
        let dst = self.reg();
        self.push(Op::Neg { dst, src });
        dst
    }

    /// A register that holds the 8 bytes at `base + offset`.
    pub fn load(&mut self, base: Base, offset: i32) -> VReg {
        let dst = self.reg();
        self.push(Op::Load { dst, base, offset });
        dst
    }

    /// The 8 bytes at `base + offset` become `src`.
    pub fn store(&mut self, base: Base, offset: i32, src: impl Into<Operand>) {
        self.push(Op::Store { base, offset, src: src.into() });
    }

    /// Goes to `to` if `lhs cond rhs`.
    pub fn branch(&mut self, cond: Cond, lhs: VReg, rhs: impl Into<Operand>, to: Place) {
        self.push(Op::Branch { cond, lhs, rhs: rhs.into(), to });
    }

    /// Goes to `to`.
    pub fn jump(&mut self, to: Place) {
        self.push(Op::Jump(to));
    }

    /// Jumps to `place` come here.
    pub fn bind(&mut self, place: Place) {
        self.push(Op::Bind(place));
    }

    /// A register that holds `routine(args…)`.
    pub fn call(&mut self, routine: Routine, args: &[VReg]) -> VReg {
        let dst = self.reg();
        self.push(Op::Call { dst, routine, args: args.to_vec() });
        dst
    }

    /// `count` registers that hold the function's arguments.
    pub fn entry<const N: usize>(&mut self) -> [VReg; N] {
        let regs = core::array::from_fn(|_| self.reg());
        self.push(Op::Entry(regs.to_vec()));
        regs
    }

    /// The routines that it calls, each once.
    #[must_use]
    pub fn routines(&self) -> Vec<Routine> {
        let mut found: Vec<Routine> = self
            .ops
            .iter()
            .filter_map(|op| if let Op::Call { routine, .. } = op { Some(*routine) } else { None })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
