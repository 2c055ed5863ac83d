//! Small facts about values that several formats show.

use kernel_vm::object::{FieldMeta, RecordMeta};

/// The fields that are shown, in order.
pub(crate) fn shown_fields(layout: &RecordMeta) -> impl Iterator<Item = &FieldMeta> {
    layout.fields.iter().filter(|field| !field.hidden)
}

/// Major and minor number of a device as the kernel keeps it.
pub(crate) const fn device_numbers(device: u64) -> (u64, u64) {
    (device >> 20, device & 0xf_ffff)
}

#[cfg(test)]
pub(crate) mod tests {
    use kernel_vm::abi::RECORD_HEADER_BYTES;
    use kernel_vm::object::{FieldMeta, RecordMeta, TypeMeta};
    use kernel_vm::schema::{EnumKind, Type, Unit};

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
}
