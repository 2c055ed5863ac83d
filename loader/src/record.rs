//! Records as the hosts hand them over, decoded by the object's metadata.
//!
//! A record is a `missing` bitmap and the fields that the filter emits, little endian.
//!
//! **Invariant**: the bytes of a batch are a whole number of records, and a layout was
//! checked against the record's size before anything is decoded with it.

use kernel_vm::abi::{RECORD_BYTES_MAX, RECORD_FIELDS_MAX, RECORD_HEADER_BYTES};
use kernel_vm::object::{FieldMeta, RecordMeta, TopMeta};
use kernel_vm::schema::{EnumKind, Type, Unit};
use std::cmp::Ordering;

/// The records of one sweep, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordBatch {
    size: usize,
    bytes: Vec<u8>,
}

impl RecordBatch {
    /// A batch of no records of `size` bytes each.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self { size, bytes: Vec::new() }
    }

    /// Appends one record; false when it has not the batch's record size.
    pub fn push(&mut self, record: &[u8]) -> bool {
        let fits = record.len() == self.size && self.size > 0;
        if fits {
            self.bytes.extend_from_slice(record);
        }
        fits
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().checked_div(self.size).unwrap_or(0)
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The records, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.size.max(1))
    }

    /// Keeps the `top.n` records with the largest value of the field, largest first.
    /// Records that do not know it come last; equals keep their order.
    pub fn apply_top(&mut self, meta: &RecordMeta, top: TopMeta) {
        let Some(field) = meta.fields.get(top.field as usize) else { return };
        let index = top.field as usize;
        let mut keyed: Vec<(Option<Value>, &[u8])> =
            self.iter().map(|record| (decode(record, index, field), record)).collect();
        keyed.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) => b.order(a),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
        let n = top.n as usize;
        self.bytes = keyed.iter().take(n).flat_map(|(_, record)| record.iter().copied()).collect();
    }
}

/// One decoded value, in its type's base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number with its unit.
    Int(i64, Unit),
    /// Millionths of the unit a second.
    PerSecond(i64, Unit),
    /// A truth value.
    Bool(bool),
    /// Bytes up to the first zero; not always UTF-8.
    Text(Vec<u8>),
    /// The index of a named value.
    Enum(i64, EnumKind),
    /// The tid of a thread, 0 for none.
    Thread(i64),
    /// A mapped or opened object.
    Object {
        /// The device as the kernel keeps it.
        device: u64,
        /// The inode.
        inode: u64,
    },
}

impl Value {
    /// The name of an enumeration's value, when it has one.
    #[must_use]
    pub fn enum_name(&self) -> Option<&'static str> {
        match self {
            Self::Enum(index, kind) => {
                usize::try_from(*index).ok().and_then(|index| kind.values().get(index).copied())
            }
            Self::Int(..)
            | Self::PerSecond(..)
            | Self::Bool(_)
            | Self::Text(_)
            | Self::Thread(_)
            | Self::Object { .. } => None,
        }
    }

    /// The integer, in the base of its type; `None` for texts and objects.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Int(value, _)
            | Self::PerSecond(value, _)
            | Self::Enum(value, _)
            | Self::Thread(value) => Some(*value),
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Text(_) | Self::Object { .. } => None,
        }
    }

    /// The order of two values of one field.
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Object { device: a, inode: i }, Self::Object { device: b, inode: j }) => {
                (a, i).cmp(&(b, j))
            }
            (a, b) => a.number().cmp(&b.number()),
        }
    }
}

/// The fields of `record` with their values, in the order of the metadata, hidden ones
/// included; `None` for a value that the filter did not know.
pub fn fields<'a>(
    meta: &'a RecordMeta,
    record: &'a [u8],
) -> impl Iterator<Item = (&'a FieldMeta, Option<Value>)> {
    meta.fields.iter().enumerate().map(move |(i, field)| (field, decode(record, i, field)))
}

/// One field's value; `None` when its `missing` bit is set or the record is too short.
#[must_use]
pub fn decode(record: &[u8], index: usize, field: &FieldMeta) -> Option<Value> {
    let missing = word(record, 0)?;
    if index < RECORD_FIELDS_MAX && missing & (1_u64 << index) != 0 {
        return None;
    }
    let start = field.offset as usize;
    let int = || word(record, start).map(u64::cast_signed);
    match field.ty.0 {
        Type::Int(unit) => int().map(|value| Value::Int(value, unit)),
        Type::PerSecond(unit) => int().map(|value| Value::PerSecond(value, unit)),
        Type::Bool => int().map(|value| Value::Bool(value != 0)),
        Type::Enum(kind) => int().map(|value| Value::Enum(value, kind)),
        Type::Thread => int().map(Value::Thread),
        Type::Object => Some(Value::Object {
            device: word(record, start)?,
            inode: word(record, start.checked_add(8)?)?,
        }),
        Type::Text { capacity } => {
            let bytes = record.get(start..start.checked_add(usize::from(capacity))?)?;
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            Some(Value::Text(bytes[..end].to_vec()))
        }
    }
}

/// Whether every field lies within the record and no limit is passed.
///
/// # Errors
/// The name of the first field (or of the limit) that does not fit.
pub fn check_layout(meta: &RecordMeta) -> Result<(), String> {
    let size = meta.size as usize;
    if !(RECORD_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&size) || !size.is_multiple_of(8) {
        return Err(format!("a record of {size} bytes"));
    }
    if meta.fields.len() > RECORD_FIELDS_MAX {
        return Err(format!("{} fields", meta.fields.len()));
    }
    for field in &meta.fields {
        let start = field.offset as usize;
        let end = start.saturating_add(field.ty.0.size());
        if start < RECORD_HEADER_BYTES || end > size {
            return Err(format!("field `{}` at {start}..{end} of {size}", field.name));
        }
    }
    Ok(())
}

fn word(record: &[u8], offset: usize) -> Option<u64> {
    let bytes = record.get(offset..offset.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_vm::object::TypeMeta;

    fn field(name: &str, ty: Type, offset: u32) -> FieldMeta {
        FieldMeta { name: name.into(), ty: TypeMeta(ty), offset, hidden: false }
    }

    fn meta() -> RecordMeta {
        RecordMeta {
            size: 32,
            fields: vec![
                field("cpu", Type::Int(Unit::Ratio), 8),
                field("comm", Type::Text { capacity: 16 }, 16),
            ],
        }
    }

    fn record(missing: u64, cpu: i64, comm: &[u8]) -> Vec<u8> {
        let mut bytes = missing.to_le_bytes().to_vec();
        bytes.extend(cpu.to_le_bytes());
        bytes.extend(comm);
        bytes.resize(32, 0);
        bytes
    }

    #[test]
    fn a_set_missing_bit_makes_a_field_absent() {
        let record = record(1, 7, b"init");
        let values: Vec<_> = fields(&meta(), &record).map(|(_, value)| value).collect();
        assert_eq!(values, [None, Some(Value::Text(b"init".to_vec()))]);
    }

    #[test]
    fn a_short_record_has_no_values() {
        let record = record(0, 7, b"init");
        let values: Vec<_> = fields(&meta(), &record[..20]).map(|(_, value)| value).collect();
        assert_eq!(values, [Some(Value::Int(7, Unit::Ratio)), None]);
    }

    #[test]
    fn top_sorts_downwards_and_puts_the_unknown_last() {
        let mut batch = RecordBatch::new(32);
        for (missing, cpu) in [(0, -3), (1, 0), (0, 9), (0, 4)] {
            assert!(batch.push(&record(missing, cpu, b"x")));
        }
        assert!(!batch.push(&[0; 8]));
        let meta = meta();
        let mut all = batch.clone();
        all.apply_top(&meta, TopMeta { n: 9, field: 0 });
        let cpus: Vec<_> = all.iter().map(|r| decode(r, 0, &meta.fields[0])).collect();
        let ratio = |value| Some(Value::Int(value, Unit::Ratio));
        assert_eq!(cpus, [ratio(9), ratio(4), ratio(-3), None]);
        batch.apply_top(&meta, TopMeta { n: 2, field: 0 });
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn a_field_outside_its_record_is_named() {
        let mut meta = meta();
        assert_eq!(check_layout(&meta), Ok(()));
        meta.fields[1].offset = 24;
        assert_eq!(check_layout(&meta), Err("field `comm` at 24..40 of 32".into()));
    }
}
