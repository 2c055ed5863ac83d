//! What every operation means, on constants.

pub use kernel_vm::arith::mul_div;

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
