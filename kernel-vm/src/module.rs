//! What the loader and the Linux module say to each other through `/dev/kfilter`.
//!
//! A filter is loaded by one write(2): a [`Header`], a [`RowPlace`] for each column, the
//! parameters padded to 8 bytes, the `vm` program. A read(2) from the start makes a sweep;
//! what it and the following reads return are its records, up to a read of 0 bytes. The
//! filter goes with its file, unless [`IOC_KEEP`] gives it a name, by which other files reach
//! it. The rest are the ioctls below. `linux/kfilter_abi.h` is made from this file.
//!
//! **Invariant**: whatever changes a struct or a meaning here changes [`VERSION`].

use crate::abi::{ROW_COLUMNS_MAX, SWEEP_STATS_BYTES};
use crate::schema::{COLUMNS, Column, Since, Table};

/// First four bytes of what is written.
pub const MAGIC: u32 = u32::from_le_bytes(*b"KFLT");
/// Version of this interface.
pub const VERSION: u32 = 2;
/// Where the module's device is.
pub const DEVICE: &str = "/dev/kfilter";
/// Most slots of a program that the module takes.
pub const INSNS_MAX: u32 = 1 << 16;
/// Most insns of a run over one row that the module takes, as the verifier bounds them.
pub const RUN_INSNS_MAX: u64 = 1 << 20;
/// Largest row, state, block of parameters and record: bytes.
pub const REGION_BYTES_MAX: u32 = 1 << 14;

/// Most filters that are kept.
pub const KEPT_MAX: u32 = 64;
/// Bytes of a kept filter's name: letters, digits, `_` and `-`, then zeros.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest description of a kept filter.
pub const DESCRIPTION_BYTES_MAX: u32 = 1 << 18;

/// The start of what is written: sizes of all that follows. Little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// [`crate::schema::SCHEMA_VERSION`].
    pub schema: u32,
    /// One of [`table_number`].
    pub table: u32,
    /// How many columns a row has.
    pub columns: u32,
    /// Bytes of a row, of a row's state, of the parameters, and of what is emitted.
    pub row_size: u32,
    /// Bytes of a row's state.
    pub state_size: u32,
    /// Bytes of the parameters.
    pub params_size: u32,
    /// Bytes of a record.
    pub record_size: u32,
    /// Slots of the program.
    pub insns: u32,
}

/// Bytes of a [`Header`].
pub const HEADER_BYTES: usize = core::mem::size_of::<Header>();

/// Where a column stands in a row: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RowPlace {
    /// The column's number.
    pub column: u32,
    /// Bytes from the row's start.
    pub offset: u32,
}

/// What keeps a filter: 80 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Keep {
    /// Its name.
    pub name: [u8; NAME_BYTES_MAX],
    /// The address of what is to be told who asks what the filter is, and how long that is.
    pub description: u64,
    /// Bytes of the description.
    pub length: u32,
    /// [`KEEP_REPLACE`] or 0.
    pub flags: u32,
}

/// Of [`Keep::flags`]: take the place of a filter of that name. Of what the ioctl returns: one
/// was there.
pub const KEEP_REPLACE: u32 = 1;
/// Of what the ioctl returns: the history of the one that was there goes on.
pub const KEEP_HISTORY: u32 = 2;

/// Where something of any length is to be written: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Buffer {
    /// Its address.
    pub bytes: u64,
    /// Its length.
    pub length: u32,
    /// 0.
    pub reserved: u32,
}

/// Most threads of which can be said whom they wait for.
pub const WAITS_MAX: u32 = 1 << 17;

/// Whom a thread waits for, as user space has found out: 56 bytes, its columns among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Wait {
    /// The thread, in the first pid namespace.
    pub tid: u64,
    /// 1, or 0 when that could not be found out.
    pub is_known: u64,
    /// The column `waits_on`.
    pub waits_on: i64,
    /// The column `waits_for`.
    pub waits_for: i64,
    /// The column `wait_class`.
    pub wait_class: i64,
    /// The column `cycle.id`.
    pub cycle_id: i64,
    /// The column `cycle.length`.
    pub cycle_length: i64,
}

/// Why the module does not take what was written; below these numbers stand those of
/// `struct kfilter_vm_why`, for a program that is refused.
pub const REFUSALS: &[(u32, &str, &str)] = &[
    (1001, "HEADER", "the lengths in the header are not those of what was written"),
    (1002, "VERSION", "the interface or the schema is of another version"),
    (1003, "TABLE", "the module has no such table"),
    (1004, "COLUMN", "the module has no such column"),
    (1005, "ROW", "a column is not within its row"),
    (1006, "SIZE", "a row, a state, a record, the parameters or the program is too large"),
    (1007, "RUN", "a run over one row may take too many insns"),
];

const fn read(number: u32, size: usize) -> u32 {
    2 << 30 | (size as u32) << 16 | (b'K' as u32) << 8 | number
}

const fn write(number: u32, size: usize) -> u32 {
    1 << 30 | (size as u32) << 16 | (b'K' as u32) << 8 | number
}

/// ioctl: the versions, three `u32`: [`VERSION`], the schema's, and 0.
pub const IOC_INFO: u32 = read(1, 12);
/// ioctl: why the last write was refused, two `u32`: insn or column, and reason.
pub const IOC_WHY: u32 = read(2, 8);
/// ioctl: [`crate::abi::SweepStats`] of the last sweep.
pub const IOC_STATS: u32 = read(3, SWEEP_STATS_BYTES);
/// ioctl: other parameters, of the same length as those that were written.
pub const IOC_PARAMS: u32 = write(4, 0);
/// ioctl: the file's filter stays loaded, as a [`Keep`] says; returns what was done.
pub const IOC_KEEP: u32 = write(5, core::mem::size_of::<Keep>());
/// ioctl: the file becomes one of the kept filter of this name.
pub const IOC_ATTACH: u32 = write(6, NAME_BYTES_MAX);
/// ioctl: the description of the file's filter into a [`Buffer`]; returns its length.
pub const IOC_DESCRIBE: u32 = write(7, core::mem::size_of::<Buffer>());
/// ioctl: the names of the kept filters into a [`Buffer`]; returns how many bytes they are.
pub const IOC_LIST: u32 = write(8, core::mem::size_of::<Buffer>());
/// ioctl: the filter of this name is kept no longer; who has it open goes on with it.
pub const IOC_REMOVE: u32 = write(9, NAME_BYTES_MAX);

/// ioctl: for the file's next sweep the threads of the [`Wait`]s in a [`Buffer`], in the order
/// of their numbers, wait as they say, and no others.
pub const IOC_WAITS: u32 = write(10, core::mem::size_of::<Buffer>());

/// A name as the ioctls take it; `None` when it is too long or none.
#[must_use]
pub fn name_bytes(name: &str) -> Option<[u8; NAME_BYTES_MAX]> {
    let mut bytes = [0; NAME_BYTES_MAX];
    if name.is_empty() {
        return None;
    }
    bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

/// The number of a table in a [`Header`]; `None` when the module does not have it.
#[must_use]
pub const fn table_number(table: Table) -> Option<u32> {
    match table {
        Table::Process => Some(1),
        Table::Thread => Some(2),
        Table::File => Some(3),
        Table::Mapping => Some(4),
    }
}

/// Whether the module has `column` in `table`.
#[must_use]
pub fn has(table: Table, column: &Column) -> bool {
    table_number(table).is_some() && column.tables.contains(table) && column.module != Since::Never
}

/// The columns that the module has, in the schema's order.
pub fn columns() -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(|column| Table::ALL.into_iter().any(|table| has(table, column)))
}

const _: () = assert!(ROW_COLUMNS_MAX <= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{ROW_HEADER_BYTES, SweepStats};
    use crate::schema::{EnumKind, SCHEMA_VERSION};
    use std::string::String;
    use std::vec::Vec;
    use std::{format, fs};

    /// The C side of this file.
    fn header() -> String {
        let mut text = String::from(
            "/* SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0 */\n\
             /* Made from kernel-vm/src/module.rs and schema.rs; a test of theirs compares. */\n\
             #ifndef KFILTER_ABI_H\n#define KFILTER_ABI_H\n\n#include <linux/types.h>\n\n",
        );
        let mut define = |name: &str, value: String| {
            text.push_str(&format!("#define KFILTER_{name} {value}\n"));
        };
        define("MAGIC", format!("0x{MAGIC:08x}"));
        define("VERSION", format!("{VERSION}"));
        define("SCHEMA_VERSION", format!("{SCHEMA_VERSION}"));
        define("INSNS_MAX", format!("{INSNS_MAX}"));
        define("RUN_INSNS_MAX", format!("{RUN_INSNS_MAX}"));
        define("REGION_BYTES_MAX", format!("{REGION_BYTES_MAX}"));
        define("COLUMNS_MAX", format!("{ROW_COLUMNS_MAX}"));
        define("ROW_HEADER_BYTES", format!("{ROW_HEADER_BYTES}"));
        define("KEPT_MAX", format!("{KEPT_MAX}"));
        define("NAME_BYTES_MAX", format!("{NAME_BYTES_MAX}"));
        define("DESCRIPTION_BYTES_MAX", format!("{DESCRIPTION_BYTES_MAX}"));
        define("WAITS_MAX", format!("{WAITS_MAX}"));
        define("KEEP_REPLACE", format!("{KEEP_REPLACE}"));
        define("KEEP_HISTORY", format!("{KEEP_HISTORY}"));
        for (name, code) in [
            ("INFO", IOC_INFO),
            ("WHY", IOC_WHY),
            ("STATS", IOC_STATS),
            ("PARAMS", IOC_PARAMS),
            ("KEEP", IOC_KEEP),
            ("ATTACH", IOC_ATTACH),
            ("DESCRIBE", IOC_DESCRIBE),
            ("LIST", IOC_LIST),
            ("REMOVE", IOC_REMOVE),
            ("WAITS", IOC_WAITS),
        ] {
            define(&format!("IOC_{name}"), format!("0x{code:08x}"));
        }
        for (number, name, _) in REFUSALS {
            define(&format!("REFUSED_{name}"), format!("{number}"));
        }
        for table in Table::ALL {
            if let Some(number) = table_number(table) {
                define(&format!("TABLE_{}", table.name().to_uppercase()), format!("{number}"));
            }
        }
        for kind in [EnumKind::FileKind, EnumKind::ObjectKind] {
            for (index, value) in kind.values().iter().enumerate() {
                let name = format!("{}_{value}", kind.name()).to_uppercase();
                define(&name, format!("{index}"));
            }
        }
        text.push_str(
            "\nstruct kfilter_header {\n\t__u32 magic;\n\t__u32 version;\n\t__u32 schema;\n\
             \t__u32 table;\n\t__u32 columns;\n\t__u32 row_size;\n\t__u32 state_size;\n\
             \t__u32 params_size;\n\t__u32 record_size;\n\t__u32 insns;\n};\n\n\
             struct kfilter_place {\n\t__u32 column;\n\t__u32 offset;\n};\n\n\
             struct kfilter_keep {\n\t__u8 name[KFILTER_NAME_BYTES_MAX];\n\t__u64 description;\n\
             \t__u32 length;\n\t__u32 flags;\n};\n\n\
             struct kfilter_buffer {\n\t__u64 bytes;\n\t__u32 length;\n\t__u32 reserved;\n};\n\n\
             struct kfilter_wait {\n\t__u64 tid;\n\t__u64 is_known;\n\t__s64 waits_on;\n\
             \t__s64 waits_for;\n\t__s64 wait_class;\n\t__s64 cycle_id;\n\t__s64 cycle_length;\n};\n\n\
             struct kfilter_info {\n\t__u32 version;\n\t__u32 schema;\n\t__u32 reserved;\n};\n\n\
             struct kfilter_why {\n\t__u32 where;\n\t__u32 reason;\n};\n\n\
             struct kfilter_stats {\n\t__u64 sweeps;\n\t__u64 visited;\n\t__u64 matched;\n\
             \t__u64 unreadable;\n\t__u64 warming;\n\t__u64 dropped;\n\t__u64 started_ns;\n\
             \t__u64 took_ns;\n\t__u64 busy;\n};\n\n\
             /* X(name, number, bytes, set of tables) */\n#define KFILTER_COLUMNS(X)",
        );
        for column in columns() {
            let tables: u32 = Table::ALL
                .into_iter()
                .filter(|&table| has(table, column))
                .filter_map(table_number)
                .map(|number| 1 << number)
                .sum();
            // Tables below processes have columns of the same name.
            let of: Vec<Table> =
                Table::ALL.into_iter().filter(|&one| column.tables.contains(one)).collect();
            let of = match of[..] {
                [table @ (Table::File | Table::Mapping)] => format!("{}_", table.name()),
                _ => String::new(),
            };
            let name = format!("{of}{}", column.name).to_uppercase().replace('.', "_");
            let (id, size) = (column.id.0, column.ty.size());
            text.push_str(&format!(" \\\n\tX({name}, {id}, {size}, {tables})"));
        }
        text.push_str("\n\n#endif\n");
        text
    }

    #[test]
    fn the_c_side_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/linux/kfilter_abi.h");
        if std::env::var_os("KFILTER_UPDATE").is_some() {
            fs::write(path, header()).expect("the header can be written");
        }
        let found = fs::read_to_string(path).expect("the header is there");
        assert_eq!(found, header(), "KFILTER_UPDATE=1 cargo test -p kernel-vm writes it anew");
    }

    #[test]
    fn names_are_filled_up_with_zeros() {
        let bytes = name_bytes("cpu_hog").expect("a name");
        assert_eq!((&bytes[..7], &bytes[7..]), (&b"cpu_hog"[..], &[0; 57][..]));
        assert!(name_bytes(&"x".repeat(NAME_BYTES_MAX)).is_some());
        assert_eq!((name_bytes(""), name_bytes(&"x".repeat(NAME_BYTES_MAX + 1))), (None, None));
    }

    #[test]
    fn structs_have_no_padding() {
        assert_eq!(HEADER_BYTES, 40);
        assert_eq!(core::mem::size_of::<RowPlace>(), 8);
        assert_eq!(core::mem::size_of::<SweepStats>(), 72);
        assert_eq!((core::mem::size_of::<Keep>(), core::mem::size_of::<Buffer>()), (80, 16));
        assert!(has(Table::Thread, crate::schema::column(Table::Thread, "tid").unwrap()));
        assert!(!has(Table::Process, crate::schema::column(Table::Thread, "tid").unwrap()));
        let of_file = crate::schema::column(Table::File, "pid").unwrap();
        assert!(has(Table::Process, of_file) && has(Table::File, of_file));
        let resident = crate::schema::column(Table::Mapping, "resident").unwrap();
        assert!(!has(Table::Mapping, resident));
        assert_eq!(core::mem::size_of::<Wait>(), 56);
    }
}
