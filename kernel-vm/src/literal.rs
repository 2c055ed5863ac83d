//! Numbers with units as people write them: `512MiB`, `80%`, `10s`, `3MiB/s`.
//!
//! The language's literals and the loader's `-p name=value` are read here, so that both
//! know the same units and round alike.
//!
//! **Invariant**: a literal means its exact value or is an error; nothing is rounded.

use crate::abi::FIXED_ONE;
use crate::schema::{Type, Unit};

/// The unit words, their unit and what one of them is worth in the unit's base.
pub const UNIT_WORDS: &[(&str, Unit, i64)] = &[
    ("B", Unit::Bytes, 1),
    ("KiB", Unit::Bytes, 1 << 10),
    ("MiB", Unit::Bytes, 1 << 20),
    ("GiB", Unit::Bytes, 1 << 30),
    ("TiB", Unit::Bytes, 1 << 40),
    ("PiB", Unit::Bytes, 1 << 50),
    ("KB", Unit::Bytes, 1_000),
    ("MB", Unit::Bytes, 1_000_000),
    ("GB", Unit::Bytes, 1_000_000_000),
    ("TB", Unit::Bytes, 1_000_000_000_000),
    ("ns", Unit::Duration, 1),
    ("us", Unit::Duration, 1_000),
    ("ms", Unit::Duration, 1_000_000),
    ("s", Unit::Duration, 1_000_000_000),
    ("min", Unit::Duration, 60 * 1_000_000_000),
    ("h", Unit::Duration, 3_600 * 1_000_000_000),
    ("d", Unit::Duration, 86_400 * 1_000_000_000),
    ("%", Unit::Ratio, FIXED_ONE / 100),
];

/// A number and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// `Int` or `PerSecond` of the unit that was written; without one a whole number is a
    /// count and one with a fraction a ratio (`0.5` is `50%`).
    pub ty: Type,
    /// The value in the type's base: bytes, nanoseconds, millionths.
    pub value: i64,
}

/// Why a text is no number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiteralError {
    /// It does not begin with a digit.
    NotANumber,
    /// The word after the number is no unit of [`UNIT_WORDS`].
    UnknownUnit,
    /// The value does not fit 64 bits with sign.
    TooLarge,
    /// The value has a part smaller than the unit's base can hold: `0.5ns`.
    Inexact,
}

impl core::fmt::Display for LiteralError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "not a number",
            Self::UnknownUnit => "unknown unit",
            Self::TooLarge => "the value does not fit 64 bits",
            Self::Inexact => "the value is finer than its unit can hold",
        })
    }
}

/// Reads the whole of `text` as a number without sign, with an optional unit directly
/// behind it: `10`, `1_000`, `0x1f`, `1.5GiB`, `80%`, `3MiB/s`.
///
/// # Errors
/// See [`LiteralError`].
pub fn parse(text: &str) -> Result<Literal, LiteralError> {
    let (number, unit) = split(text);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(LiteralError::NotANumber);
    }
    let (mut ty, mut scale) = unit_of(unit)?;
    if ty == Type::Int(Unit::Count) && number.contains('.') {
        (ty, scale) = (Type::Int(Unit::Ratio), FIXED_ONE);
    }
    Ok(Literal { ty, value: scaled(number, scale)? })
}

/// The number and the unit word; the split is before the first character that can be in no
/// number.
fn split(text: &str) -> (&str, &str) {
    let end = if text.starts_with("0x") || text.starts_with("0o") {
        text.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '_' | 'x' | 'o')))
    } else {
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '_' | '.')))
    };
    text.split_at(end.unwrap_or(text.len()))
}

fn unit_of(word: &str) -> Result<(Type, i64), LiteralError> {
    let (word, per_second) = match word.strip_suffix("/s") {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (unit, scale) = if word.is_empty() {
        (Unit::Count, 1)
    } else {
        UNIT_WORDS
            .iter()
            .find(|(name, _, _)| *name == word)
            .map(|(_, unit, scale)| (*unit, *scale))
            .ok_or(LiteralError::UnknownUnit)?
    };
    if !per_second {
        return Ok((Type::Int(unit), scale));
    }
    // A ratio a second has no column to be compared with, a duration a second is a ratio.
    if matches!(unit, Unit::Ratio | Unit::Duration) {
        return Err(LiteralError::UnknownUnit);
    }
    let scale = scale.checked_mul(FIXED_ONE).ok_or(LiteralError::TooLarge)?;
    Ok((Type::PerSecond(unit), scale))
}

fn scaled(number: &str, scale: i64) -> Result<i64, LiteralError> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = number.strip_prefix(prefix) {
            let value = whole(digits, radix)?;
            return times(value, scale);
        }
    }
    let (digits, fraction) = match number.split_once('.') {
        Some((digits, fraction)) => (digits, Some(fraction)),
        None => (number, None),
    };
    let value = times(whole(digits, 10)?, scale)?;
    let part = match fraction {
        Some(fraction) => fraction_of(fraction, scale)?,
        None => 0,
    };
    value.checked_add(part).ok_or(LiteralError::TooLarge)
}

fn whole(digits: &str, radix: u32) -> Result<i64, LiteralError> {
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(LiteralError::NotANumber);
    }
    let mut value = 0_i64;
    for c in digits.chars().filter(|&c| c != '_') {
        let digit = c.to_digit(radix).ok_or(LiteralError::NotANumber)?;
        value = value
            .checked_mul(i64::from(radix))
            .and_then(|value| value.checked_add(i64::from(digit)))
            .ok_or(LiteralError::TooLarge)?;
    }
    Ok(value)
}

/// `0.digits × scale`, which must be whole.
fn fraction_of(digits: &str, scale: i64) -> Result<i64, LiteralError> {
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(LiteralError::NotANumber);
    }
    let mut numerator = 0_i128;
    let mut denominator = 1_i128;
    for c in digits.trim_end_matches(['0', '_']).chars().filter(|&c| c != '_') {
        let digit = c.to_digit(10).ok_or(LiteralError::NotANumber)?;
        denominator = denominator.checked_mul(10).ok_or(LiteralError::Inexact)?;
        numerator = numerator
            .checked_mul(10)
            .and_then(|numerator| numerator.checked_add(i128::from(digit)))
            .ok_or(LiteralError::Inexact)?;
    }
    let value = numerator.checked_mul(i128::from(scale)).ok_or(LiteralError::Inexact)?;
    if value.checked_rem(denominator) != Some(0) {
        return Err(LiteralError::Inexact);
    }
    let value = value.checked_div(denominator).ok_or(LiteralError::Inexact)?;
    i64::try_from(value).map_err(|_| LiteralError::TooLarge)
}

fn times(value: i64, scale: i64) -> Result<i64, LiteralError> {
    value.checked_mul(scale).ok_or(LiteralError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(unit: Unit, value: i64) -> Result<Literal, LiteralError> {
        Ok(Literal { ty: Type::Int(unit), value })
    }

    #[test]
    fn every_unit_has_its_scale() {
        assert_eq!(parse("10"), int(Unit::Count, 10));
        assert_eq!(parse("1_000"), int(Unit::Count, 1_000));
        assert_eq!(parse("0x1f"), int(Unit::Count, 31));
        assert_eq!(parse("0o644"), int(Unit::Count, 0o644));
        assert_eq!(parse("512MiB"), int(Unit::Bytes, 512 << 20));
        assert_eq!(parse("1.5GiB"), int(Unit::Bytes, 3 << 29));
        assert_eq!(parse("5min"), int(Unit::Duration, 300_000_000_000));
        assert_eq!(parse("0.5%"), int(Unit::Ratio, 5_000));
        assert_eq!(parse("0.5"), int(Unit::Ratio, 500_000));
        assert_eq!(parse("1.0"), int(Unit::Ratio, 1_000_000));
        assert_eq!(parse("2GB"), int(Unit::Bytes, 2_000_000_000));
        assert_eq!(
            parse("3MiB/s"),
            Ok(Literal { ty: Type::PerSecond(Unit::Bytes), value: (3 << 20) * 1_000_000 })
        );
        assert_eq!(
            parse("10/s"),
            Ok(Literal { ty: Type::PerSecond(Unit::Count), value: 10_000_000 })
        );
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        assert_eq!(parse("0.5ns"), Err(LiteralError::Inexact));
        assert_eq!(parse("0.0000005"), Err(LiteralError::Inexact));
        assert_eq!(parse("0.00001%"), Err(LiteralError::Inexact));
        assert_eq!(parse("1.5B"), Err(LiteralError::Inexact));
        assert_eq!(parse("99999999999GiB"), Err(LiteralError::TooLarge));
        assert_eq!(parse("9223372036854775807"), int(Unit::Count, i64::MAX));
        assert_eq!(parse("9223372036854775808"), Err(LiteralError::TooLarge));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "x", "_1", "-1", ".5s", "1.", "0x", "1.2.3", "%"] {
            assert_eq!(parse(text), Err(LiteralError::NotANumber), "{text}");
        }
        for text in ["1mb", "1kB", "1 s", "1s/s", "1%/s", "1é"] {
            assert_eq!(parse(text), Err(LiteralError::UnknownUnit), "{text}");
        }
    }
}
