//! Insns as text, in the syntax of the Linux kernel's log.

use super::{AtomicOp, Imm64, Insn, Operand, Reg, Size, Swap, Width};
use core::fmt;

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A register as its 64 or 32 bits are called.
struct Named(Reg, Width);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.1 {
            Width::W64 => 'r',
            Width::W32 => 'w',
        };
        write!(f, "{letter}{}", self.0.0)
    }
}

struct Value(Operand, Width);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operand::Reg(reg) => Named(reg, self.1).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

fn signed(size: Size) -> &'static str {
    match size {
        Size::B => "s8",
        Size::H => "s16",
        Size::W => "s32",
        Size::Dw => "s64",
    }
}

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu { width, op, dst, src } => {
                write!(f, "{} {} {}", Named(dst, width), op.symbol(), Value(src, width))
            }
            Self::Neg { width, dst } => write!(f, "{0} = -{0}", Named(dst, width)),
            Self::Mov { width, dst, src } => {
                write!(f, "{} = {}", Named(dst, width), Value(src, width))
            }
            Self::MovSx { width, from, dst, src } => {
                write!(f, "{} = ({}){}", Named(dst, width), signed(from), Named(src, width))
            }
            Self::Swap { swap, size, dst } => {
                let name = match swap {
                    Swap::ToLe => "le",
                    Swap::ToBe => "be",
                    Swap::Always => "bswap",
                };
                write!(f, "{dst} = {name}{} {dst}", size.bytes() * 8)
            }
            Self::Load64 { dst, imm } => match imm {
                Imm64::Value(value) => write!(f, "{dst} = 0x{value:x} ll"),
                Imm64::Map(map) => write!(f, "{dst} = map[{map}]"),
                Imm64::MapValue { map, offset } => write!(f, "{dst} = map[{map}][0]+{offset}"),
                Imm64::Func(off) => write!(f, "{dst} = func pc{off:+}"),
            },
            Self::Load { size, signed: is_signed, dst, src, off } => {
                let size = if is_signed { signed(size) } else { size.symbol() };
                write!(f, "{dst} = *({size} *)({src} {off:+})")
            }
            Self::Store { size, dst, off, src } => {
                // The kernel names the whole register for every size.
                write!(f, "*({} *)({dst} {off:+}) = {}", size.symbol(), Value(src, Width::W64))
            }
            Self::Atomic { size, op, fetch, dst, off, src } => {
                let (suffix, size) = match size {
                    Size::Dw => ("64", "u64"),
                    Size::B | Size::H | Size::W => ("", "u32"),
                };
                let name = op.symbol();
                match (op, fetch) {
                    (AtomicOp::Cmpxchg, _) => write!(
                        f,
                        "r0 = atomic{suffix}_cmpxchg(({size} *)({dst} {off:+}), r0, {src})"
                    ),
                    (AtomicOp::Xchg, _) => {
                        write!(f, "{src} = atomic{suffix}_xchg(({size} *)({dst} {off:+}), {src})")
                    }
                    (_, true) => write!(
                        f,
                        "{src} = atomic{suffix}_fetch_{name}(({size} *)({dst} {off:+}), {src})"
                    ),
                    (_, false) => {
                        let sign = match op {
                            AtomicOp::Add => "+=",
                            AtomicOp::Or => "|=",
                            AtomicOp::And => "&=",
                            AtomicOp::Xor | AtomicOp::Xchg | AtomicOp::Cmpxchg => "^=",
                        };
                        write!(f, "lock *({size} *)({dst} {off:+}) {sign} {src}")
                    }
                }
            }
            Self::Jump { off, long: true } => write!(f, "gotol pc{off:+}"),
            Self::Jump { off, long: false } => write!(f, "goto pc{off:+}"),
            Self::Branch { width, cond, dst, src, off } => write!(
                f,
                "if {} {} {} goto pc{off:+}",
                Named(dst, width),
                cond.symbol(),
                Value(src, width)
            ),
            Self::CallHelper { id } => match crate::helper::Helper::from_id(id) {
                Some(helper) => write!(f, "call {}#{id}", helper.name()),
                None => write!(f, "call unknown#{id}"),
            },
            Self::CallLocal { off } => write!(f, "call pc{off:+}"),
            Self::Exit => f.write_str("exit"),
        }
    }
}
