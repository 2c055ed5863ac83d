//! Ranges of values.

use super::fold;

/// The values from `lo` to `hi`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The smallest.
    pub lo: i64,
    /// The largest.
    pub hi: i64,
}

fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn fits(value: i128) -> bool {
    i64::try_from(value).is_ok()
}

impl Range {
    /// Every value.
    pub const ALL: Self = Self { lo: i64::MIN, hi: i64::MAX };
    /// Every value that is not negative.
    pub const NATURAL: Self = Self { lo: 0, hi: i64::MAX };

    /// The values from `lo` to `hi`.
    #[must_use]
    pub const fn new(lo: i64, hi: i64) -> Self {
        Self { lo, hi }
    }

    /// One value.
    #[must_use]
    pub const fn exactly(value: i64) -> Self {
        Self { lo: value, hi: value }
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    fn wide(self) -> (i128, i128) {
        (i128::from(self.lo), i128::from(self.hi))
    }

    fn corners(self, other: Self, f: impl Fn(i128, i128) -> i128) -> [i128; 4] {
        let ((a, b), (c, d)) = (self.wide(), other.wide());
        [f(a, c), f(a, d), f(b, c), f(b, d)]
    }

    fn hull(corners: [i128; 4]) -> Self {
        let lo = corners.into_iter().min().unwrap_or(i128::MIN);
        let hi = corners.into_iter().max().unwrap_or(i128::MAX);
        Self { lo: clamp(lo), hi: clamp(hi) }
    }

    /// Of sums.
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        Self::hull(self.corners(other, |a, b| a + b))
    }

    /// Whether no sum leaves 64 bits.
    #[must_use]
    pub fn sum_fits(self, other: Self) -> bool {
        self.corners(other, |a, b| a + b).into_iter().all(fits)
    }

    /// Of differences.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self::hull(self.corners(other, |a, b| a - b))
    }

    /// Whether no difference leaves 64 bits.
    #[must_use]
    pub fn difference_fits(self, other: Self) -> bool {
        self.corners(other, |a, b| a - b).into_iter().all(fits)
    }

    /// Of products.
    #[must_use]
    pub fn product(self, other: Self) -> Self {
        Self::hull(self.corners(other, |a, b| a * b))
    }

    /// Whether no product leaves 64 bits.
    #[must_use]
    pub fn product_fits(self, other: Self) -> bool {
        self.corners(other, |a, b| a * b).into_iter().all(fits)
    }

    /// Of quotients.
    #[must_use]
    pub fn quotient(self, other: Self) -> Self {
        if other.lo > 0 {
            return Self::hull(self.corners(other, |a, b| a / b));
        }
        if self.lo >= 0 && other.lo >= 0 {
            return Self::new(0, self.hi);
        }
        let most = self.abs().hi;
        Self { lo: fold::neg(most).saturating_sub(1), hi: most }
    }

    /// Of remainders.
    #[must_use]
    pub fn remainder(self, other: Self) -> Self {
        let most = self.abs().hi;
        let most = if other.lo > 0 { most.min(other.hi - 1) } else { most };
        let lo = if self.lo >= 0 { 0 } else { fold::neg(most).saturating_sub(1).max(self.lo) };
        Self { lo, hi: if self.hi <= 0 { 0 } else { most.min(self.hi) } }
    }

    /// Of negations.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { lo: fold::neg(self.hi), hi: fold::neg(self.lo) }
    }

    /// Of magnitudes.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.lo >= 0 {
            return self;
        }
        let hi = fold::abs(self.lo).max(fold::abs(self.hi));
        Self { lo: if self.hi < 0 { fold::abs(self.hi) } else { 0 }, hi }
    }

    /// Of the smaller of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.min(other.hi) }
    }

    /// Of the larger of two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { lo: self.lo.max(other.lo), hi: self.hi.max(other.hi) }
    }

    /// Of `a * b / c`.
    #[must_use]
    pub fn mul_div(self, b: Self, c: Self) -> Self {
        if self.lo < 0 || b.lo < 0 || c.lo < 0 {
            return Self::ALL;
        }
        let product = i128::from(self.hi) * i128::from(b.hi);
        Self::new(0, clamp(product / i128::from(c.lo.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range_and_member() -> impl Strategy<Value = (Range, i64)> {
        (edgy(), edgy(), edgy()).prop_map(|(a, b, c)| {
            let mut sorted = [a, b, c];
            sorted.sort_unstable();
            (Range::new(sorted[0], sorted[2]), sorted[1])
        })
    }

    fn edgy() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -3_i64..=3, Just(i64::MAX), Just(i64::MIN)]
    }

    proptest! {
        #[test]
        fn results_stay_in_their_ranges(
            (ra, a) in range_and_member(), (rb, b) in range_and_member(),
            (rc, c) in range_and_member(),
        ) {
            let inside = |range: Range, value: i64| range.lo <= value && value <= range.hi;
            prop_assert!(inside(ra.sum(rb), fold::add(a, b)));
            prop_assert!(inside(ra.difference(rb), fold::sub(a, b)));
            prop_assert!(inside(ra.product(rb), fold::mul(a, b)));
            prop_assert!(inside(ra.quotient(rb), fold::div(a, b)));
            prop_assert!(inside(ra.remainder(rb), fold::rem(a, b)), "{a} mod {b} in {:?}", ra.remainder(rb));
            prop_assert!(inside(ra.negated(), fold::neg(a)));
            prop_assert!(inside(ra.abs(), fold::abs(a)));
            prop_assert!(inside(ra.mul_div(rb, rc), fold::mul_div(a, b, c)));
            prop_assert!(!ra.sum_fits(rb) || a.checked_add(b).is_some());
            prop_assert!(!ra.difference_fits(rb) || a.checked_sub(b).is_some());
            prop_assert!(!ra.product_fits(rb) || a.checked_mul(b).is_some());
        }
    }
}
