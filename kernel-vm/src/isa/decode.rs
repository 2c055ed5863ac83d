//! The one place that reads opcode bytes into insns.
//!
//! **Invariant**: a reserved field that is not zero is an error, so that no two slots decode
//! to the same insn.

use super::{
    AluOp, AtomicOp, ByteOrder, Callee, Cond, Insn, Operand, RawInsn, Reg, SOURCE_REG, Size, Wide,
    Width, class, mode, op,
};

/// Why a slot is no insn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The slot.
    pub raw: RawInsn,
}

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The program ends here or there is none.
    Missing,
    /// No insn has this opcode.
    UnknownOpcode,
    /// The obsolete packet access of the `LD` class.
    PacketAccess,
    /// The destination is no register.
    BadDst,
    /// The source is no register.
    BadSrc,
    /// A source register where the insn has none.
    ReservedSrc,
    /// A destination register where the insn has none.
    ReservedDst,
    /// The offset field holds a value that the insn does not have.
    ReservedOff,
    /// The immediate field holds a value that the insn does not have.
    ReservedImm,
    /// The second slot of a 16-byte load is missing, or not blank.
    BadWide,
}

impl core::fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no insn here",
            Self::UnknownOpcode => "no insn has this opcode",
            Self::PacketAccess => "packet access (BPF_ABS, BPF_IND) is obsolete and refused",
            Self::BadDst => "the destination is no register (r0 to r10)",
            Self::BadSrc => "the source is no register (r0 to r10)",
            Self::ReservedSrc => "the source field is reserved here and must be 0",
            Self::ReservedDst => "the destination field is reserved here and must be 0",
            Self::ReservedOff => "the offset field is reserved here or holds no known value",
            Self::ReservedImm => "the immediate field is reserved here or holds no known value",
            Self::BadWide => "the second half of a 16-byte load is missing or not blank",
        })
    }
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let RawInsn { code, regs, off, imm } = self.raw;
        write!(f, "{} (code {code:#04x} regs {regs:#04x} off {off} imm {imm})", self.kind)
    }
}

impl core::error::Error for DecodeError {}

type Kind = DecodeErrorKind;

/// The insn that begins with the first of `slots`.
///
/// # Errors
/// When the slot is no legal insn; every reserved field is checked.
#[inline]
pub fn decode(slots: &[RawInsn]) -> Result<Insn, DecodeError> {
    insn(slots).map_err(|kind| DecodeError::of(kind, slots))
}

impl DecodeError {
    /// The error of the first of `slots`.
    #[must_use]
    pub fn of(kind: DecodeErrorKind, slots: &[RawInsn]) -> Self {
        Self { kind, raw: slots.first().copied().unwrap_or_default() }
    }
}

/// As [`decode`], without the slot in the error: an insn that is not moved does not wait for
/// its parts to be written.
#[inline]
pub(crate) fn insn(slots: &[RawInsn]) -> Result<Insn, Kind> {
    let Some((&raw, rest)) = slots.split_first() else { return Err(Kind::Missing) };
    match raw.code & class::MASK {
        class::ALU64 => alu(raw, Width::W64),
        class::ALU => alu(raw, Width::W32),
        class::JMP => jump(raw, Width::W64),
        class::JMP32 => jump(raw, Width::W32),
        class::LDX => load(raw),
        class::STX => store_register(raw),
        class::ST => store_immediate(raw),
        _ => wide(raw, rest),
    }
}

fn dst(raw: RawInsn) -> Result<Reg, Kind> {
    Reg::new(raw.dst()).ok_or(Kind::BadDst)
}

fn src(raw: RawInsn) -> Result<Reg, Kind> {
    Reg::new(raw.src()).ok_or(Kind::BadSrc)
}

fn zero_off(raw: RawInsn) -> Result<(), Kind> {
    if raw.off == 0 { Ok(()) } else { Err(Kind::ReservedOff) }
}

fn zero_imm(raw: RawInsn) -> Result<(), Kind> {
    if raw.imm == 0 { Ok(()) } else { Err(Kind::ReservedImm) }
}

fn zero_src(raw: RawInsn) -> Result<(), Kind> {
    if raw.src() == 0 { Ok(()) } else { Err(Kind::ReservedSrc) }
}

fn zero_dst(raw: RawInsn) -> Result<(), Kind> {
    if raw.dst() == 0 { Ok(()) } else { Err(Kind::ReservedDst) }
}

/// The second operand, and that the field of the other kind is blank.
fn operand(raw: RawInsn) -> Result<Operand, Kind> {
    if raw.code & SOURCE_REG != 0 {
        zero_imm(raw)?;
        src(raw).map(Operand::Reg)
    } else {
        zero_src(raw)?;
        Ok(Operand::Imm(raw.imm))
    }
}

fn alu(raw: RawInsn, width: Width) -> Result<Insn, Kind> {
    let dst = dst(raw)?;
    match raw.code & op::MASK {
        op::MOV => mov(raw, width, dst),
        op::NEG => {
            if raw.code & SOURCE_REG != 0 {
                return Err(Kind::UnknownOpcode);
            }
            zero_src(raw)?;
            zero_off(raw)?;
            zero_imm(raw)?;
            Ok(Insn::Neg { width, dst })
        }
        op::END => {
            zero_src(raw)?;
            zero_off(raw)?;
            let order = match (width, raw.code & SOURCE_REG) {
                (Width::W32, 0) => ByteOrder::Le,
                (Width::W32, _) => ByteOrder::Be,
                (Width::W64, 0) => ByteOrder::Swap,
                (Width::W64, _) => return Err(Kind::UnknownOpcode),
            };
            let size = match raw.imm {
                16 => Size::H,
                32 => Size::W,
                64 => Size::Dw,
                _ => return Err(Kind::ReservedImm),
            };
            Ok(Insn::End { order, size, dst })
        }
        code => {
            let Some(op) = AluOp::from_code(code, raw.off) else {
                let known = AluOp::from_code(code, 0).is_some();
                return Err(if known { Kind::ReservedOff } else { Kind::UnknownOpcode });
            };
            Ok(Insn::Alu { width, op, dst, src: operand(raw)? })
        }
    }
}

fn mov(raw: RawInsn, width: Width, dst: Reg) -> Result<Insn, Kind> {
    let from = match (raw.off, width) {
        (0, _) => return Ok(Insn::Mov { width, dst, src: operand(raw)? }),
        (8, _) => Size::B,
        (16, _) => Size::H,
        (32, Width::W64) => Size::W,
        _ => return Err(Kind::ReservedOff),
    };
    if raw.code & SOURCE_REG == 0 {
        return Err(Kind::ReservedOff);
    }
    zero_imm(raw)?;
    Ok(Insn::MovSx { width, from, dst, src: src(raw)? })
}

fn jump(raw: RawInsn, width: Width) -> Result<Insn, Kind> {
    match raw.code & op::MASK {
        op::JA => {
            if raw.code & SOURCE_REG != 0 {
                return Err(Kind::UnknownOpcode);
            }
            zero_dst(raw)?;
            zero_src(raw)?;
            match width {
                Width::W64 => {
                    zero_imm(raw)?;
                    Ok(Insn::Jump { off: i32::from(raw.off), long: false })
                }
                Width::W32 => {
                    zero_off(raw)?;
                    Ok(Insn::Jump { off: raw.imm, long: true })
                }
            }
        }
        op::CALL if width == Width::W64 => call(raw),
        op::EXIT if width == Width::W64 => {
            if raw.code & SOURCE_REG != 0 {
                return Err(Kind::UnknownOpcode);
            }
            zero_dst(raw)?;
            zero_src(raw)?;
            zero_off(raw)?;
            zero_imm(raw)?;
            Ok(Insn::Exit)
        }
        code => {
            let cond = Cond::from_code(code).ok_or(Kind::UnknownOpcode)?;
            let (dst, src) = (dst(raw)?, operand(raw)?);
            Ok(Insn::JumpIf { width, cond, dst, src, off: raw.off })
        }
    }
}

fn call(raw: RawInsn) -> Result<Insn, Kind> {
    if raw.code & SOURCE_REG != 0 {
        return Err(Kind::UnknownOpcode);
    }
    zero_dst(raw)?;
    let callee = match raw.src() {
        0 => Callee::Helper(raw.imm),
        1 => Callee::Local(raw.imm),
        2 => return Ok(Insn::Call(Callee::Kfunc { id: raw.imm, btf: raw.off })),
        _ => return Err(Kind::ReservedSrc),
    };
    zero_off(raw)?;
    Ok(Insn::Call(callee))
}

fn size(raw: RawInsn) -> Result<Size, Kind> {
    Size::from_code(raw.code & Size::MASK).ok_or(Kind::UnknownOpcode)
}

fn load(raw: RawInsn) -> Result<Insn, Kind> {
    let size = size(raw)?;
    let signed = match raw.code & mode::MASK {
        mode::MEM => false,
        mode::MEMSX if size != Size::Dw => true,
        _ => return Err(Kind::UnknownOpcode),
    };
    zero_imm(raw)?;
    Ok(Insn::Load { size, signed, dst: dst(raw)?, src: src(raw)?, off: raw.off })
}

fn store_register(raw: RawInsn) -> Result<Insn, Kind> {
    let (size, dst, src) = (size(raw)?, dst(raw)?, src(raw)?);
    match raw.code & mode::MASK {
        mode::MEM => {
            zero_imm(raw)?;
            Ok(Insn::Store { size, dst, off: raw.off, src: Operand::Reg(src) })
        }
        mode::ATOMIC => {
            let width = match size {
                Size::W => Width::W32,
                Size::Dw => Width::W64,
                Size::B | Size::H => return Err(Kind::UnknownOpcode),
            };
            let op = AtomicOp::from_imm(raw.imm).ok_or(Kind::ReservedImm)?;
            Ok(Insn::Atomic { width, op, dst, src, off: raw.off })
        }
        _ => Err(Kind::UnknownOpcode),
    }
}

fn store_immediate(raw: RawInsn) -> Result<Insn, Kind> {
    if raw.code & mode::MASK != mode::MEM {
        return Err(Kind::UnknownOpcode);
    }
    zero_src(raw)?;
    let (size, dst) = (size(raw)?, dst(raw)?);
    Ok(Insn::Store { size, dst, off: raw.off, src: Operand::Imm(raw.imm) })
}

fn wide(raw: RawInsn, rest: &[RawInsn]) -> Result<Insn, Kind> {
    match raw.code & mode::MASK {
        mode::IMM if raw.code & Size::MASK == Size::Dw.code() => {}
        mode::ABS | mode::IND if raw.code & Size::MASK != Size::Dw.code() => {
            return Err(Kind::PacketAccess);
        }
        _ => return Err(Kind::UnknownOpcode),
    }
    let dst = dst(raw)?;
    zero_off(raw)?;
    let Some(&RawInsn { code: 0, regs: 0, off: 0, imm: high }) = rest.first() else {
        return Err(Kind::BadWide);
    };
    let offset = high.cast_unsigned();
    let value = match raw.src() {
        0 => Wide::Value(u64::from(offset) << 32 | u64::from(raw.imm.cast_unsigned())),
        2 => Wide::MapFdValue { fd: raw.imm, offset },
        6 => Wide::MapIndexValue { index: raw.imm, offset },
        // The others have nothing to say in the second slot.
        1 | 3 | 4 | 5 if high != 0 => return Err(Kind::BadWide),
        1 => Wide::MapFd(raw.imm),
        3 => Wide::Variable(raw.imm),
        4 => Wide::Function(raw.imm),
        5 => Wide::MapIndex(raw.imm),
        _ => return Err(Kind::ReservedSrc),
    };
    Ok(Insn::LoadWide { dst, value })
}
