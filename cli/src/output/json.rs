//! JSON, written by hand: records are flat, and numbers must stay exact.
//!
//! Integers are in base units (bytes, nanoseconds); ratios and per-second rates, which are
//! kept in millionths, become exact decimal fractions. A value that is not known is null.

use super::escape::utf8;
use kernel_vm::abi::FIXED_ONE;
use kernel_vm::schema::Unit;
use kfilter_loader::record::Value;
use std::fmt::Write as _;

/// Appends `value` to `out`.
pub(crate) fn push_value(out: &mut String, value: Option<&Value>) {
    match value {
        None => out.push_str("null"),
        Some(Value::Text(bytes)) => push_string(out, &utf8(bytes)),
        Some(value @ Value::Enum(index, _)) => match value.enum_name() {
            Some(name) => push_string(out, name),
            None => push_display(out, index),
        },
        Some(Value::Object { device, inode }) => {
            out.push_str("{\"device\":");
            push_display(out, device);
            out.push_str(",\"inode\":");
            push_display(out, inode);
            out.push('}');
        }
        Some(scalar) => out.push_str(&scalar_text(scalar)),
    }
}

/// A number, truth value, name or text without quotes, in base units: what CSV shows too.
pub(crate) fn scalar_text(value: &Value) -> String {
    match value {
        Value::Int(millionths, Unit::Ratio) | Value::PerSecond(millionths, _) => fixed(*millionths),
        // An address above the middle of the address space is no negative number.
        Value::Int(address, Unit::Address) => address.cast_unsigned().to_string(),
        Value::Int(
            number,
            Unit::Count
            | Unit::Bytes
            | Unit::Duration
            | Unit::Instant
            | Unit::Id
            | Unit::Device
            | Unit::Bits,
        )
        | Value::Thread(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(bytes) => utf8(bytes),
        Value::Enum(index, _) => value.enum_name().map_or_else(|| index.to_string(), str::to_owned),
        Value::Object { device, inode } => format!("{device}:{inode}"),
    }
}

/// Millionths as the shortest exact decimal.
pub(crate) fn fixed(millionths: i64) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let one = FIXED_ONE.unsigned_abs();
    let (whole, fraction) = (millionths.unsigned_abs() / one, millionths.unsigned_abs() % one);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
}

/// Appends `text` in quotes, escaped.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                push_display(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_are_exact_decimals() {
        let cases = [
            (0, "0"),
            (1, "0.000001"),
            (971_234, "0.971234"),
            (1_000_000, "1"),
            (-1_500_000, "-1.5"),
            (i64::MAX, "9223372036854.775807"),
            (i64::MIN, "-9223372036854.775808"),
        ];
        for (millionths, text) in cases {
            assert_eq!(fixed(millionths), text);
        }
    }

    #[test]
    fn every_text_parses_back() {
        for bytes in
            [&b"plain"[..], b"q\"u\\o\x1b\n\0te", b"\xff\xfe", "\u{2028}ž\u{85}".as_bytes()]
        {
            let mut out = String::new();
            push_value(&mut out, Some(&Value::Text(bytes.to_vec())));
            let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(parsed, serde_json::Value::String(utf8(bytes)));
        }
    }

    #[test]
    fn addresses_are_unsigned() {
        assert_eq!(scalar_text(&Value::Int(-1, Unit::Address)), u64::MAX.to_string());
    }
}
