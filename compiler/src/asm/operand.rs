//! What insns are made of: registers, sizes, operations and conditions, as the targets name
//! them, and the bits that stand for them in an opcode.
//!
//! **Invariant**: the bits are those of kernel-vm's ISA; the targets' code is decoded by it
//! in the tests.

/// A register, `r0` to `r10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u8);

/// Result of calls; scratch.
pub const R0: Reg = Reg(0);
/// First argument; clobbered by calls.
pub const R1: Reg = Reg(1);
/// Second argument; clobbered by calls.
pub const R2: Reg = Reg(2);
/// Third argument; clobbered by calls.
pub const R3: Reg = Reg(3);
/// Fourth argument; clobbered by calls.
pub const R4: Reg = Reg(4);
/// Fifth argument; clobbered by calls.
pub const R5: Reg = Reg(5);
/// Kept across calls: the row's task (`bpf`) or the row (`vm`).
pub const R6: Reg = Reg(6);
/// Kept across calls.
pub const R7: Reg = Reg(7);
/// Kept across calls.
pub const R8: Reg = Reg(8);
/// Kept across calls.
pub const R9: Reg = Reg(9);
/// The frame pointer, read only; the stack lies below it.
pub const FP: Reg = Reg(10);

/// How many bytes a load or a store moves; loads extend with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    Dw,
}

impl Size {
    /// The size of `bytes` bytes; `None` unless 1, 2, 4 or 8.
    #[must_use]
    pub const fn of(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::B),
            2 => Some(Self::H),
            4 => Some(Self::W),
            8 => Some(Self::Dw),
            _ => None,
        }
    }

    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::W => 0x00,
            Self::H => 0x08,
            Self::B => 0x10,
            Self::Dw => 0x18,
        }
    }
}

/// Arithmetic of two operands, 64 or 32 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// Sum, wrapping.
    Add,
    /// Difference, wrapping.
    Sub,
    /// Product, wrapping.
    Mul,
    /// Unsigned quotient; 0 when the divisor is 0.
    Div,
    /// Unsigned remainder; the dividend when the divisor is 0.
    Mod,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left.
    Lsh,
    /// Shift right, zeros in.
    Rsh,
    /// Shift right, sign in.
    Arsh,
}

impl AluOp {
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Sub => 0x10,
            Self::Mul => 0x20,
            Self::Div => 0x30,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::Lsh => 0x60,
            Self::Rsh => 0x70,
            Self::Mod => 0x90,
            Self::Xor => 0xa0,
            Self::Arsh => 0xc0,
        }
    }
}

/// The condition of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Unsigned less.
    Lt,
    /// Unsigned less or equal.
    Le,
    /// Some bit in common.
    Set,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
}

impl Cond {
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Eq => 0x10,
            Self::Gt => 0x20,
            Self::Ge => 0x30,
            Self::Set => 0x40,
            Self::Ne => 0x50,
            Self::Sgt => 0x60,
            Self::Sge => 0x70,
            Self::Lt => 0xa0,
            Self::Le => 0xb0,
            Self::Slt => 0xc0,
            Self::Sle => 0xd0,
        }
    }
}
