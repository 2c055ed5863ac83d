//! What histories of values are made of: weights of the past, variances and their roots.
//!
//! The exact integer formulas stand in the section "History" of `docs/language.md`. Hosts whose
//! machine is not this one get the same as code from the compiler, which tests compare.
//!
//! **Invariant**: any arguments have a result; within the ranges that the functions name it is
//! the formula's.

/// One, as a weight: weights are fixed-point numbers from 0 to 1.
pub const ONE: i64 = 1 << 32;

/// The coefficients of `2^-f = 1 - f (a1 - f (a2 - …))` for `f` from 0 to 1, scaled by 2^32:
/// off by less than 2^-30.
pub const DECAY_COEFFICIENTS: [i64; 7] =
    [2977044471, 1031764939, 238387495, 41304489, 5712048, 639488, 48550];

/// Bits after the point of the number of which [`root`] guesses the root.
pub const PART_BITS: i32 = 30;
/// `√p ≈ c0 + p (c1 - p c2)` for `p` from 1 to 4, scaled by 2^30; off by at most 0.5 %.
pub const ROOT_COEFFICIENTS: [i32; 3] = [556793792, 564798605, 42455873];

/// The weight `2^(-dt / half_life)` of what was known before `dt` passed; 1 where no time has
/// passed, 0 where nothing lasts.
#[must_use]
#[inline(never)]
pub const fn decay(dt: i64, half_life: i64) -> i64 {
    if dt <= 0 {
        return ONE;
    }
    let (Some(halvings), Some(rest)) = (dt.checked_div(half_life), dt.checked_rem(half_life))
    else {
        return 0;
    };
    if half_life < 0 || halvings > 32 {
        return 0;
    }
    // Both in 32 bits.
    let bits = i64::BITS.wrapping_sub(half_life.leading_zeros());
    let excess = bits.saturating_sub(32);
    let (rest, unit) = (rest.cast_unsigned() >> excess, half_life.cast_unsigned() >> excess);
    let Some(fraction) = (rest << 32).checked_div(unit) else { return 0 };
    let mut sum = 0;
    let mut left = DECAY_COEFFICIENTS.as_slice();
    while let [rest @ .., coefficient] = left {
        sum = below(*coefficient, sum, fraction);
        left = rest;
    }
    (below(ONE, sum, fraction) >> halvings).cast_signed()
}

/// `coefficient - sum * fraction`
const fn below(coefficient: i64, sum: u64, fraction: u64) -> u64 {
    coefficient.cast_unsigned().wrapping_sub(sum.wrapping_mul(fraction) >> 32)
}

/// Leaves the variance after a value that differs so much from the mean: `(variance + difference *
/// step) * (1 - weight)`, where `step` is `difference * weight` and `weight` is 0 to [`ONE`].
/// Variances have at most 126 bits, the lowest first.
#[inline(never)]
pub const fn spread(variance: &mut [u8; 16], difference: i64, step: i64, weight: i64) {
    let sign = difference >> 63;
    let difference = (difference ^ sign).wrapping_sub(sign).cast_unsigned();
    let step = (step ^ sign).wrapping_sub(sign).cast_unsigned();
    let kept = ONE.wrapping_sub(weight).cast_unsigned() as u128;
    let product = (difference as u128).wrapping_mul(step as u128);
    let sum = u128::from_le_bytes(*variance).wrapping_add(product);
    let low = (sum as u32 as u128).wrapping_mul(kept) >> 32;
    *variance = (sum >> 32).wrapping_mul(kept).wrapping_add(low).to_le_bytes();
}

/// The square root of a variance of at most 126 bits, rounded down after its lowest 32 or 64 bits
/// were dropped if it has more than 62 or 94.
#[must_use]
#[inline(never)]
pub const fn root(variance: u128) -> u64 {
    let (low, high) = (variance as u64, (variance >> 64) as u64);
    let (low, shift) = if high >> 30 != 0 {
        (high, 32)
    } else if (high << 2 | low >> 62) != 0 {
        (high << 32 | low >> 32, 16)
    } else {
        (low, 0)
    };
    let low = low & (u64::MAX >> 2);
    if low == 0 {
        return 0;
    }
    // The root of the number's part in [1, 4), then two of Newton's steps, which come down to
    // it: each squares the error and halves it.
    let places = low.leading_zeros().wrapping_sub(2) & !1;
    let part = (low << places >> PART_BITS).cast_signed();
    let [constant, linear, square] = ROOT_COEFFICIENTS;
    let slope = (linear as i64).wrapping_sub(part.wrapping_mul(square as i64) >> PART_BITS);
    let rise = slope.wrapping_mul(part) >> PART_BITS;
    let guess = rise.wrapping_add(constant as i64).cast_unsigned();
    let guess = (guess >> (places >> 1)).wrapping_add(1);
    let guess = closer(low, closer(low, guess));
    // A guess that is one too large has a square that is larger.
    let is_beyond = guess.wrapping_mul(guess) > low;
    guess.wrapping_sub(is_beyond as u64) << shift
}

/// One of Newton's steps towards the root of `square`.
const fn closer(square: u64, guess: u64) -> u64 {
    match square.checked_div(guess) {
        Some(other) => guess.wrapping_add(other) >> 1,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{DECAY_COEFFICIENTS, ONE, decay, root, spread};
    use crate::isa::scatter;

    const TRIES: u32 = 100_000;

    /// A number of any size.
    fn any(random: &mut u64) -> i64 {
        let (bits, shift) = (scatter(random), scatter(random));
        bits.cast_signed() >> (shift & 63)
    }

    /// The formula in 128 bits.
    fn power(dt: i64, half_life: i64) -> i128 {
        if dt <= 0 {
            return ONE.into();
        }
        let (dt, mut unit) = (i128::from(dt), i128::from(half_life));
        if unit <= 0 || dt / unit > 32 {
            return 0;
        }
        let (halvings, mut rest) = (dt / unit, dt % unit);
        while unit >= 1 << 32 {
            (unit, rest) = (unit >> 1, rest >> 1);
        }
        let fraction = (rest << 32) / unit;
        let coefficients = core::iter::once(&ONE).chain(&DECAY_COEFFICIENTS).rev();
        let sum = coefficients.fold(0, |sum, &a| i128::from(a) - ((sum * fraction) >> 32));
        sum >> halvings
    }

    #[test]
    fn weights_follow_their_formula() {
        let mut random = 21;
        for _ in 0..TRIES {
            let half_life = any(&mut random);
            let near = half_life.saturating_mul(scatter(&mut random) as i64 & 63);
            for dt in [any(&mut random), near, near.saturating_add(half_life >> 1), i64::MAX] {
                assert_eq!(
                    i128::from(decay(dt, half_life)),
                    power(dt, half_life),
                    "{dt} {half_life}"
                );
            }
        }
        for edge in [i64::MIN, -1, 0] {
            assert_eq!(decay(edge, 1), ONE);
            assert_eq!(decay(1, edge), 0);
            assert_eq!(decay(edge, edge), ONE);
        }
        assert_eq!(decay(7, 7), ONE >> 1);
    }

    #[test]
    fn variances_are_exact_in_128_bits() {
        let mut random = 22;
        for _ in 0..TRIES {
            let high = any(&mut random).unsigned_abs() >> 2;
            let variance = u128::from(high) << 64 | u128::from(any(&mut random).unsigned_abs());
            let difference = any(&mut random).max(i64::MIN + 1);
            let weight = match scatter(&mut random) & 7 {
                0 => 0,
                1 => ONE,
                _ => scatter(&mut random) as i64 & (ONE - 1),
            };
            let step = (i128::from(difference) * i128::from(weight)) >> 32;
            let sum = variance + (i128::from(difference) * step).unsigned_abs();
            let kept = (ONE - weight).unsigned_abs();
            let low = (u128::from(sum as u32) * u128::from(kept)) >> 32;
            let exact = (sum >> 32) * u128::from(kept) + low;
            let mut found = variance.to_le_bytes();
            spread(&mut found, difference, step as i64, weight);
            assert_eq!(u128::from_le_bytes(found), exact);
        }
    }

    #[test]
    fn roots_are_exact_on_the_bits_that_they_look_at() {
        let mut random = 23;
        let check = |variance: u128| {
            let variance = variance >> 2;
            let mut shift = 0;
            while variance >> (2 * shift) >= 1 << 62 {
                shift += 16;
            }
            let exact = (variance >> (2 * shift)).isqrt() << shift;
            assert_eq!(u128::from(root(variance)), exact, "{variance}");
        };
        for shift in 0..128 {
            for near in 0..3 {
                check((1_u128 << shift).wrapping_add(near).wrapping_sub(1));
                check(u128::MAX >> shift);
            }
        }
        for _ in 0..TRIES {
            let (high, low) = (scatter(&mut random), scatter(&mut random));
            check((u128::from(high) << 64 | u128::from(low)) >> (scatter(&mut random) & 127));
            // Around squares.
            let square = u128::from(low >> 33 >> (high & 31)).pow(2);
            for variance in [square.saturating_sub(1), square, square + 1] {
                check(variance);
            }
        }
    }
}
