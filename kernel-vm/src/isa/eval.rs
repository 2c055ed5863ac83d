//! What arithmetic and comparisons mean: one definition for the interpreter, the checked
//! engine, the verifier's constants and the compiler's folder.
//!
//! **Invariant**: total functions: every input has a result and none panics.

use super::{AluOp, AtomicOp, ByteOrder, Cond, Size, Width};

/// `dst op src`; in 32 bits the upper half of the result is zero.
#[must_use]
#[inline(always)]
pub const fn alu(width: Width, op: AluOp, dst: u64, src: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, dst, src),
        Width::W32 => alu32(op, dst as u32, src as u32) as u64,
    }
}

#[inline(always)]
const fn alu64(op: AluOp, dst: u64, src: u64) -> u64 {
    match op {
        AluOp::Add => dst.wrapping_add(src),
        AluOp::Sub => dst.wrapping_sub(src),
        AluOp::Mul => dst.wrapping_mul(src),
        AluOp::Or => dst | src,
        AluOp::And => dst & src,
        AluOp::Xor => dst ^ src,
        AluOp::Lsh => dst.wrapping_shl(src as u32),
        AluOp::Rsh => dst.wrapping_shr(src as u32),
        AluOp::Arsh => dst.cast_signed().wrapping_shr(src as u32).cast_unsigned(),
        AluOp::Div => match dst.checked_div(src) {
            Some(quotient) => quotient,
            None => 0,
        },
        AluOp::Mod => match dst.checked_rem(src) {
            Some(rest) => rest,
            None => dst,
        },
        AluOp::Sdiv => match src {
            0 => 0,
            src => match dst.cast_signed().checked_div(src.cast_signed()) {
                Some(quotient) => quotient.cast_unsigned(),
                // The smallest number by -1 wraps to itself.
                None => dst,
            },
        },
        AluOp::Smod => match src {
            0 => dst,
            src => match dst.cast_signed().checked_rem(src.cast_signed()) {
                Some(rest) => rest.cast_unsigned(),
                None => 0,
            },
        },
    }
}

#[inline(always)]
const fn alu32(op: AluOp, dst: u32, src: u32) -> u32 {
    match op {
        AluOp::Add => dst.wrapping_add(src),
        AluOp::Sub => dst.wrapping_sub(src),
        AluOp::Mul => dst.wrapping_mul(src),
        AluOp::Or => dst | src,
        AluOp::And => dst & src,
        AluOp::Xor => dst ^ src,
        AluOp::Lsh => dst.wrapping_shl(src),
        AluOp::Rsh => dst.wrapping_shr(src),
        AluOp::Arsh => dst.cast_signed().wrapping_shr(src).cast_unsigned(),
        AluOp::Div => match dst.checked_div(src) {
            Some(quotient) => quotient,
            None => 0,
        },
        AluOp::Mod => match dst.checked_rem(src) {
            Some(rest) => rest,
            None => dst,
        },
        AluOp::Sdiv => match src {
            0 => 0,
            src => match dst.cast_signed().checked_div(src.cast_signed()) {
                Some(quotient) => quotient.cast_unsigned(),
                // The smallest number by -1 wraps to itself.
                None => dst,
            },
        },
        AluOp::Smod => match src {
            0 => dst,
            src => match dst.cast_signed().checked_rem(src.cast_signed()) {
                Some(rest) => rest.cast_unsigned(),
                None => 0,
            },
        },
    }
}

/// `src`, or its lower half.
#[must_use]
#[inline(always)]
pub const fn mov(width: Width, src: u64) -> u64 {
    match width {
        Width::W64 => src,
        Width::W32 => src as u32 as u64,
    }
}

/// `-dst`.
#[must_use]
#[inline(always)]
pub const fn neg(width: Width, dst: u64) -> u64 {
    alu(width, AluOp::Sub, 0, dst)
}

/// The low `from` bytes of `src`, whose sign extends to `width`.
#[must_use]
#[inline(always)]
pub const fn mov_sx(width: Width, from: Size, src: u64) -> u64 {
    mov(width, sign_extend(from, src))
}

/// The low `size` bytes, whose sign extends to 64 bits.
#[must_use]
#[inline(always)]
pub const fn sign_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as i8 as u64,
        Size::H => value as i16 as u64,
        Size::W => value as i32 as u64,
        Size::Dw => value,
    }
}

/// The low `size` bytes.
#[must_use]
#[inline(always)]
pub const fn zero_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as u8 as u64,
        Size::H => value as u16 as u64,
        Size::W => value as u32 as u64,
        Size::Dw => value,
    }
}

/// The low `size` bytes in another order; the bytes above become zero.
///
/// The machine is little endian, whatever the host.
#[must_use]
#[inline(always)]
pub const fn byte_order(order: ByteOrder, size: Size, value: u64) -> u64 {
    match (order, size) {
        (ByteOrder::Le, _) => zero_extend(size, value),
        (ByteOrder::Be | ByteOrder::Swap, Size::B) => value as u8 as u64,
        (ByteOrder::Be | ByteOrder::Swap, Size::H) => (value as u16).swap_bytes() as u64,
        (ByteOrder::Be | ByteOrder::Swap, Size::W) => (value as u32).swap_bytes() as u64,
        (ByteOrder::Be | ByteOrder::Swap, Size::Dw) => value.swap_bytes(),
    }
}

/// Whether `dst cond src` holds; in 32 bits the upper halves do not count.
#[must_use]
#[inline(always)]
pub const fn condition(width: Width, cond: Cond, dst: u64, src: u64) -> bool {
    let (dst, src) = match width {
        Width::W64 => (dst, src),
        // Sign extension keeps both orders.
        Width::W32 => (sign_extend(Size::W, dst), sign_extend(Size::W, src)),
    };
    let (signed_dst, signed_src) = (dst.cast_signed(), src.cast_signed());
    match cond {
        Cond::Eq => dst == src,
        Cond::Ne => dst != src,
        Cond::Gt => dst > src,
        Cond::Ge => dst >= src,
        Cond::Lt => dst < src,
        Cond::Le => dst <= src,
        Cond::Set => dst & src != 0,
        Cond::Sgt => signed_dst > signed_src,
        Cond::Sge => signed_dst >= signed_src,
        Cond::Slt => signed_dst < signed_src,
        Cond::Sle => signed_dst <= signed_src,
    }
}

/// What memory holds after an atomic insn that found `old` there; `r0` only counts for the
/// comparing exchange. Values are of `width` already.
#[must_use]
#[inline(always)]
pub const fn atomic(op: AtomicOp, old: u64, src: u64, r0: u64) -> u64 {
    match op {
        AtomicOp::Add { .. } => old.wrapping_add(src),
        AtomicOp::Or { .. } => old | src,
        AtomicOp::And { .. } => old & src,
        AtomicOp::Xor { .. } => old ^ src,
        AtomicOp::Xchg => src,
        AtomicOp::Cmpxchg => {
            if old == r0 {
                src
            } else {
                old
            }
        }
    }
}
