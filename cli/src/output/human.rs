//! Values for people: a few digits and a unit.
//!
//! **Invariant**: integer arithmetic only, so that a number reads the same on every machine.

use super::escape::visible;
use super::value::device_numbers;
use kernel_vm::abi::FIXED_ONE;
use kernel_vm::schema::{Type, Unit};
use kfilter_loader::record::Value;

/// What stands for a value that is not known.
pub(crate) const UNKNOWN: &str = "-";

/// A value as a table shows it.
pub(crate) fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return UNKNOWN.to_owned() };
    match value {
        Value::Int(number, unit) => int(*number, *unit),
        Value::PerSecond(millionths, unit) => per_second(*millionths, *unit),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Text(bytes) => visible(bytes),
        Value::Enum(index, _) => value.enum_name().map_or_else(|| index.to_string(), str::to_owned),
        Value::Thread(0) => UNKNOWN.to_owned(),
        Value::Thread(tid) => tid.to_string(),
        Value::Object { device, inode } => {
            let (major, minor) = device_numbers(*device);
            format!("{major}:{minor}/{inode}")
        }
    }
}

/// Whether a column of this type is aligned to the right.
pub(crate) const fn is_numeric(ty: Type) -> bool {
    match ty {
        Type::Int(_) | Type::PerSecond(_) | Type::Thread => true,
        Type::Bool | Type::Text { .. } | Type::Enum(_) | Type::Object => false,
    }
}

fn int(number: i64, unit: Unit) -> String {
    match unit {
        Unit::Count | Unit::Id => number.to_string(),
        Unit::Bytes => bytes(number),
        Unit::Duration => duration(number),
        Unit::Ratio => percent(number),
        Unit::Instant => format!("+{}", duration(number)),
        Unit::Address => format!("{number:#x}"),
        Unit::Device => {
            let (major, minor) = device_numbers(number.cast_unsigned());
            format!("{major}:{minor}")
        }
        Unit::Bits => format!("0{number:o}"),
    }
}

fn per_second(millionths: i64, unit: Unit) -> String {
    let whole = millionths / FIXED_ONE;
    match unit {
        Unit::Bytes if whole.abs() < 1024 => format!("{}B/s", tenths(millionths, FIXED_ONE)),
        Unit::Bytes => format!("{}/s", bytes(whole)),
        Unit::Duration => format!("{}/s", duration(whole)),
        Unit::Ratio => format!("{}/s", percent(whole)),
        Unit::Count | Unit::Instant | Unit::Id | Unit::Address | Unit::Device | Unit::Bits => {
            format!("{}/s", tenths(millionths, FIXED_ONE))
        }
    }
}

/// `1.5MiB`: bytes with a binary prefix.
pub(crate) fn bytes(number: i64) -> String {
    const PREFIXES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut power = 0;
    while power + 1 < PREFIXES.len() && number.unsigned_abs() >> (10 * (power + 1)) != 0 {
        power += 1;
    }
    if power == 0 {
        return format!("{number}B");
    }
    let mut unit = 1_i64 << (10 * power);
    // 1023.96 KiB would round to 1024.0KiB: say 1.0MiB.
    if rounded_tenths(number, unit).abs() >= 10_240 && power + 1 < PREFIXES.len() {
        power += 1;
        unit <<= 10;
    }
    format!("{}{}", tenths(number, unit), PREFIXES[power])
}

/// `1.2s`, `2m03s`, `5d03h`: nanoseconds as the two largest units that say enough.
pub(crate) fn duration(ns: i64) -> String {
    const US: i64 = 1_000;
    const MS: i64 = 1_000 * US;
    const S: i64 = 1_000 * MS;
    const MINUTE: i64 = 60 * S;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.saturating_abs();
    // A limit is a little below its unit where rounding to tenths would reach the next.
    let text = if ns == 0 {
        "0s".to_owned()
    } else if ns < US {
        format!("{ns}ns")
    } else if ns < 999_950 {
        format!("{}us", tenths(ns, US))
    } else if ns < 999_950_000 {
        format!("{}ms", tenths(ns, MS))
    } else if ns < 59_950_000_000 {
        format!("{}s", tenths(ns, S))
    } else if ns < HOUR {
        let seconds = ((ns + S / 2) / S).min(3_599);
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else if ns < DAY {
        format!("{}h{:02}m", ns / HOUR, ns % HOUR / MINUTE)
    } else {
        format!("{}d{:02}h", ns / DAY, ns % DAY / HOUR)
    };
    format!("{sign}{text}")
}

/// `97.1%` of millionths.
pub(crate) fn percent(millionths: i64) -> String {
    format!("{}%", tenths(millionths, FIXED_ONE / 100))
}

/// `0.04%` of millionths: two decimals, for what is small.
pub(crate) fn fine_percent(millionths: i64) -> String {
    let hundredths = (millionths + 50) / 100;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// `number / unit` with one decimal, or none from 1000 on; rounded half away from zero.
fn tenths(number: i64, unit: i64) -> String {
    let tenths = rounded_tenths(number, unit);
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    if tenths >= 10_000 {
        format!("{sign}{}", (tenths + 5) / 10)
    } else {
        format!("{sign}{}.{}", tenths / 10, tenths % 10)
    }
}

fn rounded_tenths(number: i64, unit: i64) -> i128 {
    let unit = i128::from(unit);
    let scaled = i128::from(number) * 10;
    (scaled + scaled.signum() * unit / 2) / unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_vm::schema::EnumKind;

    #[test]
    fn bytes_round_to_a_prefix() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1536, "1.5KiB"),
            (1_048_575, "1.0MiB"),
            (512 << 20, "512.0MiB"),
            (1000 << 20, "1000MiB"),
            (i64::MAX, "8.0EiB"),
            (i64::MIN, "-8.0EiB"),
            (-1536, "-1.5KiB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn durations_keep_two_units() {
        let cases = [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5us"),
            (999_949, "999.9us"),
            (999_950, "1.0ms"),
            (350_000_000, "350.0ms"),
            (999_950_000, "1.0s"),
            (1_234_000_000, "1.2s"),
            (59_940_000_000, "59.9s"),
            (59_990_000_000, "1m00s"),
            (123_400_000_000, "2m03s"),
            (3_599_999_000_000, "59m59s"),
            (3_725_000_000_000, "1h02m"),
            (90_000_000_000_000, "1d01h"),
            (-1_500, "-1.5us"),
            (i64::MIN, "-106751d23h"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn ratios_are_percent() {
        assert_eq!(percent(971_234), "97.1%");
        assert_eq!(percent(999_999), "100.0%");
        assert_eq!(percent(16_000_000), "1600%");
        assert_eq!(percent(-5_000), "-0.5%");
        assert_eq!(percent(0), "0.0%");
        assert_eq!(fine_percent(449), "0.04%");
        assert_eq!(fine_percent(4_950), "0.50%");
        assert_eq!(fine_percent(1_234_567), "123.46%");
    }

    #[test]
    fn every_kind_of_value_has_a_short_form() {
        let cases: [(Value, &str); 18] = [
            (Value::Int(7, Unit::Count), "7"),
            (Value::Int(4242, Unit::Id), "4242"),
            (Value::Int(60_000_000_000, Unit::Instant), "+1m00s"),
            (Value::Int(0x7f00, Unit::Address), "0x7f00"),
            (Value::Int(-1, Unit::Address), "0xffffffffffffffff"),
            (Value::Int((8 << 20) | 1, Unit::Device), "8:1"),
            (Value::Int(0o100_002, Unit::Bits), "0100002"),
            (Value::PerSecond(12_500_000, Unit::Count), "12.5/s"),
            (Value::PerSecond(1_500_000_000_000, Unit::Bytes), "1.4MiB/s"),
            (Value::PerSecond(1_500_000, Unit::Bytes), "1.5B/s"),
            (Value::PerSecond(5_000_000_000_000, Unit::Duration), "5.0ms/s"),
            (Value::PerSecond(10_000_000_000, Unit::Ratio), "1.0%/s"),
            (Value::Bool(true), "yes"),
            (Value::Enum(1, EnumKind::State), "sleeping"),
            (Value::Enum(77, EnumKind::State), "77"),
            (Value::Thread(0), "-"),
            (Value::Thread(9), "9"),
            (Value::Object { device: (8 << 20) | 1, inode: 5 }, "8:1/5"),
        ];
        for (given, text) in cases {
            assert_eq!(value(Some(&given)), text, "{given:?}");
        }
        assert_eq!(value(None), "-");
    }
}
