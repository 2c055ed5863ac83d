//! Known bits: a "tristate number".

use super::mask;

/// Numbers whose known bits are those of `value`; the bits of `unknown` may be anything.
///
/// **Invariant**: `value & unknown == 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tnum {
    /// The known ones.
    pub value: u64,
    /// The bits that are not known.
    pub unknown: u64,
}

impl Tnum {
    /// Anything.
    pub const ANY: Self = Self { value: 0, unknown: u64::MAX };

    /// Exactly `x`.
    #[must_use]
    pub const fn exactly(x: u64) -> Self {
        Self { value: x, unknown: 0 }
    }

    const fn new(value: u64, unknown: u64) -> Self {
        Self { value: value & !unknown, unknown }
    }

    /// The smallest set of known bits that holds `min..=max`: their common high bits.
    #[must_use]
    pub const fn range(min: u64, max: u64) -> Self {
        let differing = 64u32.wrapping_sub((min ^ max).leading_zeros());
        Self::new(min, mask_or_zero(differing))
    }

    /// Whether `x` may be it.
    #[must_use]
    pub const fn contains(self, x: u64) -> bool {
        x & !self.unknown == self.value
    }

    /// Whether a single number is left.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        self.unknown == 0
    }

    /// The largest.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.value | self.unknown
    }

    /// Cut to the low `width` bits, the rest zero.
    #[must_use]
    pub const fn truncate(self, width: u32) -> Self {
        Self { value: self.value & mask(width), unknown: self.unknown & mask(width) }
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self::new(self.value, self.unknown | other.unknown | (self.value ^ other.value))
    }

    /// What may be in both; `None` when nothing is.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Option<Self> {
        let both_known = !self.unknown & !other.unknown;
        if (self.value ^ other.value) & both_known != 0 {
            return None;
        }
        Some(Self::new(self.value | other.value, self.unknown & other.unknown))
    }

    /// Sum. The carries that are certain and those that are possible differ exactly where
    /// a bit of the sum is not known.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        let least = self.value.wrapping_add(other.value);
        let unknown = self.unknown.wrapping_add(other.unknown);
        let differ = least.wrapping_add(unknown) ^ least;
        Self::new(least, differ | self.unknown | other.unknown)
    }

    /// Difference, by the same reasoning on borrows.
    #[must_use]
    pub const fn sub(self, other: Self) -> Self {
        let base = self.value.wrapping_sub(other.value);
        let high = base.wrapping_add(self.unknown);
        let low = base.wrapping_sub(other.unknown);
        Self::new(base, (high ^ low) | self.unknown | other.unknown)
    }

    /// Product: the sum of the partial products, each known as well as its bit is.
    #[must_use]
    pub const fn mul(self, other: Self) -> Self {
        let mut sum = Self::exactly(0);
        // As many rounds as the first has bits: the shorter goes first.
        let swap = other.max() < self.max();
        let (mut a, mut b) = if swap { (other, self) } else { (self, other) };
        while a.value != 0 || a.unknown != 0 {
            if a.value & 1 != 0 {
                sum = sum.add(b);
            } else if a.unknown & 1 != 0 {
                sum = sum.union(sum.add(b));
            }
            a = Self { value: a.value.wrapping_shr(1), unknown: a.unknown.wrapping_shr(1) };
            b = Self { value: b.value.wrapping_shl(1), unknown: b.unknown.wrapping_shl(1) };
        }
        sum
    }

    /// Bitwise and: a known zero on either side is one.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let maybe = self.max() & other.max();
        Self::new(self.value & other.value, maybe & !(self.value & other.value))
    }

    /// Bitwise or: a known one on either side is one.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        let ones = self.value | other.value;
        Self::new(ones, (self.unknown | other.unknown) & !ones)
    }

    /// Bitwise exclusive or.
    #[must_use]
    pub const fn xor(self, other: Self) -> Self {
        Self::new(self.value ^ other.value, self.unknown | other.unknown)
    }

    /// Left shift by a known amount below 64.
    #[must_use]
    pub const fn shl(self, amount: u32) -> Self {
        Self { value: self.value.wrapping_shl(amount), unknown: self.unknown.wrapping_shl(amount) }
    }

    /// Logical right shift by a known amount below 64.
    #[must_use]
    pub const fn shr(self, amount: u32) -> Self {
        Self { value: self.value.wrapping_shr(amount), unknown: self.unknown.wrapping_shr(amount) }
    }

    /// Sign extension of the low `width` bits to `to` bits.
    #[must_use]
    pub const fn sign_extend(self, width: u32, to: u32) -> Self {
        Self {
            value: super::signed(width, self.value) as u64,
            unknown: super::signed(width, self.unknown) as u64,
        }
        .truncate(to)
        .normal()
    }

    /// Arithmetic right shift at a width by a known amount below it.
    #[must_use]
    pub const fn ashr(self, width: u32, amount: u32) -> Self {
        Self {
            value: super::signed(width, self.value).wrapping_shr(amount) as u64,
            unknown: super::signed(width, self.unknown).wrapping_shr(amount) as u64,
        }
        .truncate(width)
        .normal()
    }

    const fn normal(self) -> Self {
        Self::new(self.value, self.unknown)
    }
}

const fn mask_or_zero(bits: u32) -> u64 {
    if bits == 0 { 0 } else { mask(bits) }
}
