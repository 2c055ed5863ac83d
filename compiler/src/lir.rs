//! The low-level IR: a list of simple operations on virtual registers.
//!
//! `lower` writes it from a checked filter, `regalloc` gives its virtual registers places,
//! `target` encodes it. An operation is close to an insn, so that what a filter costs can be
//! read off it; what only a target knows (a column, the state, a record's way out) is one
//! operation each.
//!
//! **Invariant**: jumps lead forward only, so that a virtual register lives from its first
//! definition to its last use in the order of the list.

mod function;
mod tidy;

use kernel_vm::abi::Verdict;

pub use self::function::Function;
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
    /// Advances a running mean; what is left of what was before. Only the machine has it.
    Average,
    /// Advances a running variance.
    Spread,
    /// The square root of a variance.
    Root,
}

impl Routine {
    /// Every routine that an object can bring along.
    pub const ALL: [Self; 4] = [Self::MulDiv, Self::Decay, Self::Spread, Self::Root];

    /// Its symbol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MulDiv => "kf_muldiv",
            Self::Decay => "kf_decay",
            Self::Average => "kf_average",
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
            Self::Spread | Self::Average => None,
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
    /// What is known of registers that nobody reads at this place ends here. The kernel's
    /// verifier takes paths that meet for one only if all registers agree, read or not.
    Meet(Place),
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
        /// Where to if it cannot be read; `None` where one that is read together with it was
        /// read before.
        unreadable: Option<Place>,
    },
    /// A text column or an object of the row goes to the frame (`bpf`).
    Bytes {
        /// Which.
        column: ColumnRef,
        /// Where to, from the frame pointer.
        frame: i32,
        /// Where to go if it cannot be read; `None` as above.
        unreadable: Option<Place>,
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
            | Self::Meet(_)
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
            | Self::Meet(_)
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
            Self::Jump(to) | Self::Branch { to, .. } | Self::State { unavailable: to, .. } => {
                Some(*to)
            }
            Self::Column { unreadable, .. } | Self::Bytes { unreadable, .. } => *unreadable,
            Self::Mark(_)
            | Self::Bind(_)
            | Self::Meet(_)
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
