//! Numbers with units: exact, or refused.

use kernel_vm::abi::FIXED_ONE;
use kernel_vm::schema::{Type, Unit};

/// A number in the base of its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) value: i64,
    pub(crate) ty: Type,
    /// As written.
    pub(crate) text: String,
}

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiteralError {
    /// No such unit.
    UnknownUnit,
    /// Larger than 64 bits hold.
    TooLarge,
    /// A fraction finer than the base of the unit.
    TooFine,
}

/// Suffix, type, and how many bases one of it is.
pub(crate) const UNITS: &[(&str, Unit, i64)] = &[
    ("B", Unit::Bytes, 1),
    ("KiB", Unit::Bytes, 1 << 10),
    ("MiB", Unit::Bytes, 1 << 20),
    ("GiB", Unit::Bytes, 1 << 30),
    ("TiB", Unit::Bytes, 1 << 40),
    ("KB", Unit::Bytes, 1_000),
    ("MB", Unit::Bytes, 1_000_000),
    ("GB", Unit::Bytes, 1_000_000_000),
    ("TB", Unit::Bytes, 1_000_000_000_000),
    ("ns", Unit::Duration, 1),
    ("us", Unit::Duration, 1_000),
    ("ms", Unit::Duration, 1_000_000),
    ("s", Unit::Duration, 1_000_000_000),
    ("min", Unit::Duration, 60_000_000_000),
    ("h", Unit::Duration, 3_600_000_000_000),
    ("d", Unit::Duration, 86_400_000_000_000),
    ("%", Unit::Ratio, FIXED_ONE / 100),
    ("", Unit::Count, 1),
];

/// The number `digits[.fraction]suffix`, or a rate of it when `per_second`.
///
/// A number without a unit but with a fraction is a ratio: `0.5` is `50%`.
pub(crate) fn literal(
    whole: &str,
    fraction: &str,
    suffix: &str,
    per_second: bool,
) -> Result<(i64, Type), LiteralError> {
    let (unit, mut base) = UNITS
        .iter()
        .find(|unit| unit.0 == suffix)
        .map(|&(_, unit, base)| (unit, i128::from(base)))
        .ok_or(LiteralError::UnknownUnit)?;
    let ty = match (unit, per_second) {
        (unit, true) => {
            base *= i128::from(FIXED_ONE);
            Type::PerSecond(unit)
        }
        (Unit::Count, false) if !fraction.is_empty() => {
            base = i128::from(FIXED_ONE);
            Type::Int(Unit::Ratio)
        }
        (unit, false) => Type::Int(unit),
    };
    let mut digits: i128 = 0;
    let mut denominator: i128 = 1;
    let fraction = fraction.trim_end_matches('0');
    for byte in whole.bytes().filter(u8::is_ascii_digit) {
        digits = digits
            .checked_mul(10)
            .and_then(|digits| digits.checked_add(i128::from(byte - b'0')))
            .filter(|&digits| digits <= i128::from(i64::MAX))
            .ok_or(LiteralError::TooLarge)?;
    }
    for byte in fraction.bytes().filter(u8::is_ascii_digit) {
        // Eighteen places are finer than any base; more cannot be exact.
        denominator = denominator
            .checked_mul(10)
            .filter(|&power| power <= 1_000_000_000_000_000_000)
            .ok_or(LiteralError::TooFine)?;
        digits = digits * 10 + i128::from(byte - b'0');
    }
    let scaled = digits.checked_mul(base).ok_or(LiteralError::TooLarge)?;
    if scaled % denominator != 0 {
        return Err(LiteralError::TooFine);
    }
    let value = i64::try_from(scaled / denominator).map_err(|_| LiteralError::TooLarge)?;
    Ok((value, ty))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(unit: Unit) -> Type {
        Type::Int(unit)
    }

    #[test]
    fn numbers_are_exact_in_their_base() {
        assert_eq!(literal("512", "", "MiB", false), Ok((512 << 20, int(Unit::Bytes))));
        assert_eq!(literal("1", "5", "GiB", false), Ok((3 << 29, int(Unit::Bytes))));
        assert_eq!(literal("80", "", "%", false), Ok((800_000, int(Unit::Ratio))));
        assert_eq!(literal("0", "05", "%", false), Ok((500, int(Unit::Ratio))));
        assert_eq!(literal("0", "5", "", false), Ok((500_000, int(Unit::Ratio))));
        assert_eq!(literal("1_000", "", "", false), Ok((1000, int(Unit::Count))));
        assert_eq!(literal("5", "", "min", false), Ok((300_000_000_000, int(Unit::Duration))));
        assert_eq!(
            literal("10", "", "MiB", true),
            Ok(((10 << 20) * 1_000_000, Type::PerSecond(Unit::Bytes)))
        );
        assert_eq!(literal("9223372036854775807", "", "", false), Ok((i64::MAX, int(Unit::Count))));
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        assert_eq!(literal("99999999999", "", "GiB", false), Err(LiteralError::TooLarge));
        assert_eq!(literal("9223372036854775808", "", "", false), Err(LiteralError::TooLarge));
        assert_eq!(literal(&"9".repeat(5000), "", "B", false), Err(LiteralError::TooLarge));
        assert_eq!(literal("1", &"1".repeat(5000), "h", false), Err(LiteralError::TooFine));
        assert_eq!(literal("1", "5", "B", false), Err(LiteralError::TooFine));
        assert_eq!(literal("0", "00001", "%", false), Err(LiteralError::TooFine));
        assert_eq!(literal("1", "", "XiB", false), Err(LiteralError::UnknownUnit));
    }
}
