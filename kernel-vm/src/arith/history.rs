//! What histories of values are made of: weights of the past, variances and their roots.
//!
//! The exact integer formulas stand in the section "History" of `docs/language.md`. Hosts whose
//! machine is not this one get the same as code from the compiler, which tests compare.
//!
//! **Invariant**: any arguments have a result; within the ranges that the functions name it is
//! the formula's.

/// Eight bytes of a state, which need not be aligned.
pub type Word = [u8; 8];

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

/// The part `weight` of a number, rounded down.
const fn part(number: i64, weight: i64) -> i64 {
    let low = (number as u32 as u64).wrapping_mul(weight.cast_unsigned()) >> 32;
    (number >> 32).wrapping_mul(weight).wrapping_add(low.cast_signed())
}

/// Leaves the average after the value `x` at the time `now`: the weight that the past keeps, by
/// [`decay`].
///
/// An average is the time of its last value and the mean, the lowest bytes first.
#[inline(never)]
pub const fn average([time, mean]: &mut [Word; 2], &[x, now, half_life]: &[u64; 3]) -> u64 {
    let passed = now.wrapping_sub(u64::from_le_bytes(*time)).cast_signed();
    *time = now.to_le_bytes();
    let kept = decay(passed, half_life.cast_signed());
    let old = u64::from_le_bytes(*mean);
    let step = part(x.wrapping_sub(old).cast_signed(), ONE.wrapping_sub(kept));
    *mean = old.wrapping_add(step.cast_unsigned()).to_le_bytes();
    kept.cast_unsigned()
}

/// Leaves the variance after a value that differs so much from the mean: `(variance + difference *
/// step) * kept`, where the step is `difference * (1 - kept)` and `kept` is 0 to [`ONE`]; 0.
/// Variances have at most 126 bits, in two words, the lowest bytes first.
#[inline(never)]
pub const fn spread([low, high]: &mut [Word; 2], &[difference, kept]: &[u64; 2]) -> u64 {
    let difference = difference.cast_signed();
    let step = part(difference, ONE.wrapping_sub(kept.cast_signed()));
    let sign = difference >> 63;
    let difference = (difference ^ sign).wrapping_sub(sign).cast_unsigned();
    let step = (step ^ sign).wrapping_sub(sign).cast_unsigned();
    let kept = kept as u128;
    let product = (difference as u128).wrapping_mul(step as u128);
    let old = (u64::from_le_bytes(*high) as u128) << 64 | u64::from_le_bytes(*low) as u128;
    let sum = old.wrapping_add(product);
    let rest = (sum as u32 as u128).wrapping_mul(kept) >> 32;
    let new = (sum >> 32).wrapping_mul(kept).wrapping_add(rest);
    (*low, *high) = ((new as u64).to_le_bytes(), ((new >> 64) as u64).to_le_bytes());
    0
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
    use super::{DECAY_COEFFICIENTS, ONE, Word, average, decay, root, spread};
    use crate::isa::scatter;

    const TRIES: u32 = 100_000;

    /// A number of any size.
    fn any(random: &mut u64) -> i64 {
        let (bits, shift) = (scatter(random), scatter(random));
        bits.cast_signed() >> (shift & 63)
    }

    fn words(number: u128) -> [Word; 2] {
        [(number as u64).to_le_bytes(), ((number >> 64) as u64).to_le_bytes()]
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
    fn an_average_goes_towards_its_value_by_the_weight_of_the_time() {
        let mut random = 24;
        for _ in 0..TRIES {
            // Within 62 bits, as the programs hold them.
            let [x, old] = [any(&mut random) >> 2, any(&mut random) >> 2];
            let [before, half_life] =
                [any(&mut random).unsigned_abs() >> 1, any(&mut random) as u64];
            let now = before.wrapping_add(half_life.wrapping_mul(scatter(&mut random) & 63));
            let mut found = [before.to_le_bytes(), old.to_le_bytes()];
            let kept = average(&mut found, &[x as u64, now, half_life]);
            assert_eq!(kept as i64, decay(now.wrapping_sub(before) as i64, half_life as i64));
            let step = ((i128::from(x) - i128::from(old)) * i128::from(ONE - kept as i64)) >> 32;
            let mean = i128::from(old) + step;
            assert_eq!(found, [now.to_le_bytes(), (mean as i64).to_le_bytes()]);
        }
    }

    #[test]
    fn variances_are_exact_in_128_bits() {
        let mut random = 22;
        for _ in 0..TRIES {
            let high = any(&mut random).unsigned_abs() >> 2;
            let variance = u128::from(high) << 64 | u128::from(any(&mut random).unsigned_abs());
            let difference = any(&mut random).max(i64::MIN + 1);
            let kept = match scatter(&mut random) & 7 {
                0 => 0,
                1 => ONE,
                _ => scatter(&mut random) as i64 & (ONE - 1),
            };
            let step = (i128::from(difference) * i128::from(ONE - kept)) >> 32;
            let sum = variance + (i128::from(difference) * step).unsigned_abs();
            let factor = u128::from(kept.unsigned_abs());
            let exact = (sum >> 32) * factor + ((u128::from(sum as u32) * factor) >> 32);
            let mut found = words(variance);
            assert_eq!(spread(&mut found, &[difference as u64, kept as u64]), 0);
            assert_eq!(found, words(exact));
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
