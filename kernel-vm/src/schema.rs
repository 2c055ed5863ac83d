//! The tables that filters read: every column once, with its type, unit and hosts.
//!
//! The compiler's checker, the objects' BTF, the C headers, `kfilter fields` and
//! `docs/tables.md` are all derived from [`COLUMNS`]. Where a host finds a column is written
//! in that host, in one place.
//!
//! **Invariant**: a column's [`ColumnId`] is never reused and its type never changes.

mod columns;
mod types;

pub use columns::COLUMNS;
pub use types::{EnumKind, Type, Unit, UnknownType};

/// Changes when the meaning of an existing column changes.
pub const SCHEMA_VERSION: u32 = 1;

/// A table of the kernel: what a filter is `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// One row for each thread group.
    Process,
    /// One row for each thread.
    Thread,
    /// One row for each open file descriptor of each process.
    File,
    /// One row for each memory mapping (VMA) of each process.
    Mapping,
}

impl Table {
    /// Every table, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Process, Self::Thread, Self::File, Self::Mapping];

    /// The table's name in the language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread => "thread",
            Self::File => "file",
            Self::Mapping => "mapping",
        }
    }

    /// The table called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Process => 1,
            Self::Thread => 2,
            Self::File => 4,
            Self::Mapping => 8,
        }
    }
}

/// A set of [`Table`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables(u8);

impl Tables {
    /// Whether `table` is in the set.
    #[must_use]
    pub const fn contains(self, table: Table) -> bool {
        self.0 & table.bit() != 0
    }
}

/// The stable number of a column, used in compiled objects and by the kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u16);

/// What reading a column costs on the `bpf` host, cheapest first; the compiler reads cheap
/// columns first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// A load or two from the task.
    Field,
    /// A short chain of loads or one helper call.
    Chain,
    /// A loop over CPUs, threads, descriptors or mappings.
    Loop,
    /// Reads the memory of user processes.
    User,
}

/// From where on a host has a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The host has no such column.
    Never,
    /// From this kernel on; `(0, 0)` is every kernel that the host runs on.
    Kernel(u8, u8),
}

/// One column: a typed field that rows of one or more tables have.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The stable number.
    pub id: ColumnId,
    /// The tables whose rows have it.
    pub tables: Tables,
    /// Its name in the language; a dotted name belongs to a compound such as `object`.
    pub name: &'static str,
    /// Its type and unit.
    pub ty: Type,
    /// One line that says what it is, without a closing stop.
    pub doc: &'static str,
    /// The field of QNX's `debug_process_t` or `debug_thread_t` that it corresponds to.
    pub qnx: Option<&'static str>,
    /// Never changes while the row lives.
    pub immutable: bool,
    /// Only ever grows while the row lives: fit for `rate`.
    pub counter: bool,
    /// Describes the process, so that it is the same for all its threads, files and mappings.
    pub of_process: bool,
    /// Describes the mapped object, so that it is the same wherever the object is mapped.
    pub of_object: bool,
    /// A kernel or user address: needs privilege to be shown.
    pub address: bool,
    /// What it costs on the `bpf` host.
    pub cost: Cost,
    /// From where on the `bpf` host has it.
    pub bpf: Since,
    /// From where on the `vm` host over /proc has it.
    pub procfs: Since,
    /// From where on the `module` host has it.
    pub module: Since,
}

/// Looks up a column of `table` by its name.
#[must_use]
pub fn column(table: Table, name: &str) -> Option<&'static Column> {
    columns_of(table).find(|column| column.name == name)
}

/// Looks up a column by its number.
#[must_use]
pub fn column_by_id(id: ColumnId) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.id == id)
}

/// The columns of `table`, in the order of the documentation.
pub fn columns_of(table: Table) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| column.tables.contains(table))
}

/// A value that describes the whole system; fixed when a filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemValue {
    /// `system.memory`: the RAM that the kernel manages.
    Memory,
    /// `system.cpus`: the CPUs that are online.
    Cpus,
}

impl SystemValue {
    /// Every system value, in the order in which they stand in a filter's `.rodata` block.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Cpus];

    /// Its full name in the language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "system.memory",
            Self::Cpus => "system.cpus",
        }
    }

    /// Its type and unit.
    #[must_use]
    pub const fn ty(self) -> Type {
        match self {
            Self::Memory => Type::Int(Unit::Bytes),
            Self::Cpus => Type::Int(Unit::Count),
        }
    }

    /// Offset of its 8 bytes in a filter's `.rodata` block; parameters follow after
    /// [`SYSTEM_BLOCK_BYTES`]. A value of 0 means that the loader did not know it.
    #[must_use]
    pub const fn offset(self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Cpus => 8,
        }
    }
}

/// Bytes of the system values at the start of each filter's `.rodata` block.
pub const SYSTEM_BLOCK_BYTES: usize = 16;
