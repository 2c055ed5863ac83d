//! The low-level IR: a list of simple operations on virtual registers.
//!
//! `lower` writes it from a checked filter, `regalloc` gives its virtual registers places,
//! `target` encodes it. An operation is close to an insn, so that what a filter costs can be
//! read off it; what only a target knows (a column, the state, a record's way out) is one
//! operation each.
//!
//! **Invariant**: jumps lead forward only, so that a virtual register lives from its first
//! definition to its last use in the order of the list.

mod tidy;

use kernel_vm::abi::Verdict;

pub use crate::asm::{AluOp, Cond};
use crate::hir::{ColumnRef, Span};

/// A virtual register: 64 bits, or a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VReg(pub u32);

/// A place that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(pub u32);

/// A register or a small constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(VReg),
    /// A constant, extended with its sign.
    Imm(i32),
}

impl From<VReg> for Operand {
    fn from(reg: VReg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Self::Imm(imm)
    }
}

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A pointer in a register.
    Reg(VReg),
    /// The frame pointer; offsets are negative.
    Frame,
    /// The row (`vm`).
    Row,
    /// The filter's block of `.rodata` (`bpf`).
    Params,
    /// The row body's own words in `.bss` (`bpf`).
    Scratch,
}

/// A function that the object brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Routine {
    /// `a * b / c`, exact, saturated.
    MulDiv,
    /// What is left after a time of something that halves in another.
    Decay,
    /// Advances a running variance.
    Spread,
    /// The square root of a variance.
    Root,
}

impl Routine {
    /// Every routine.
    pub const ALL: [Self; 4] = [Self::MulDiv, Self::Decay, Self::Spread, Self::Root];

    /// Its symbol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MulDiv => "kf_muldiv",
            Self::Decay => "kf_decay",
            Self::Spread => "kf_spread",
            Self::Root => "kf_root",
        }
    }

    /// How many arguments it takes, if all are numbers.
    #[must_use]
    pub const fn numbers(self) -> Option<u8> {
        match self {
            Self::MulDiv => Some(3),
            Self::Decay | Self::Root => Some(2),
            Self::Spread => None,
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// What follows was written for this part of the source.
    Mark(Span),
    /// Jumps to the place come here.
    Bind(Place),
    /// Goes there.
    Jump(Place),
    /// Goes there if the comparison holds.
    Branch {
        /// The comparison.
        cond: Cond,
        /// Its left side.
        lhs: VReg,
        /// Its right side.
        rhs: Operand,
        /// Where to.
        to: Place,
    },
    /// The registers that the function is called with, in the order of the arguments.
    Entry(Vec<VReg>),
    /// `dst = value`
    Const {
        /// Result.
        dst: VReg,
        /// The constant.
        value: i64,
    },
    /// `dst = src`
    Mov {
        /// Result.
        dst: VReg,
        /// Source.
        src: VReg,
    },
    /// `dst = lhs op rhs`
    Alu {
        /// What is done.
        op: AluOp,
        /// Result.
        dst: VReg,
        /// Left operand.
        lhs: VReg,
        /// Right operand.
        rhs: Operand,
    },
    /// `dst = -src`, wrapping.
    Neg {
        /// Result.
        dst: VReg,
        /// Operand.
        src: VReg,
    },
    /// `dst =` the 8 bytes at `base + offset`.
    Load {
        /// Result.
        dst: VReg,
        /// Where.
        base: Base,
        /// Bytes from there.
        offset: i32,
    },
    /// The 8 bytes at `base + offset` become `src`.
    Store {
        /// Where.
        base: Base,
        /// Bytes from there.
        offset: i32,
        /// What.
        src: Operand,
    },
    /// `dst =` the time of the sweep, in nanoseconds since boot.
    Now {
        /// Result.
        dst: VReg,
    },
    /// `dst =` an integer column of the row (`bpf`).
    Column {
        /// Result.
        dst: VReg,
        /// Which.
        column: ColumnRef,
        /// Where to if it cannot be read.
        unreadable: Place,
    },
    /// A text column or an object of the row goes to the frame (`bpf`).
    Bytes {
        /// Which.
        column: ColumnRef,
        /// Where to, from the frame pointer.
        frame: i32,
        /// Where to go if it cannot be read.
        unreadable: Place,
    },
    /// `dst =` the address of the row's state.
    State {
        /// Result.
        dst: VReg,
        /// Where to if there is no room for it.
        unavailable: Place,
    },
    /// `dst = routine(args…)`
    Call {
        /// Result.
        dst: VReg,
        /// What is called.
        routine: Routine,
        /// Its arguments, at most five.
        args: Vec<VReg>,
    },
    /// The record on the frame is handed over.
    Emit,
    /// The row is finished.
    Exit(Verdict),
    /// The routine returns.
    Return(VReg),
}

impl Op {
    /// The register that it writes.
    #[must_use]
    pub fn def(&self) -> Option<VReg> {
        match self {
            Self::Const { dst, .. }
            | Self::Mov { dst, .. }
            | Self::Alu { dst, .. }
            | Self::Neg { dst, .. }
            | Self::Load { dst, .. }
            | Self::Now { dst }
            | Self::Column { dst, .. }
            | Self::State { dst, .. }
            | Self::Call { dst, .. } => Some(*dst),
            Self::Mark(_)
            | Self::Bind(_)
            | Self::Jump(_)
            | Self::Branch { .. }
            | Self::Entry(_)
            | Self::Store { .. }
            | Self::Bytes { .. }
            | Self::Emit
            | Self::Exit(_)
            | Self::Return(_) => None,
        }
    }

    /// Calls `f` for each register that it reads.
    pub fn uses(&self, mut f: impl FnMut(VReg)) {
        let mut operand = |operand: &Operand| {
            if let Operand::Reg(reg) = operand {
                f(*reg);
            }
        };
        match self {
            Self::Branch { lhs, rhs, .. } | Self::Alu { lhs, rhs, .. } => {
                operand(&Operand::Reg(*lhs));
                operand(rhs);
            }
            Self::Mov { src, .. } | Self::Neg { src, .. } | Self::Return(src) => f(*src),
            Self::Load { base, .. } => {
                if let Base::Reg(reg) = base {
                    f(*reg);
                }
            }
            Self::Store { base, src, .. } => {
                operand(src);
                if let Base::Reg(reg) = base {
                    f(*reg);
                }
            }
            Self::Call { args, .. } => args.iter().copied().for_each(f),
            Self::Mark(_)
            | Self::Bind(_)
            | Self::Jump(_)
            | Self::Entry(_)
            | Self::Const { .. }
            | Self::Now { .. }
            | Self::Column { .. }
            | Self::Bytes { .. }
            | Self::State { .. }
            | Self::Emit
            | Self::Exit(_) => {}
        }
    }

    /// The place that it may jump to.
    #[must_use]
    pub fn target(&self) -> Option<Place> {
        match self {
            Self::Jump(to)
            | Self::Branch { to, .. }
            | Self::Column { unreadable: to, .. }
            | Self::Bytes { unreadable: to, .. }
            | Self::State { unavailable: to, .. } => Some(*to),
            Self::Mark(_)
            | Self::Bind(_)
            | Self::Entry(_)
            | Self::Const { .. }
            | Self::Mov { .. }
            | Self::Alu { .. }
            | Self::Neg { .. }
            | Self::Load { .. }
            | Self::Store { .. }
            | Self::Now { .. }
            | Self::Call { .. }
            | Self::Emit
            | Self::Exit(_)
            | Self::Return(_) => None,
        }
    }

    /// Whether what follows it can only be reached by a jump.
    #[must_use]
    pub fn diverges(&self) -> bool {
        matches!(self, Self::Jump(_) | Self::Exit(_) | Self::Return(_))
    }
}

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
