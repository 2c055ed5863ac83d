//! One record's bytes as typed values.
//!
//! **Invariant**: no layout, however wrong, makes decoding panic; an object's metadata is an
//! allegation.

use kernel_vm::abi::RECORD_HEADER_BYTES;
use kernel_vm::object::{FieldMeta, RecordMeta};
use kernel_vm::schema::{EnumKind, Type, Unit};

/// A field's value, borrowed from the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An integer in its unit's base.
    Int(i64, Unit),
    /// Millionths of the unit a second.
    PerSecond(i64, Unit),
    /// True or false.
    Bool(bool),
    /// Bytes without their padding; not always UTF-8.
    Text(&'a [u8]),
    /// The index of a named value.
    Enum(i64, EnumKind),
    /// A thread's id, 0 for none.
    Thread(i64),
    /// A file or memory object.
    Object {
        /// Its device, `major << 20 | minor`.
        device: i64,
        /// Its inode there.
        inode: i64,
    },
}

/// A record that is shorter than its layout says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortRecord {
    /// Bytes that the layout asks for.
    pub(crate) expected_bytes: usize,
    /// Bytes that came.
    pub(crate) actual_bytes: usize,
}

/// The values of the fields that are shown, in order; `None` for one that is not known.
pub(crate) fn decode<'a>(
    layout: &RecordMeta,
    record: &'a [u8],
) -> Result<Vec<Option<Value<'a>>>, ShortRecord> {
    let missing = number(record, 0).ok_or_else(|| short(record, RECORD_HEADER_BYTES))?;
    let mut values = Vec::with_capacity(layout.fields.len());
    for (index, field) in layout.fields.iter().enumerate() {
        if field.hidden {
            continue;
        }
        let is_missing = index < 64 && missing >> index & 1 == 1;
        let value = if is_missing { None } else { Some(field_value(field, record)?) };
        values.push(value);
    }
    Ok(values)
}

/// The fields that are shown, in the order of [`decode`]'s values.
pub(crate) fn shown_fields(layout: &RecordMeta) -> impl Iterator<Item = &FieldMeta> {
    layout.fields.iter().filter(|field| !field.hidden)
}

fn field_value<'a>(field: &FieldMeta, record: &'a [u8]) -> Result<Value<'a>, ShortRecord> {
    let start = field.offset as usize;
    let size = field.ty.0.size();
    let end = start.saturating_add(size);
    let bytes = record.get(start..end).ok_or_else(|| short(record, end))?;
    let first = number(bytes, 0).unwrap_or_default();
    Ok(match field.ty.0 {
        Type::Int(unit) => Value::Int(first, unit),
        Type::PerSecond(unit) => Value::PerSecond(first, unit),
        Type::Bool => Value::Bool(first != 0),
        Type::Text { .. } => {
            let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            Value::Text(bytes.get(..length).unwrap_or_default())
        }
        Type::Enum(kind) => Value::Enum(first, kind),
        Type::Thread => Value::Thread(first),
        Type::Object => {
            Value::Object { device: first, inode: number(bytes, 8).unwrap_or_default() }
        }
    })
}

fn number(bytes: &[u8], offset: usize) -> Option<i64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

const fn short(record: &[u8], expected_bytes: usize) -> ShortRecord {
    ShortRecord { expected_bytes, actual_bytes: record.len() }
}

/// The name of an enumeration's value; `None` for a number that has none.
pub(crate) fn enum_name(index: i64, kind: EnumKind) -> Option<&'static str> {
    usize::try_from(index).ok().and_then(|index| kind.values().get(index).copied())
}

/// Major and minor number of a device as the kernel keeps it.
pub(crate) const fn device_numbers(device: i64) -> (i64, i64) {
    (device >> 20 & 0xfff, device & 0xf_ffff)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kernel_vm::object::TypeMeta;

    /// A layout with a field for each type, and a record of it.
    pub(crate) fn sample() -> (RecordMeta, Vec<u8>) {
        let types: [(&str, Type); 14] = [
            ("pid", Type::Int(Unit::Id)),
            ("comm", Type::Text { capacity: 16 }),
            ("cpu", Type::Int(Unit::Ratio)),
            ("rss", Type::Int(Unit::Bytes)),
            ("age", Type::Int(Unit::Duration)),
            ("start_time", Type::Int(Unit::Instant)),
            ("io", Type::PerSecond(Unit::Bytes)),
            ("kernel_thread", Type::Bool),
            ("state", Type::Enum(EnumKind::State)),
            ("owner", Type::Thread),
            ("object", Type::Object),
            ("mutex", Type::Int(Unit::Address)),
            ("flags", Type::Int(Unit::Bits)),
            ("device", Type::Int(Unit::Device)),
        ];
        let mut offset = RECORD_HEADER_BYTES as u32;
        let mut fields = Vec::new();
        for (name, ty) in types {
            fields.push(FieldMeta { name: name.into(), ty: TypeMeta(ty), offset, hidden: false });
            offset += ty.size() as u32;
        }
        let mut bytes = Vec::new();
        let mut put = |value: i64| bytes.extend_from_slice(&value.to_le_bytes());
        put(0);
        put(4242);
        put(i64::from_le_bytes(*b"we\"ird\x1b["));
        put(i64::from_le_bytes(*b"\xff,\n\0\0\0\0\0"));
        put(971_234);
        put(2 << 30);
        put(3_725_000_000_000);
        put(86_400_000_000_000);
        put(1_500_000_000_000);
        put(0);
        put(1);
        put(17);
        put((8 << 20) | 1);
        put(99);
        put(0x7f12_3456_7890);
        put(0o100_002);
        put((259 << 20) | 3);
        (RecordMeta { size: offset, fields }, bytes)
    }

    #[test]
    fn a_record_decodes_to_its_fields() {
        let (layout, bytes) = sample();
        let values = decode(&layout, &bytes).unwrap();
        assert_eq!(values.len(), 14);
        assert_eq!(values[0], Some(Value::Int(4242, Unit::Id)));
        assert_eq!(values[1], Some(Value::Text(b"we\"ird\x1b[\xff,\n")));
        assert_eq!(values[10], Some(Value::Object { device: (8 << 20) | 1, inode: 99 }));
    }

    #[test]
    fn a_missing_field_is_absent_and_a_hidden_one_is_not_shown() {
        let (mut layout, mut bytes) = sample();
        layout.fields[0].hidden = true;
        bytes[0] = 0b100;
        let values = decode(&layout, &bytes).unwrap();
        assert_eq!(values.len(), 13);
        assert_eq!(values[1], None, "bit 2 is the third field, hidden ones counted");
        assert!(values[0].is_some());
        assert_eq!(shown_fields(&layout).count(), 13);
    }

    #[test]
    fn a_truncated_record_is_an_error_at_every_length() {
        let (layout, bytes) = sample();
        for length in 0..bytes.len() {
            assert!(decode(&layout, &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_offset_beyond_everything_is_an_error() {
        let (mut layout, bytes) = sample();
        layout.fields[3].offset = u32::MAX;
        assert!(decode(&layout, &bytes).is_err());
    }

    #[test]
    fn an_unknown_enum_value_has_no_name() {
        assert_eq!(enum_name(1, EnumKind::State), Some("sleeping"));
        assert_eq!(enum_name(99, EnumKind::State), None);
        assert_eq!(enum_name(-1, EnumKind::State), None);
    }
}
