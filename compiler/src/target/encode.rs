//! From LIR with places to insns: what both targets share.
//!
//! **Invariant**: only `r0` and `r1` are used beside the registers that the allocation
//! gave out, and `r0` to `r5` are free around an operation that [`Hooks::loses`] them.

use kernel_vm::abi::Verdict;

use crate::asm::{AluOp, Asm, Cond, FP, Label, R0, R1, R6, Reg, Size};
use crate::lir::{Base, Function, Op, Operand, Place, Routine, VReg};
use crate::regalloc::{Allocation, Loc};

/// What only a target knows how to do. Each may use `r0` and `r1`; those whose operation
/// loses `r0` to `r5` may use all of them.
pub(crate) trait Hooks {
    /// Whether `op` loses `r0` to `r5`.
    fn loses(&self, op: &Op) -> bool;

    /// Encodes one of the operations that differ: `Now`, `Column`, `Bytes`, `State`, `Emit`,
    /// `Exit`. A result goes to `dst`, a jump to `to`.
    fn special(&mut self, asm: &mut Asm, op: &Op, dst: Reg, to: Option<Label>);

    /// Calls `routine`, whose arguments are in their registers.
    fn call(&mut self, asm: &mut Asm, routine: Routine) {
        asm.call_subprog(routine.name());
    }

    /// `dst =` the address `offset` bytes into the row body's own words.
    fn scratch(&mut self, asm: &mut Asm, dst: Reg, offset: i32);

    /// Whether a value on the frame is compared by a copy of which the verifier does not know
    /// that it is one. The kernel's carries what a comparison tells to the slot, where it
    /// outlives the value: two paths that meet behind its last use are two paths for good.
    fn compares_copies(&self) -> bool {
        false
    }

    /// Whether [`Op::Meet`] says something: to the kernel's verifier.
    fn meets(&self) -> bool {
        false
    }

    /// `dst =` the 8 bytes `offset` bytes into the filter's parameters.
    fn param(&mut self, asm: &mut Asm, dst: Reg, offset: i32);
}

/// Appends the code of `function` to `asm`.
pub(crate) fn encode(
    function: &Function,
    allocation: &Allocation,
    asm: &mut Asm,
    hooks: &mut dyn Hooks,
) {
    let labels: Vec<Label> = (0..function.places()).map(|_| asm.label()).collect();
    let mut encoder = Encoder { function, allocation, labels, asm, hooks, held: [None; 2] };
    for op in &function.ops {
        encoder.op(op);
    }
}

/// Appends the code of the first `ops` operations of `function`, which goes to `passed` where the
/// row passes, and to `open` where all else follows.
pub(crate) fn encode_first(
    function: &Function,
    ops: usize,
    allocation: &Allocation,
    asm: &mut Asm,
    hooks: &mut dyn Hooks,
    [passed, open]: [Label; 2],
) {
    let first = function.ops.get(..ops).unwrap_or(&function.ops);
    let labels = (0..function.places())
        .map(|place| {
            let place = Place(place as u32);
            if function.ends_at(place) == Some(Verdict::Pass) {
                passed
            } else if first.contains(&Op::Bind(place)) {
                asm.label()
            } else {
                open
            }
        })
        .collect();
    let mut encoder = Encoder { function, allocation, labels, asm, hooks, held: [None; 2] };
    for op in first {
        encoder.op(op);
    }
    asm.jump(open);
}

struct Encoder<'a> {
    function: &'a Function,
    allocation: &'a Allocation,
    labels: Vec<Label>,
    asm: &'a mut Asm,
    hooks: &'a mut dyn Hooks,
    /// What `r0` and `r1` have in common with a slot of the frame, and which of their values
    /// that was.
    held: [Option<(VReg, u32)>; 2],
}

impl Encoder<'_> {
    fn op(&mut self, op: &Op) {
        let to = op.target().map(|place| self.labels[place.0 as usize]);
        match op {
            Op::Mark(span) => self.asm.mark(*span),
            Op::Bind(place) => self.asm.bind(self.labels[place.0 as usize]),
            Op::Jump(_) => self.asm.jump(to.expect("a jump has a target")),
            Op::Meet(place) if self.hooks.meets() => {
                let unread = self.allocation.unread_at(self.function, *place);
                unread.into_iter().for_each(|reg| self.asm.load_imm(reg, 0));
            }
            Op::Meet(_) => {}
            Op::Branch { cond, lhs, rhs, .. } => {
                self.branch(*cond, *lhs, *rhs, to.expect("a branch has a target"));
            }
            Op::Entry(regs) => self.entry(regs),
            Op::Const { dst, value } => match self.allocation.loc(*dst) {
                Loc::Reg(reg) => self.asm.load_imm(reg, *value),
                Loc::Slot(slot) => {
                    self.store_constant(FP, slot, *value);
                    self.forget(*dst);
                }
                Loc::Const(_) | Loc::Param(_) => {}
            },
            Op::Mov { dst, src } => self.mov(*dst, *src),
            Op::Alu { op, dst, lhs, rhs } => self.alu(*op, *dst, *lhs, *rhs),
            Op::Neg { dst, src } => {
                let into = self.result(*dst);
                self.read_into(into, *src);
                self.asm.neg(into);
                self.keep(*dst, into);
            }
            Op::Load { dst, base: Base::Params, .. }
                if matches!(self.allocation.loc(*dst), Loc::Param(_)) => {}
            Op::Load { dst, base, offset } => {
                let into = self.result(*dst);
                if *base == Base::Params {
                    self.hooks.param(self.asm, into, *offset);
                } else {
                    let (base, offset) = self.address(*base, *offset);
                    self.asm.load(Size::Dw, into, base, offset);
                }
                self.keep(*dst, into);
            }
            Op::Store { base, offset, src } => {
                let (base, offset) = self.address(*base, *offset);
                match self.immediate(*src) {
                    Operand::Imm(imm) => self.asm.store_imm(Size::Dw, base, offset, imm),
                    Operand::Reg(reg) => {
                        let reg = self.read(reg, R0);
                        self.asm.store(Size::Dw, base, offset, reg);
                    }
                }
            }
            Op::Call { dst, routine, args } => {
                self.arguments(args);
                self.hooks.call(self.asm, *routine);
                self.keep(*dst, R0);
            }
            Op::Now { dst } | Op::Column { dst, .. } | Op::State { dst, .. } => {
                let into = match self.allocation.loc(*dst) {
                    Loc::Reg(reg) => reg,
                    Loc::Slot(_) | Loc::Const(_) | Loc::Param(_) => R1,
                };
                self.hooks.special(self.asm, op, into, to);
                self.keep(*dst, into);
            }
            Op::Bytes { .. } | Op::Emit | Op::Exit(_) => {
                self.hooks.special(self.asm, op, R1, to);
            }
            Op::Return(src) => {
                self.read_into(R0, *src);
                self.asm.exit();
            }
        }
    }

    /// The register that holds `reg`, `scratch` if it has none.
    fn read(&mut self, reg: VReg, scratch: Reg) -> Reg {
        match self.allocation.loc(reg) {
            Loc::Reg(reg) => reg,
            Loc::Slot(_) | Loc::Const(_) | Loc::Param(_) => {
                self.read_into(scratch, reg);
                scratch
            }
        }
    }

    fn read_into(&mut self, dst: Reg, reg: VReg) {
        match self.allocation.loc(reg) {
            Loc::Reg(reg) => self.asm.mov(dst, reg),
            Loc::Slot(_) if self.holds(dst, reg) => {}
            Loc::Slot(slot) => {
                self.asm.load(Size::Dw, dst, FP, short(slot));
                self.now_holds(dst, reg);
            }
            Loc::Const(value) => self.asm.load_imm(dst, value),
            Loc::Param(offset) => self.hooks.param(self.asm, dst, offset),
        }
    }

    /// Where a result for `reg` is computed: its register, or `r0` on its way to memory.
    fn result(&self, reg: VReg) -> Reg {
        match self.allocation.loc(reg) {
            Loc::Reg(reg) => reg,
            Loc::Slot(_) | Loc::Const(_) | Loc::Param(_) => R0,
        }
    }

    /// Whether the scratch register `scratch` still has the value of `reg`, which is on the frame.
    fn holds(&self, scratch: Reg, reg: VReg) -> bool {
        let held = self.held.get(usize::from(scratch.0)).copied().flatten();
        held == Some((reg, self.asm.writes(scratch)))
    }

    /// The frame's `reg` and `scratch` have become the same.
    fn now_holds(&mut self, scratch: Reg, reg: VReg) {
        self.forget(reg);
        if let Some(held) = self.held.get_mut(usize::from(scratch.0)) {
            *held = Some((reg, self.asm.writes(scratch)));
        }
    }

    /// The frame's `reg` has become something else.
    fn forget(&mut self, reg: VReg) {
        for held in &mut self.held {
            *held = held.filter(|(held, _)| *held != reg);
        }
    }

    /// The result for `reg` stands in `from`: brings it to its place.
    fn keep(&mut self, reg: VReg, from: Reg) {
        match self.allocation.loc(reg) {
            Loc::Reg(reg) => self.asm.mov(reg, from),
            Loc::Slot(slot) => {
                self.asm.store(Size::Dw, FP, short(slot), from);
                self.now_holds(from, reg);
            }
            Loc::Const(_) | Loc::Param(_) => {}
        }
    }

    fn mov(&mut self, dst: VReg, src: VReg) {
        match (self.allocation.loc(dst), self.allocation.loc(src)) {
            (Loc::Reg(dst), _) => self.read_into(dst, src),
            (Loc::Slot(slot), Loc::Const(value)) => {
                self.store_constant(FP, slot, value);
                self.forget(dst);
            }
            (to, from) if to == from => {}
            _ => {
                let from = self.read(src, R0);
                self.keep(dst, from);
            }
        }
    }

    fn store_constant(&mut self, base: Reg, offset: i32, value: i64) {
        if let Ok(imm) = i32::try_from(value) {
            self.asm.store_imm(Size::Dw, base, short(offset), imm);
        } else {
            self.asm.load_imm(R0, value);
            self.asm.store(Size::Dw, base, short(offset), R0);
        }
    }

    /// A register and what is to be added to it; the register may be `r1`.
    fn address(&mut self, base: Base, offset: i32) -> (Reg, i16) {
        match base {
            Base::Reg(reg) => (self.read(reg, R1), short(offset)),
            Base::Frame => (FP, short(offset)),
            Base::Row => (R6, short(offset)),
            Base::Scratch => {
                self.hooks.scratch(self.asm, R1, offset);
                (R1, 0)
            }
            Base::Params => unreachable!("parameters are read through the hook"),
        }
    }

    /// The operand, an immediate if it is a constant that fits.
    fn immediate(&self, operand: Operand) -> Operand {
        let Operand::Reg(reg) = operand else { return operand };
        match self.allocation.loc(reg) {
            Loc::Const(value) => i32::try_from(value).map_or(operand, Operand::Imm),
            Loc::Reg(_) | Loc::Slot(_) | Loc::Param(_) => operand,
        }
    }

    fn branch(&mut self, cond: Cond, lhs: VReg, rhs: Operand, to: Label) {
        let lhs = self.compared(lhs, R0);
        match self.immediate(rhs) {
            Operand::Imm(imm) => self.asm.jump_if_imm(cond, lhs, imm, to),
            Operand::Reg(reg) => {
                let rhs = self.compared(reg, R1);
                self.asm.jump_if(cond, lhs, rhs, to);
            }
        }
    }

    /// As [`Encoder::read`], for a comparison.
    fn compared(&mut self, reg: VReg, scratch: Reg) -> Reg {
        let read = self.read(reg, scratch);
        if matches!(self.allocation.loc(reg), Loc::Slot(_)) && self.hooks.compares_copies() {
            self.asm.alu_imm(AluOp::Or, read, 0);
        }
        read
    }

    fn alu(&mut self, op: AluOp, dst: VReg, lhs: VReg, rhs: Operand) {
        let into = self.result(dst);
        let done = match self.immediate(rhs) {
            // `x / 0` and `x % 0` with a constant 0 are refused by verifiers; lowering folds
            // them.
            Operand::Imm(imm) => {
                self.read_into(into, lhs);
                self.asm.alu_imm(op, into, imm);
                into
            }
            Operand::Reg(reg) => {
                let rhs = self.read(reg, R1);
                if rhs == into && self.allocation.loc(lhs) != Loc::Reg(into) {
                    self.alu_onto_right(op, into, lhs)
                } else {
                    self.read_into(into, lhs);
                    self.asm.alu(op, into, rhs);
                    into
                }
            }
        };
        self.keep(dst, done);
    }

    /// `lhs op into`, where the right operand's register is also the result's: in which register.
    fn alu_onto_right(&mut self, op: AluOp, into: Reg, lhs: VReg) -> Reg {
        match op {
            AluOp::Add | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor => {}
            // -right + left
            AluOp::Sub => self.asm.neg(into),
            AluOp::Div | AluOp::Mod | AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                self.read_into(R0, lhs);
                self.asm.alu(op, R0, into);
                return R0;
            }
        }
        let op = if op == AluOp::Sub { AluOp::Add } else { op };
        match self.immediate(Operand::Reg(lhs)) {
            Operand::Imm(imm) => self.asm.alu_imm(op, into, imm),
            Operand::Reg(lhs) => {
                let lhs = self.read(lhs, R0);
                self.asm.alu(op, into, lhs);
            }
        }
        into
    }

    /// Brings the arguments to `r1` to `r5`, in an order in which none is overwritten before
    /// it has been read.
    fn arguments(&mut self, args: &[VReg]) {
        let mut moves: Vec<(Reg, Loc)> = args
            .iter()
            .zip(1_u8..)
            .map(|(arg, index)| (Reg(index), self.allocation.loc(*arg)))
            .filter(|(dst, src)| *src != Loc::Reg(*dst))
            .collect();
        while !moves.is_empty() {
            let ready = moves
                .iter()
                .position(|(dst, _)| moves.iter().all(|(_, src)| *src != Loc::Reg(*dst)));
            match ready {
                Some(index) => {
                    let (dst, src) = moves.swap_remove(index);
                    match src {
                        Loc::Reg(reg) => self.asm.mov(dst, reg),
                        Loc::Slot(slot) => self.asm.load(Size::Dw, dst, FP, short(slot)),
                        Loc::Const(value) => self.asm.load_imm(dst, value),
                        Loc::Param(offset) => self.hooks.param(self.asm, dst, offset),
                    }
                }
                // A ring of registers: one steps aside into r0.
                None => {
                    let (dst, _) = moves[0];
                    self.asm.mov(R0, dst);
                    for (_, src) in &mut moves {
                        if *src == Loc::Reg(dst) {
                            *src = Loc::Reg(R0);
                        }
                    }
                }
            }
        }
    }

    fn entry(&mut self, regs: &[VReg]) {
        for (reg, index) in regs.iter().zip(1_u8..) {
            // The allocation gave arguments places outside r1 to r5.
            if self.allocation.has(*reg) {
                self.keep(*reg, Reg(index));
            }
        }
    }
}

/// An offset within a frame, a row or a block of state, all of which are small.
fn short(offset: i32) -> i16 {
    i16::try_from(offset).expect("offsets are bounded by the plan")
}
