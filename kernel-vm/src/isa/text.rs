//! The disassembler, in the syntax of the kernel's verifier log.

use core::fmt::{Display, Formatter, Result};

use super::{AtomicOp, ByteOrder, Callee, Insn, Operand, Reg, Size, Wide, Width};

/// An insn as text; `w0` to `w10` are the lower halves of the registers.
///
/// Distances are shown from the next insn (`goto +3`), as the kernel does.
#[derive(Clone, Copy, Debug)]
pub struct Disassembly(pub Insn);

impl Display for Insn {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Disassembly(*self).fmt(f)
    }
}

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())
    }
}

/// A register as an operand of a width.
struct Narrow(Width, Reg);

impl Display for Narrow {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Width::W64 => self.1.fmt(f),
            Width::W32 => write!(f, "w{}", self.1.number()),
        }
    }
}

struct Source(Width, Operand);

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.1 {
            Operand::Reg(reg) => Narrow(self.0, reg).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

impl Display for Disassembly {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Insn::Alu { width, op, dst, src } => {
                write!(f, "{} {} {}", Narrow(width, dst), op.symbol(), Source(width, src))
            }
            Insn::Mov { width, dst, src } => {
                write!(f, "{} = {}", Narrow(width, dst), Source(width, src))
            }
            Insn::MovSx { width, from, dst, src } => {
                let (dst, src) = (Narrow(width, dst), Narrow(width, src));
                write!(f, "{dst} = ({}){src}", from.symbol(true))
            }
            Insn::Neg { width, dst } => {
                write!(f, "{0} = -{0}", Narrow(width, dst))
            }
            Insn::End { order, size, dst } => {
                let bits = size.bytes().wrapping_mul(8);
                match order {
                    ByteOrder::Le | ByteOrder::Be | ByteOrder::Swap => {
                        write!(f, "{dst} = {}{bits} {dst}", order.mnemonic())
                    }
                }
            }
            Insn::Load { size, signed, dst, src, off } => {
                write!(f, "{dst} = *({} *)({src} {off:+})", size.symbol(signed))
            }
            Insn::Store { size, dst, off, src } => {
                let src = Source(Width::W64, src);
                write!(f, "*({} *)({dst} {off:+}) = {src}", size.symbol(false))
            }
            Insn::Atomic { width, op, dst, src, off } => atomic(f, width, op, dst, src, off),
            Insn::LoadWide { dst, value } => wide(f, dst, value),
            Insn::Jump { off, long } => {
                write!(f, "{} {off:+}", if long { "gotol" } else { "goto" })
            }
            Insn::JumpIf { width, cond, dst, src, off } => {
                let (dst, src) = (Narrow(width, dst), Source(width, src));
                write!(f, "if {dst} {} {src} goto {off:+}", cond.symbol())
            }
            Insn::Call(Callee::Helper(id)) => write!(f, "call {id}"),
            Insn::Call(Callee::Local(off)) => write!(f, "call pc{off:+}"),
            Insn::Call(Callee::Kfunc { id, btf: 0 }) => write!(f, "call kernel-function {id}"),
            Insn::Call(Callee::Kfunc { id, btf }) => {
                write!(f, "call kernel-function {id} of {btf}")
            }
            Insn::Exit => f.write_str("exit"),
        }
    }
}

fn atomic(
    f: &mut Formatter<'_>,
    width: Width,
    op: AtomicOp,
    dst: Reg,
    src: Reg,
    off: i16,
) -> Result {
    let (size, prefix) = match width {
        Width::W32 => (Size::W.symbol(false), "atomic"),
        Width::W64 => (Size::Dw.symbol(false), "atomic64"),
    };
    let (name, reg) = (op.mnemonic(), Narrow(width, src));
    match op {
        AtomicOp::Cmpxchg => {
            let r0 = Narrow(width, Reg::R0);
            write!(f, "{r0} = {prefix}_{name}(({size} *)({dst} {off:+}), {r0}, {reg})")
        }
        AtomicOp::Xchg => write!(f, "{reg} = {prefix}_{name}(({size} *)({dst} {off:+}), {reg})"),
        AtomicOp::Add { fetch: true }
        | AtomicOp::Or { fetch: true }
        | AtomicOp::And { fetch: true }
        | AtomicOp::Xor { fetch: true } => {
            write!(f, "{reg} = {prefix}_fetch_{name}(({size} *)({dst} {off:+}), {reg})")
        }
        AtomicOp::Add { fetch: false } => write!(f, "lock *({size} *)({dst} {off:+}) += {reg}"),
        AtomicOp::Or { fetch: false } => write!(f, "lock *({size} *)({dst} {off:+}) |= {reg}"),
        AtomicOp::And { fetch: false } => write!(f, "lock *({size} *)({dst} {off:+}) &= {reg}"),
        AtomicOp::Xor { fetch: false } => write!(f, "lock *({size} *)({dst} {off:+}) ^= {reg}"),
    }
}

fn wide(f: &mut Formatter<'_>, dst: Reg, value: Wide) -> Result {
    match value {
        Wide::Value(value) => write!(f, "{dst} = {value:#x} ll"),
        Wide::MapFd(fd) => write!(f, "{dst} = map[fd:{fd}]"),
        Wide::MapFdValue { fd, offset } => write!(f, "{dst} = map[fd:{fd}][0]+{offset}"),
        Wide::Variable(id) => write!(f, "{dst} = var[id:{id}]"),
        Wide::Function(off) => write!(f, "{dst} = func[pc{off:+}]"),
        Wide::MapIndex(index) => write!(f, "{dst} = map[idx:{index}]"),
        Wide::MapIndexValue { index, offset } => write!(f, "{dst} = map[idx:{index}][0]+{offset}"),
    }
}
