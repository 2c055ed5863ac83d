//! The metadata that a compiled object carries beside its programs.
//!
//! The compiler writes it as JSON in the ELF section [`META_SECTION`]; the loader reads it.
//! Other loaders (libbpf, bpftool) skip the section. Text from an object is an allegation:
//! the loader checks every offset and size before it uses one.
//!
//! **Invariant**: offsets here agree with the object's BTF; `format` changes when they are
//! to be read in another way.

use serde::{Deserialize, Serialize};
use std::string::String;
use std::vec::Vec;

/// ELF section that holds [`ObjectMeta`] as JSON.
pub const META_SECTION: &str = ".kfilter.meta";
/// ELF section that holds the `vm` programs, one after another.
pub const VM_SECTION: &str = ".kfilter.vm";
/// The version of this metadata that the compiler writes and the loader understands.
pub const FORMAT: u32 = 1;

/// Everything a loader must know of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// [`FORMAT`].
    pub format: u32,
    /// [`crate::schema::SCHEMA_VERSION`] at compile time.
    pub schema: u32,
    /// Version of the compiler that wrote it.
    pub compiler: String,
    /// Name of the source file, as line information gives it.
    pub source: String,
    /// The filters, in the order of the source.
    pub filters: Vec<FilterMeta>,
}

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterMeta {
    /// Its name.
    pub name: String,
    /// Its documentation comment; may be empty.
    pub doc: String,
    /// The name of its table.
    pub table: String,
    /// Its block of `.rodata`: the system values, then the parameters.
    pub rodata: Block,
    /// Its block of `.bss`: [`crate::abi::SweepStats`].
    pub stats: Block,
    /// Its parameters.
    pub params: Vec<ParamMeta>,
    /// The layout of its records.
    pub record: RecordMeta,
    /// `severity warning` or `severity critical`: how bad a match is for a probe.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// `limit`: what is done to those who match; needs `pid` and `start_time` among the
    /// record's fields.
    #[serde(default)]
    pub limit: Option<LimitMeta>,
    /// `top N by`: the consumer keeps the `n` records with the largest value.
    pub top: Option<TopMeta>,
    /// `group by`: how rows become groups; absent when each row is a record of its own.
    #[serde(default)]
    pub group: Option<GroupMeta>,
    /// Bytes of state kept for each row; 0 for none.
    pub state_size: u32,
    /// A history function compares with an earlier sweep, so that one sweep says nothing.
    pub needs_two_sweeps: bool,
    /// `where … for D`: how long the condition must have held; absent when there is no
    /// `for`, or when `D` is computed.
    #[serde(default)]
    pub hold: Option<HoldMeta>,
    /// The `bpf` target: symbols of its programs and names of its maps.
    pub bpf: BpfMeta,
    /// The `vm` target.
    pub vm: VmMeta,
}

/// How bad it is that a filter matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// Somebody should act.
    Critical,
}

/// What is done to those who match, and when: a filter's `limit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitMeta {
    /// The rungs, in the order of time.
    pub rungs: Vec<RungMeta>,
    /// Name of the companion filter, in the same object, that matches those who behave
    /// again; without one, whoever no longer matches does.
    #[serde(default)]
    pub leave: Option<String>,
}

/// One rung of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungMeta {
    /// How long after the first match it is due, in nanoseconds.
    pub after_ns: i64,
    /// What it does.
    pub action: LimitAction,
}

/// What a rung does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAction {
    /// Writes the event, nothing more.
    Notify,
    /// Sets the nice value of all threads, -20 to 19.
    Nice(i32),
    /// Limits the CPU: millionths of one CPU.
    CpuRatio(i64),
    /// Reclaims above this many bytes.
    MemoryBytes(i64),
    /// Lowers the soft limit of open files.
    Files(i64),
    /// Stops it until it is released.
    Freeze,
    /// Asks it to end.
    Term,
    /// Ends it.
    Kill,
}

/// The duration of a `for`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldMeta {
    /// Nanoseconds.
    Fixed(i64),
    /// The value of the parameter with this name.
    Param(String),
}

/// A part of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Bytes from the section's start.
    pub offset: u32,
    /// Length in bytes.
    pub size: u32,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamMeta {
    /// Its name.
    pub name: String,
    /// Its documentation comment; may be empty.
    pub doc: String,
    /// Its type, as [`TypeMeta`] writes it.
    #[serde(rename = "type")]
    pub ty: TypeMeta,
    /// Bytes from the start of the filter's `.rodata` block.
    pub offset: u32,
    /// Bytes that it takes there: 8, or for a text its capacity twice: the bytes, then a
    /// mask that is 0xff for each byte of the text.
    pub size: u32,
    /// The value as the source has it, for display (`80%`).
    pub default: String,
}

/// The layout of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMeta {
    /// Bytes of a record, [`crate::abi::RECORD_HEADER_BYTES`] included.
    pub size: u32,
    /// The fields; field *i* is absent when bit *i* of the record's `missing` bitmap is set.
    pub fields: Vec<FieldMeta>,
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMeta {
    /// Its name: the column's, the `let`'s or the one after `as`.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: TypeMeta,
    /// Bytes from the record's start.
    pub offset: u32,
    /// Not shown: a key that only `top` sorts by.
    #[serde(default)]
    pub hidden: bool,
}

/// `top N by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopMeta {
    /// Most records of a sweep.
    pub n: u32,
    /// Index of the field that is sorted by, largest first.
    pub field: u32,
}

/// `group by`: how rows become groups, and groups become records.
///
/// For a row that takes part, the `vm` program emits a *group of one*, [`GroupMeta::size`]
/// bytes: the time of the sweep, a `missing` bitmap of the cells, the key, the cells. The
/// host merges groups of equal keys cell by cell; after the last row it runs the `finish`
/// program on each group, which is to that program what a row is to others, and which
/// emits the record if `having` holds. (On the `bpf` host the object's own code does so.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMeta {
    /// Bytes of a group.
    pub size: u32,
    /// Bytes of the key, which stands at [`crate::abi::ROW_HEADER_BYTES`].
    pub key_size: u32,
    /// The cells, by their bit in `missing`.
    pub cells: Vec<CellMeta>,
    /// Most groups of a sweep, and most values of each `count distinct`; what finds no room
    /// is counted as dropped.
    pub max: u32,
    /// The `finish` program's bytes in [`VM_SECTION`]. It has no state; its row is a group.
    pub finish: Block,
}

/// One cell of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellMeta {
    /// Bytes from the group's start.
    pub offset: u32,
    /// Bytes that it takes.
    pub size: u32,
    /// How two groups' cells become one.
    pub merge: Merge,
}

/// How two groups' cells become one. If one of the two is missing, so is the result, but
/// for [`Merge::First`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The sum, saturating at the ends of `i64`.
    Sum,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// How many distinct values there are; the cell of a group of one holds its value.
    Distinct,
    /// The first that is not missing: it is the same in all.
    First,
}

/// Most groups of one sweep, and most distinct values of one `count distinct`.
pub const GROUPS_MAX: u32 = 16_384;

/// Symbols and maps of the `bpf` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfMeta {
    /// The `syscall` program that makes one sweep.
    pub sweep: String,
    /// The ring buffer that records go to.
    pub records: String,
    /// The task storage that holds state; absent when the filter keeps none.
    pub state: Option<String>,
    /// What lets the filter sweep by itself.
    #[serde(default)]
    pub resident: Option<ResidentMeta>,
    /// The same sweep for kernels without iterators to call: programs that the kernel calls row
    /// by row, to be read one after another. The last gives records to the same ring buffer.
    #[serde(default)]
    pub classic: Vec<PassMeta>,
    /// What lets consumers read it as a file.
    #[serde(default)]
    pub reader: Option<ReaderMeta>,
}

/// One reading of a sweep that takes several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassMeta {
    /// The program of the `iter/task`, `iter.s/task`, `iter/task_file` or `iter/task_vma`
    /// iterator.
    pub program: String,
    /// Where in `.bss` a `u64` says whether it is needed, once those before it have been read:
    /// it is left out when that is 0. Without it, it always is.
    #[serde(default)]
    pub needed: Option<u32>,
}

/// What lets consumers read a filter as a file, without any privilege.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderMeta {
    /// The `iter.s/task` program, to be linked to a single thread: each read is a sweep.
    pub program: String,
    /// A `u64` in `.rodata`: 0 to read records, which the first
    /// [`crate::abi::SWEEP_END_BYTES`] of the sweep's [`crate::abi::SweepStats`] end, or
    /// nothing at all while another sweep runs; 1 to read lines for people.
    pub as_lines: Block,
    /// The same for kernels without iterators to call, a program that is linked to all rows;
    /// absent when the sweep takes several readings there.
    #[serde(default)]
    pub classic: Option<String>,
}

/// What lets a filter sweep by itself, in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidentMeta {
    /// The `syscall` program that starts it. Its context is two `u64`: the time from one
    /// tick to the next, and the time to the first one, in nanoseconds. It returns 0 or a
    /// negative errno.
    pub start: String,
    /// The `syscall` program that stops it.
    pub stop: String,
    /// The array that holds its timer and its work. The kernel cancels both when nobody
    /// has this map open and no file system holds it.
    pub timer: String,
    /// Its block of `.bss`: [`crate::abi::ResidentStats`].
    pub stats: Block,
    /// What lets it act on whom its `limit` is about; absent when that has no `term` and no
    /// `kill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting: Option<ActingMeta>,
}

/// What lets a filter that sweeps by itself send the signals of its `limit`, in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActingMeta {
    /// The program in the place of [`ResidentMeta::start`].
    pub start: String,
    /// The array of [`crate::abi::ActSlot`].
    pub acts: String,
    /// The array that holds [`crate::abi::KernelRails`], to be filled and frozen before the
    /// start.
    pub rails: String,
}

/// The `vm` target's program and rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmMeta {
    /// The program's bytes in [`VM_SECTION`].
    pub program: Block,
    /// Bytes of a row, header included.
    pub row_size: u32,
    /// The columns that the program reads.
    pub columns: Vec<RowColumn>,
}

/// One column of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowColumn {
    /// The column's stable number.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Bytes from the row's start.
    pub offset: u32,
}

/// A [`Type`](crate::schema::Type) in words: `bytes`, `per_second:bytes`, `text:16`,
/// `enum:state`, `thread`, `object`, `bool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypeMeta(pub crate::schema::Type);

impl From<TypeMeta> for String {
    fn from(meta: TypeMeta) -> Self {
        std::format!("{}", meta.0)
    }
}

impl TryFrom<String> for TypeMeta {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
            .map(TypeMeta)
            .map_err(|crate::schema::UnknownType| std::format!("unknown type `{text}`"))
    }
}
