//! What rbpf's engines have: programs for them keep to it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "insns are looked at for what they share, not one by one"
)]

use crate::isa::{AluOp, ByteOrder, Callee, Cond, Insn, Operand, Size, Wide, Width};

/// An engine of rbpf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// It looks at one insn after the other.
    Interpreter,
    /// It compiles to machine code, a page of it at most.
    Jit,
}

impl Engine {
    /// Both.
    pub const ALL: &[Self] = &[Self::Interpreter, Self::Jit];

    /// Whether it has the insn and means by it what the RFC does.
    #[must_use]
    pub fn has(self, insn: &Insn) -> bool {
        match *insn {
            // The fourth version of the ISA, atomics and everything of a platform are missing.
            Insn::MovSx { .. }
            | Insn::Atomic { .. }
            | Insn::Load { signed: true, .. }
            | Insn::End { order: ByteOrder::Swap, .. }
            | Insn::Jump { long: true, .. }
            | Insn::Alu { op: AluOp::Sdiv | AluOp::Smod, .. }
            | Insn::Call(Callee::Helper(_) | Callee::Kfunc { .. }) => false,
            // The rest by zero keeps the upper half of the dividend.
            Insn::Alu { width: Width::W32, op: AluOp::Mod, src: Operand::Reg(_), .. } => false,
            Insn::LoadWide { value, .. } => matches!(value, Wide::Value(_)),
            // With overflow checks it panics at the minimum.
            Insn::Neg { width: Width::W64, .. } => self == Self::Jit,
            // Immediates are taken for unsigned 32-bit numbers.
            Insn::JumpIf { width: Width::W64, cond, src: Operand::Imm(imm), .. } if imm < 0 => {
                self == Self::Jit || is_signed(cond) || cond == Cond::Set
            }
            // The upper half stays.
            Insn::Mov { width: Width::W32, src: Operand::Reg(_), .. } => self == Self::Interpreter,
            Insn::End { order: ByteOrder::Le, size, .. } => {
                self == Self::Interpreter || size == Size::Dw
            }
            _ => true,
        }
    }
}

fn is_signed(cond: Cond) -> bool {
    matches!(cond, Cond::Sgt | Cond::Sge | Cond::Slt | Cond::Sle)
}
