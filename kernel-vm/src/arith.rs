//! Arithmetic that the ISA has no insn for.
//!
//! Scaling a value (a rate, a percentage, a unit) multiplies before it divides, and the product
//! of two 64-bit numbers has 128 bits. Written in insns that is two thirds of a filter, and the
//! verifier's time with it; so it is a helper, and this is what the helper does on every host.
//!
//! What histories are made of is in [`history`].
//!
//! **Invariant**: any three numbers have a result, and it is reached in a bounded time.

pub mod history;

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

#[cfg(test)]
mod tests {
    use super::mul_div;
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
}
