//! Durations as arguments: `250ms`, `1.5s`, `2min`.

use std::time::Duration;

/// The units, with their nanoseconds; the same names as in the language.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses a duration above zero.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let Some((_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("a duration is a number and one of ns, us, ms, s, min, h, d".to_owned());
    };
    let ns = scaled(number, *unit_ns).ok_or("not a number, or too large")?;
    if ns == 0 {
        return Err("must be above zero".to_owned());
    }
    Ok(Duration::from_nanos(ns))
}

fn scaled(number: &str, unit_ns: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole_ns = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    let mut place_ns = unit_ns;
    let mut fraction_ns = 0_u64;
    for digit in fraction.chars() {
        place_ns /= 10;
        fraction_ns += u64::from(digit.to_digit(10)?) * place_ns;
    }
    whole_ns.checked_add(fraction_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse("0.5ms"), Ok(Duration::from_micros(500)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "s", "-1s", "0s", "1.2.3s", "1e3s", "99999999999999h", "1 s", ".s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
