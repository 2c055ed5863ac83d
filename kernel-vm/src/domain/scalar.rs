//! A number: its bits and ranges, all 64 and the low 32.

use super::{Bounds, Tnum, mask};
use crate::isa::{AluOp, ByteOrder, Size, Width, eval};

/// A set of 64-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Known bits.
    pub bits: Tnum,
    /// Ranges of all 64 bits.
    pub wide: Bounds,
    /// Ranges of the low 32 bits.
    pub low: Bounds,
}

impl Scalar {
    /// Anything.
    #[must_use]
    pub const fn any() -> Self {
        Self { bits: Tnum::ANY, wide: Bounds::any(64), low: Bounds::any(32) }
    }

    /// Exactly `x`.
    #[must_use]
    pub const fn exactly(x: u64) -> Self {
        Self { bits: Tnum::exactly(x), wide: Bounds::exactly(64, x), low: Bounds::exactly(32, x) }
    }

    /// `umin..=umax`.
    #[must_use]
    pub fn range(umin: u64, umax: u64) -> Self {
        Self { wide: Bounds::unsigned(64, umin, umax), ..Self::any() }.sharpened()
    }

    /// What a load of `size` gives.
    #[must_use]
    pub fn loaded(size: Size, signed: bool) -> Self {
        let bits = size.bytes().wrapping_mul(8);
        if size == Size::Dw {
            return Self::any();
        }
        let most = mutant!(LoadTooSmall, mask(bits), mask(bits.wrapping_sub(1)));
        let any = Self::range(0, most);
        if signed { any.sign_extended(bits, Width::W64) } else { any }
    }

    /// Whether `x` may be it.
    #[must_use]
    pub const fn contains(&self, x: u64) -> bool {
        self.bits.contains(x) && self.wide.contains(64, x) && self.low.contains(32, x)
    }

    /// The number, when only one is left.
    #[must_use]
    pub const fn exact(&self) -> Option<u64> {
        if self.wide.umin == self.wide.umax { Some(self.wide.umin) } else { None }
    }

    /// Whether nothing is left: this place cannot be reached.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wide.is_empty() || self.low.is_empty()
    }

    /// Whether nothing reaches the sign bit of the low half.
    const fn is_small(&self) -> bool {
        self.wide.umax <= mask(31)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            bits: self.bits.union(other.bits),
            wide: self.wide.union(other.wide),
            low: self.low.union(other.low),
        }
    }

    /// The same set, with each part as sharp as the others allow.
    #[must_use]
    pub fn sharpened(mut self) -> Self {
        self.sharpen();
        self
    }

    /// Becomes as sharp as its parts allow each other.
    pub(super) fn sharpen(&mut self) {
        // Twice: what the low half learns from the whole, the whole may learn from it.
        for _ in 0..2 {
            (self.wide, self.bits) = self.wide.sharpen(64, self.bits);
            if self.wide.is_empty() {
                return;
            }
            if self.is_small() {
                // The whole is its low half.
                let both = self.low.intersect(self.wide);
                self.low = both;
                if both == self.wide {
                    return;
                }
                self.wide = both;
                continue;
            }
            self.low = self.low.intersect(low_of(self.wide));
            let low_bits;
            (self.low, low_bits) = self.low.sharpen(32, self.bits.truncate(32));
            if self.low.is_empty() {
                return;
            }
            let upper = !mask(32);
            let (bits, wide) = (self.bits, self.wide);
            self.bits.value = (bits.value & upper) | low_bits.value;
            self.bits.unknown = (bits.unknown & upper) | low_bits.unknown;
            self.wide = wide.intersect(wide_of(self.low, self.bits, wide));
            if self.bits == bits && self.wide == wide {
                break;
            }
        }
    }

    /// The low 32 bits, zero-extended.
    #[must_use]
    pub fn low_half(&self) -> Self {
        Self {
            bits: self.bits.truncate(32),
            wide: Bounds::unsigned(64, self.low.umin, self.low.umax),
            low: self.low,
        }
        .sharpened()
    }

    /// `self op other`.
    #[must_use]
    pub fn alu(&self, op: AluOp, width: Width, other: &Self) -> Self {
        if let (Some(a), Some(b)) = (self.exact(), other.exact()) {
            return Self::exactly(eval::alu(width, op, a, b));
        }
        let any = Self::any();
        // Of these, with nothing known of one side, nothing is known.
        if width == Width::W64
            && matches!(op, AluOp::Add | AluOp::Sub | AluOp::Xor)
            && (*self == any || *other == any)
        {
            return any;
        }
        // The low half depends on the low halves only, of both operands if not of the result.
        let wide = width == Width::W64;
        let low = if wide && self.is_small() && other.is_small() {
            // What is known of the low halves is known of the wholes.
            Bounds::any(32)
        } else if !wide || mutant!(EveryOpKeepsLowHalf, keeps_low_half(op), true) {
            range_of(op, 32, self.low, other.low)
        } else {
            Bounds::any(32)
        };
        if wide {
            let (bits, wide) = at_width(op, 64, (self.bits, self.wide), (other.bits, other.wide));
            return Self { bits, wide, low }.sharpened();
        }
        let (mine, others) = (self.bits.truncate(32), other.bits.truncate(32));
        let bits = bits_of(op, 32, (mine, self.low), (others, other.low)).truncate(32);
        let wide = Bounds::unsigned(64, low.umin, low.umax);
        let wide = mutant!(HalfSignExtends, wide, Bounds::signed(64, low.smin, low.smax));
        Self { bits, wide, low }.sharpened()
    }

    /// `-self`.
    #[must_use]
    pub fn neg(&self, width: Width) -> Self {
        Self::exactly(0).alu(AluOp::Sub, width, self)
    }

    /// The low `bits` bits, sign-extended to a width.
    #[must_use]
    pub fn sign_extended(&self, bits: u32, to: Width) -> Self {
        let known = self.bits.truncate(bits);
        // A range of the whole is one of the low bits only when these are the whole.
        let narrow = match bits {
            32 => self.low,
            _ if mutant!(CutKeepsRange, self.wide.umax <= mask(bits), true) => {
                let unsigned = Bounds::unsigned(bits, self.wide.umin, self.wide.umax);
                unsigned.sharpen(bits, known).0
            }
            _ => Bounds::any(bits).sharpen(bits, known).0,
        };
        let extended = Self {
            bits: known.sign_extend(bits, 64),
            wide: Bounds::signed(64, narrow.smin, narrow.smax),
            low: Bounds::signed(32, narrow.smin, narrow.smax),
        }
        .sharpened();
        match to {
            Width::W64 => extended,
            Width::W32 => extended.low_half(),
        }
    }

    /// The low bits in another byte order.
    #[must_use]
    pub fn swapped(&self, order: ByteOrder, size: Size) -> Self {
        let [value, unknown] =
            [self.bits.value, self.bits.unknown].map(|x| eval::byte_order(order, size, x));
        let bits = Tnum { value, unknown };
        Self { bits, ..Self::any() }.sharpened()
    }
}

/// Operations whose low half depends on nothing but the operands' low halves.
const fn keeps_low_half(op: AluOp) -> bool {
    match op {
        AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor => true,
        AluOp::Div
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Mod
        | AluOp::Arsh
        | AluOp::Sdiv
        | AluOp::Smod => false,
    }
}

/// One operation at a width, on known bits and ranges.
pub(super) fn at_width(
    op: AluOp,
    width: u32,
    a: (Tnum, Bounds),
    b: (Tnum, Bounds),
) -> (Tnum, Bounds) {
    (bits_of(op, width, a, b), range_of(op, width, a.1, b.1))
}

/// What is known of single bits of a result.
fn bits_of(op: AluOp, width: u32, (abits, a): (Tnum, Bounds), (bbits, b): (Tnum, Bounds)) -> Tnum {
    let any = Tnum::ANY.truncate(width);
    match op {
        AluOp::Add => abits.add(bbits).truncate(width),
        AluOp::Sub => abits.sub(bbits).truncate(width),
        AluOp::Mul => abits.mul(bbits).truncate(width),
        AluOp::And => abits.and(bbits),
        AluOp::Or => abits.or(bbits),
        AluOp::Xor => abits.xor(bbits),
        AluOp::Mod if b.umin > a.umax => abits,
        AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => any,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
            let (least, most) = amounts(width, b);
            let shifted = if least == most { abits } else { any };
            if op == AluOp::Lsh {
                // Zeros come in from the right at least `least` times.
                shifted.shl(least).truncate(width)
            } else if op == AluOp::Rsh {
                shifted.shr(least)
            } else if least == most {
                shifted.ashr(width, least)
            } else {
                any
            }
        }
    }
}

/// The ranges of a result.
fn range_of(op: AluOp, width: u32, a: Bounds, b: Bounds) -> Bounds {
    match op {
        AluOp::Add => a.add(width, b),
        AluOp::Sub => a.sub(width, b),
        AluOp::Mul => a.mul(width, b),
        AluOp::And => Bounds::unsigned(width, 0, a.umax.min(b.umax)),
        AluOp::Or => Bounds::unsigned(width, a.umin.max(b.umin), mask(width)),
        AluOp::Xor => Bounds::any(width),
        AluOp::Div => a.div(width, b),
        AluOp::Mod => a.rem(width, b),
        AluOp::Sdiv => a.sdiv(width, b),
        AluOp::Smod => a.smod(width, b),
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
            let (least, most) = amounts(width, b);
            if op == AluOp::Lsh {
                a.shl(width, least, most)
            } else if op == AluOp::Rsh {
                a.shr(width, least, most)
            } else {
                a.ashr(width, least, most)
            }
        }
    }
}

/// The least and the most that is shifted by: an amount counts modulo the width, so that
/// beyond it nothing is known of it.
fn amounts(width: u32, by: Bounds) -> (u32, u32) {
    if by.umax < u64::from(width) {
        (by.umin as u32, by.umax as u32)
    } else {
        (0, mutant!(ShiftNotMasked, width.wrapping_sub(1), 0))
    }
}

/// What the ranges of all 64 bits say of the low 32.
fn low_of(wide: Bounds) -> Bounds {
    let any = Bounds::any(32);
    // Within one block of 2^32 the low halves are in order.
    if wide.umin >> 32 == wide.umax >> 32 {
        let (umin, umax) = (wide.umin & mask(32), wide.umax & mask(32));
        return Bounds { umin, umax, ..any };
    }
    if any.smin <= wide.smin && wide.smax <= any.smax {
        return Bounds { smin: wide.smin, smax: wide.smax, ..any };
    }
    any
}

/// What the ranges of the low 32 bits say of all 64, when the high half is known.
fn wide_of(low: Bounds, bits: Tnum, wide: Bounds) -> Bounds {
    let any = Bounds::any(64);
    if bits.unknown >> 32 == 0 {
        let high = bits.value & !mask(32);
        return Bounds { umin: high | low.umin, umax: high | low.umax, ..any };
    }
    let int = Bounds::any(32);
    if int.smin <= wide.smin && wide.smax <= int.smax {
        return Bounds { smin: low.smin, smax: low.smax, ..any };
    }
    any
}
