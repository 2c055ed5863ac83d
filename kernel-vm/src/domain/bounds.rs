//! Unsigned and signed ranges at a width.

use super::{Tnum, mask, signed};

/// The numbers whose low bits lie in both ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Unsigned minimum.
    pub umin: u64,
    /// Unsigned maximum.
    pub umax: u64,
    /// Signed minimum.
    pub smin: i64,
    /// Signed maximum.
    pub smax: i64,
}

impl Bounds {
    /// Anything of `width` bits.
    #[must_use]
    pub const fn any(width: u32) -> Self {
        let umax = mask(width);
        let smax = (umax >> 1) as i64;
        Self { umin: 0, umax, smin: !smax, smax }
    }

    /// Exactly `x`, of which the low `width` bits count.
    #[must_use]
    pub const fn exactly(width: u32, x: u64) -> Self {
        let (u, s) = (x & mask(width), signed(width, x));
        Self { umin: u, umax: u, smin: s, smax: s }
    }

    /// The unsigned range, whatever the sign.
    #[must_use]
    pub const fn unsigned(width: u32, umin: u64, umax: u64) -> Self {
        Self { umin, umax, ..Self::any(width) }
    }

    /// The signed range, whatever it is unsigned.
    #[must_use]
    pub const fn signed(width: u32, smin: i64, smax: i64) -> Self {
        Self { smin, smax, ..Self::any(width) }
    }

    /// Whether the low `width` bits of `x` lie in both ranges.
    #[must_use]
    pub const fn contains(self, width: u32, x: u64) -> bool {
        let (u, s) = (x & mask(width), signed(width, x));
        self.umin <= u && u <= self.umax && self.smin <= s && s <= self.smax
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.umin > self.umax || self.smin > self.smax
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            umin: self.umin.min(other.umin),
            umax: mutant!(UnionForgetsSecond, self.umax.max(other.umax), self.umax),
            smin: self.smin.min(other.smin),
            smax: self.smax.max(other.smax),
        }
    }

    /// What is in both; perhaps empty.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self {
            umin: self.umin.max(other.umin),
            umax: self.umax.min(other.umax),
            smin: self.smin.max(other.smin),
            smax: self.smax.min(other.smax),
        }
    }

    /// Lets the two ranges and the known bits sharpen each other.
    #[must_use]
    pub fn sharpen(mut self, width: u32, bits: Tnum) -> (Self, Tnum) {
        self.umin = self.umin.max(bits.value);
        self.umax = self.umax.min(bits.max());
        let half = mask(width) >> 1;
        // On one side of the sign bit both orders agree.
        if mutant!(SharpenAcrossSign, (self.umin <= half) == (self.umax <= half), true) {
            self.smin = self.smin.max(signed(width, self.umin));
            self.smax = self.smax.min(signed(width, self.umax));
        }
        if (self.smin < 0) == (self.smax < 0) {
            self.umin = self.umin.max(self.smin as u64 & mask(width));
            self.umax = self.umax.min(self.smax as u64 & mask(width));
        }
        if self.is_empty() {
            return (self, bits);
        }
        let by_range = Tnum::range(self.umin, self.umax);
        match bits.intersect(by_range) {
            Some(bits) => (self, bits),
            // The ranges and the bits exclude each other: nothing is left.
            None => (Self { umin: 1, umax: 0, ..self }, bits),
        }
    }

    /// Sum.
    #[must_use]
    pub fn add(self, width: u32, other: Self) -> Self {
        let any = Self::any(width);
        let sum = self.umax.checked_add(other.umax);
        let sum = mutant!(AddIgnoresOverflow, sum, Some(self.umax.wrapping_add(other.umax)));
        let (umin, umax) = match within(width, sum) {
            Some(umax) => (self.umin.wrapping_add(other.umin), umax),
            None => (any.umin, any.umax),
        };
        let low = within_signed(any, self.smin.checked_add(other.smin));
        let high = within_signed(any, self.smax.checked_add(other.smax));
        let (smin, smax) = low.zip(high).unwrap_or((any.smin, any.smax));
        Self { umin, umax, smin, smax }
    }

    /// Difference.
    #[must_use]
    pub fn sub(self, width: u32, other: Self) -> Self {
        let any = Self::any(width);
        let least = self.umin.checked_sub(other.umax);
        let least = mutant!(SubForgetsBorrow, least, Some(self.umin.saturating_sub(other.umax)));
        let (umin, umax) = match least {
            Some(umin) => (umin, self.umax.wrapping_sub(other.umin)),
            None => (any.umin, any.umax),
        };
        let low = within_signed(any, self.smin.checked_sub(other.smax));
        let high = within_signed(any, self.smax.checked_sub(other.smin));
        let (smin, smax) = low.zip(high).unwrap_or((any.smin, any.smax));
        Self { umin, umax, smin, smax }
    }

    /// Product.
    #[must_use]
    pub fn mul(self, width: u32, other: Self) -> Self {
        let any = Self::any(width);
        let (umin, umax) = match within(width, self.umax.checked_mul(other.umax)) {
            Some(umax) => (self.umin.wrapping_mul(other.umin), umax),
            None => (any.umin, any.umax),
        };
        let corners = [
            self.smin.checked_mul(other.smin),
            self.smin.checked_mul(other.smax),
            self.smax.checked_mul(other.smin),
            mutant!(MulForgetsCorner, self.smax.checked_mul(other.smax), Some(0)),
        ];
        let (mut smin, mut smax) = (i64::MAX, i64::MIN);
        for corner in corners {
            let Some(corner) = within_signed(any, corner) else {
                return Self { umin, umax, ..any };
            };
            smin = smin.min(corner);
            smax = smax.max(corner);
        }
        Self { umin, umax, smin, smax }
    }

    /// Unsigned quotient; 0 when divided by 0.
    #[must_use]
    pub fn div(self, width: u32, other: Self) -> Self {
        let umax = self.umax.checked_div(other.umin.max(1)).unwrap_or(0);
        let by_zero = mutant!(DivForgetsZero, other.umin == 0, false);
        let umin = if by_zero { 0 } else { self.umin.checked_div(other.umax).unwrap_or(0) };
        Self::unsigned(width, umin, umax)
    }

    /// Unsigned remainder; the dividend when divided by 0.
    #[must_use]
    pub fn rem(self, width: u32, other: Self) -> Self {
        if other.umin > self.umax {
            return self;
        }
        let umax = match other.umin {
            0 => mutant!(ModForgetsZero, self.umax, self.umax.min(other.umax.saturating_sub(1))),
            _ => self.umax.min(other.umax.saturating_sub(1)),
        };
        Self::unsigned(width, 0, umax)
    }

    /// Signed quotient: not larger than the dividend, but for the minimum by -1, which wraps.
    #[must_use]
    pub fn sdiv(self, width: u32, other: Self) -> Self {
        let any = Self::any(width);
        if self.smin == any.smin {
            return any;
        }
        if mutant!(SdivForgetsSign, other.smin > 0, true) {
            let quotient = |a: i64, b: i64| a.checked_div(b).unwrap_or(0);
            // The quotient falls with the divisor when the dividend is positive.
            let low = if self.smin < 0 { other.smin } else { other.smax };
            let high = if self.smax < 0 { other.smax } else { other.smin };
            return Self::signed(width, quotient(self.smin, low), quotient(self.smax, high));
        }
        let most = self.smin.saturating_neg().max(self.smax);
        Self::signed(width, most.saturating_neg(), most)
    }

    /// Signed remainder: the dividend's sign, and not larger than it.
    #[must_use]
    pub fn smod(self, width: u32, _other: Self) -> Self {
        mutant!(
            SmodIsPositive,
            Self::signed(width, self.smin.min(0), self.smax.max(0)),
            Self::signed(width, 0, self.smax.max(0))
        )
    }

    /// Left shift by `least..=most`, both below the width.
    #[must_use]
    pub fn shl(self, width: u32, least: u32, most: u32) -> Self {
        let any = Self::any(width);
        match self.umax.checked_shl(most) {
            Some(umax)
                if mutant!(ShlIgnoresOverflow, umax.wrapping_shr(most) == self.umax, true)
                    && umax <= any.umax =>
            {
                Self::unsigned(width, self.umin.wrapping_shl(least), umax)
            }
            _ => any,
        }
    }

    /// Logical right shift by `least..=most`, both below the width.
    #[must_use]
    pub fn shr(self, width: u32, least: u32, most: u32) -> Self {
        let (low, high) = mutant!(ShrSwapsAmounts, (most, least), (least, most));
        Self::unsigned(width, self.umin.wrapping_shr(low), self.umax.wrapping_shr(high))
    }

    /// Arithmetic right shift by `least..=most`, both below the width.
    #[must_use]
    pub fn ashr(self, width: u32, least: u32, most: u32) -> Self {
        let negative = mutant!(AshrForgetsSign, self.smin < 0, self.smin >= 0);
        let smin = self.smin.wrapping_shr(if negative { least } else { most });
        let smax = self.smax.wrapping_shr(if self.smax < 0 { most } else { least });
        Self::signed(width, smin, smax)
    }
}

fn within(width: u32, value: Option<u64>) -> Option<u64> {
    value.filter(|&value| value <= mask(width))
}

fn within_signed(any: Bounds, value: Option<i64>) -> Option<i64> {
    value.filter(|&value| any.smin <= value && value <= any.smax)
}
