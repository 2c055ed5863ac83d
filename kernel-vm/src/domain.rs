//! What may be known of a 64-bit number that is not known: bits, ranges, signs.
//!
//! [`Tnum`] knows single bits, [`Bounds`] unsigned and signed ranges; both work at any width
//! so that every operation can be checked exhaustively at a small one. [`Scalar`] keeps both
//! for all 64 bits and for the low 32 and lets each sharpen the others.
//!
//! **Invariant** (soundness): if `x` is in `a` and `y` in `b`, then `x op y` is in `op(a, b)`.

mod bounds;
#[cfg(test)]
mod exhaustive;
mod refine;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;
mod tnum;

pub use bounds::Bounds;
pub(crate) use refine::learn;
pub use scalar::Scalar;
pub use tnum::Tnum;

/// All ones at a width of 1 to 64 bits.
const fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1u64 << width).wrapping_sub(1) }
}

/// The number that the low `width` bits of `x` are in two's complement.
const fn signed(width: u32, x: u64) -> i64 {
    let shift = 64u32.wrapping_sub(width);
    (x.wrapping_shl(shift) as i64).wrapping_shr(shift)
}
