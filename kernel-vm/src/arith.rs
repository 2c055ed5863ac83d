//! Arithmetic that the ISA has no insn for.
//!
//! Scaling a value (a rate, a percentage, a unit) multiplies before it divides, and the product
//! of two 64-bit numbers has 128 bits. Written in insns that is two thirds of a filter, and the
//! verifier's time with it; so it is a helper, and this is what the helper does on every host.
//! So is the weight of what lies some time back, which histories take for each row.
//!
//! **Invariant**: any numbers have a result, and it is reached in a bounded time.

/// `a * b / c` on the exact product, toward zero; the nearest number where the quotient has
/// none, and 0 where `c` is 0.
#[must_use]
#[inline(never)]
pub const fn mul_div(a: i64, b: i64, c: i64) -> i64 {
    let divisor = c.unsigned_abs();
    if divisor == 0 {
        return 0;
    }
    let is_negative = a ^ b ^ c < 0;
    let product = (a.unsigned_abs() as u128).wrapping_mul(b.unsigned_abs() as u128);
    let (mut rest, mut low) = ((product >> 64) as u64, product as u64);
    let quotient = if rest >= divisor {
        u64::MAX
    } else if rest == 0 {
        match low.checked_div(divisor) {
            Some(quotient) => quotient,
            None => 0,
        }
    } else {
        // Long division: the quotient's bits come into the lower word as its own go out of it.
        let mut bits = 64_u32;
        while let Some(left) = bits.checked_sub(1) {
            bits = left;
            let carry = rest >> 63;
            rest = rest << 1 | low >> 63;
            low <<= 1;
            if carry != 0 || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                low |= 1;
            }
        }
        low
    };
    match (quotient.cast_signed(), is_negative) {
        (quotient @ 0.., false) => quotient,
        (quotient @ 0.., true) => quotient.wrapping_neg(),
        // 2^63 and beyond.
        (_, false) => i64::MAX,
        (_, true) => i64::MIN,
    }
}

/// One, as a weight: weights have 32 bits after the point.
pub const WEIGHT_ONE: i64 = 1 << 32;

/// The coefficients of `2^-f = 1 - f (a1 - f (a2 - …))` for `f` from 0 to 1, scaled by 2^32:
/// off by less than 2^-30.
pub const DECAY_COEFFICIENTS: [i64; 7] =
    [2977044471, 1031764939, 238387495, 41304489, 5712048, 639488, 48550];

/// The weight `2^(-dt / half_life)`: all of it when no time has passed, none when there is no
/// half life or it has passed more than 32 times.
#[must_use]
#[inline(never)]
pub fn decay(dt: i64, half_life: i64) -> i64 {
    if dt <= 0 {
        return WEIGHT_ONE;
    }
    if half_life <= 0 {
        return 0;
    }
    let (dt, half_life) = (dt.cast_unsigned(), half_life.cast_unsigned());
    let halvings = dt.checked_div(half_life).unwrap_or(u64::MAX);
    if halvings > 32 {
        return 0;
    }
    // The part of a half life that is left over, by numbers that leave 32 bits for its fraction.
    let rest = dt.wrapping_sub(halvings.wrapping_mul(half_life));
    let beyond = 32_u32.saturating_sub(half_life.leading_zeros());
    let fraction = ((rest >> beyond) << 32).checked_div(half_life >> beyond).unwrap_or(0);
    let [rising @ .., last] = DECAY_COEFFICIENTS;
    let mut sum = last.cast_unsigned();
    for coefficient in rising.iter().rev().chain([&WEIGHT_ONE]) {
        let part = sum.wrapping_mul(fraction) >> 32;
        sum = coefficient.cast_unsigned().wrapping_sub(part);
    }
    (sum >> halvings).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{WEIGHT_ONE, decay, mul_div};
    use crate::isa::scatter;

    /// The same in 128 bits.
    fn exact(a: i64, b: i64, c: i64) -> i64 {
        let product = i128::from(a) * i128::from(b);
        let quotient = product.checked_div(c.into()).unwrap_or(0);
        quotient.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    const EDGES: [i64; 14] = [
        i64::MIN,
        i64::MIN + 1,
        -(1 << 32) - 1,
        -1_000_000_000,
        -3,
        -1,
        0,
        1,
        2,
        1_000_000,
        1 << 32,
        (1 << 62) + 1,
        i64::MAX - 1,
        i64::MAX,
    ];

    #[test]
    fn every_three_edges_have_the_exact_quotient() {
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    assert_eq!(mul_div(a, b, c), exact(a, b, c), "{a} * {b} / {c}");
                }
            }
        }
    }

    #[test]
    fn any_three_numbers_have_the_exact_quotient() {
        let mut random = 11;
        for _ in 0..200_000 {
            let mut number = || {
                let (bits, shift) = (scatter(&mut random), scatter(&mut random));
                bits.cast_signed() >> (shift & 63)
            };
            let (a, b, c) = (number(), number(), number());
            assert_eq!(mul_div(a, b, c), exact(a, b, c), "{a} * {b} / {c}");
        }
    }

    #[test]
    fn a_weight_halves_with_each_half_life() {
        for half_life in [1, 3, 10_000_000_000, i64::MAX / 40] {
            for halvings in 0..=32 {
                assert_eq!(decay(half_life * halvings, half_life), WEIGHT_ONE >> halvings);
            }
            assert_eq!(decay(half_life * 33, half_life), 0);
        }
        assert_eq!((decay(-1, 0), decay(0, 7), decay(1, 0)), (WEIGHT_ONE, WEIGHT_ONE, 0));
        assert_eq!((decay(1, -1), decay(i64::MAX, i64::MIN)), (0, 0));
    }

    /// Against the function itself, and it never rises.
    #[test]
    fn a_weight_is_that_of_the_real_function() {
        let mut random = 7;
        for _ in 0..100_000 {
            let half_life = (scatter(&mut random) >> 2 >> (scatter(&mut random) % 60)).max(1);
            let part = (scatter(&mut random) >> 12) as f64 / (1_u64 << 52) as f64;
            let dt = (half_life as f64 * part) as i64;
            let half_life = half_life.cast_signed();
            let real = (-(dt as f64) / half_life as f64).exp2() * 4_294_967_296.0;
            let found = decay(dt, half_life);
            assert!((found as f64 - real).abs() < 6.0, "{dt} / {half_life}: {found}, not {real}");
            assert!(decay(dt.saturating_add(half_life), half_life) <= found);
        }
    }
}
