//! What every operation means, on constants.

/// `a + b`
#[must_use]
pub fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

/// `a - b`
#[must_use]
pub fn sub(a: i64, b: i64) -> i64 {
    a.saturating_sub(b)
}

/// `a * b`
#[must_use]
pub fn mul(a: i64, b: i64) -> i64 {
    a.saturating_mul(b)
}

/// `a / b` toward zero; 0 when `b` is 0.
#[must_use]
pub fn div(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.saturating_div(b) }
}

/// The remainder with the sign of `a`; `a` when `b` is 0.
#[must_use]
pub fn rem(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { a.wrapping_rem(b) }
}

/// `-a`
#[must_use]
pub fn neg(a: i64) -> i64 {
    a.saturating_neg()
}

/// `|a|`
#[must_use]
pub fn abs(a: i64) -> i64 {
    a.saturating_abs()
}

/// `a * b / c` on the exact product, toward zero; 0 when `c` is 0.
#[must_use]
pub fn mul_div(a: i64, b: i64, c: i64) -> i64 {
    if c == 0 {
        return 0;
    }
    let quotient = i128::from(a) * i128::from(b) / i128::from(c);
    quotient.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
