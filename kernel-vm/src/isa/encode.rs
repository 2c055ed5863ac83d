//! From insns back to slots.
//!
//! **Invariant**: the exact inverse of [`super::decode`].

use super::{
    ByteOrder, Callee, Insn, Operand, RawInsn, Reg, SOURCE_REG, Size, Wide, Width, class, mode, op,
};

/// The insn's first slot and, for a 16-byte load, its second.
///
/// Fields that the variants leave open are cut to what the slot holds: the distance of a
/// short [`Insn::Jump`] to 16 bits.
#[must_use]
pub const fn encode(insn: Insn) -> (RawInsn, Option<RawInsn>) {
    if let Insn::LoadWide { dst, value } = insn {
        let (kind, low, high) = wide(value);
        let code = class::LD | mode::IMM | Size::Dw.code();
        let first = RawInsn::new(code, dst.number(), kind, 0, low);
        return (first, Some(RawInsn { code: 0, regs: 0, off: 0, imm: high }));
    }
    (single(insn), None)
}

const fn single(insn: Insn) -> RawInsn {
    match insn {
        Insn::Alu { width, op, dst, src } => {
            with_operand(alu(width) | op.code(), dst, op.off(), src)
        }
        Insn::Mov { width, dst, src } => with_operand(alu(width) | op::MOV, dst, 0, src),
        Insn::MovSx { width, from, dst, src } => {
            let code = alu(width) | op::MOV | SOURCE_REG;
            RawInsn::new(code, dst.number(), src.number(), bits(from), 0)
        }
        Insn::Neg { width, dst } => RawInsn::new(alu(width) | op::NEG, dst.number(), 0, 0, 0),
        Insn::End { order, size, dst } => {
            let code = match order {
                ByteOrder::Le => class::ALU,
                ByteOrder::Be => class::ALU | SOURCE_REG,
                ByteOrder::Swap => class::ALU64,
            };
            RawInsn::new(code | op::END, dst.number(), 0, 0, bits(size) as i32)
        }
        Insn::Load { size, signed, dst, src, off } => {
            let mode = if signed { mode::MEMSX } else { mode::MEM };
            RawInsn::new(class::LDX | mode | size.code(), dst.number(), src.number(), off, 0)
        }
        Insn::Store { size, dst, off, src } => {
            let code = mode::MEM | size.code();
            match src {
                Operand::Reg(src) => {
                    RawInsn::new(class::STX | code, dst.number(), src.number(), off, 0)
                }
                Operand::Imm(imm) => RawInsn::new(class::ST | code, dst.number(), 0, off, imm),
            }
        }
        Insn::Atomic { width, op, dst, src, off } => {
            let size = match width {
                Width::W32 => Size::W,
                Width::W64 => Size::Dw,
            };
            let code = class::STX | mode::ATOMIC | size.code();
            RawInsn::new(code, dst.number(), src.number(), off, op.imm())
        }
        Insn::LoadWide { dst, value } => {
            let (kind, low, _) = wide(value);
            RawInsn::new(class::LD | mode::IMM | Size::Dw.code(), dst.number(), kind, 0, low)
        }
        Insn::Jump { off, long: false } => RawInsn::new(class::JMP | op::JA, 0, 0, off as i16, 0),
        Insn::Jump { off, long: true } => RawInsn::new(class::JMP32 | op::JA, 0, 0, 0, off),
        Insn::JumpIf { width, cond, dst, src, off } => {
            let class = match width {
                Width::W32 => class::JMP32,
                Width::W64 => class::JMP,
            };
            with_operand(class | cond.code(), dst, off, src)
        }
        Insn::Call(callee) => {
            let (kind, off, imm) = match callee {
                Callee::Helper(id) => (0, 0, id),
                Callee::Local(off) => (1, 0, off),
                Callee::Kfunc { id, btf } => (2, btf, id),
            };
            RawInsn::new(class::JMP | op::CALL, 0, kind, off, imm)
        }
        Insn::Exit => RawInsn::new(class::JMP | op::EXIT, 0, 0, 0, 0),
    }
}

const fn alu(width: Width) -> u8 {
    match width {
        Width::W32 => class::ALU,
        Width::W64 => class::ALU64,
    }
}

const fn bits(size: Size) -> i16 {
    match size {
        Size::B => 8,
        Size::H => 16,
        Size::W => 32,
        Size::Dw => 64,
    }
}

const fn with_operand(code: u8, dst: Reg, off: i16, src: Operand) -> RawInsn {
    match src {
        Operand::Reg(src) => RawInsn::new(code | SOURCE_REG, dst.number(), src.number(), off, 0),
        Operand::Imm(imm) => RawInsn::new(code, dst.number(), 0, off, imm),
    }
}

/// The source field and the two immediates.
const fn wide(value: Wide) -> (u8, i32, i32) {
    match value {
        Wide::Value(value) => (0, value as i32, (value >> 32) as i32),
        Wide::MapFd(fd) => (1, fd, 0),
        Wide::MapFdValue { fd, offset } => (2, fd, offset.cast_signed()),
        Wide::Variable(id) => (3, id, 0),
        Wide::Function(off) => (4, off, 0),
        Wide::MapIndex(index) => (5, index, 0),
        Wide::MapIndexValue { index, offset } => (6, index, offset.cast_signed()),
    }
}
