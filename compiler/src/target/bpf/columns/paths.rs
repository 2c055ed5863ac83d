//! Which column is read how: a table for plain paths, names for the special ones.

use kernel_vm::schema::{Column, Table};

use super::cputime::Half;
use super::field::{self, Hop};
use super::group::Group;
use super::object::Filler;
use super::sums::Sum;
use super::task::Special;
use super::values::RowValue;
use super::{Columns, mappings, memory, object, waits};
use crate::asm::{AluOp, Asm, Cond, Label, R0, R6, Reg};

/// How a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Loads, one after another, from the task, then an adjustment.
    Path(&'static [Hop], Adjust),
    /// A member of the address space; 0 for a task that has none.
    AddressSpace(Hop, Adjust),
    /// A function of its own.
    Special(Special),
    /// Counters that the thread has itself.
    Thread(&'static [Sum]),
    /// A half of the thread's CPU time.
    ThreadTime(Half),
    /// Counters added up over a process's threads.
    Process(&'static [Sum]),
    /// A half of the process's CPU time.
    ProcessTime(Half),
    /// Resident pages: counters of the address space added up over CPUs.
    Resident(&'static [u32]),
    /// The largest resident size so far.
    PeakResident,
    /// Open descriptors.
    Files,
    /// A sum over the process's mappings.
    Mappings(u32),
    /// Whom the thread waits for.
    Waits(u32),
    /// A value of the row below the process.
    Row(RowValue),
    /// What a function fills a buffer with.
    Fill(Filler),
}

/// What is done with a value once it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adjust {
    /// Nothing.
    Plain,
    /// A number is subtracted.
    Minus(i32),
    /// Pages become bytes.
    Pages,
    /// 1 if the bit is set, else 0.
    Bit(i32),
    /// The last pointer of the path may be null, which makes the column unreadable.
    Nullable,
}

const SIGNAL: Hop = ("task_struct", &["signal"]);
const CRED: Hop = ("task_struct", &["real_cred"]);
const NUMBER: Hop = ("pid", &["numbers", "0", "nr"]);

/// Priorities below it are real-time (`MAX_RT_PRIO`).
const FIRST_NORMAL_PRIORITY: i32 = 100;
/// The priority of nice 0.
const DEFAULT_PRIORITY: i32 = 120;
/// `PF_EXITING`
const FLAG_EXITING: i32 = 0x4;
/// `PF_KTHREAD`
const FLAG_KERNEL_THREAD: i32 = 0x0020_0000;

/// Columns that are read alike in the tables `process` and `thread`.
const TASK: &[(&str, Found)] = &[
    ("pid", Found::Path(&[("task_struct", &["tgid"])], Adjust::Plain)),
    ("tid", Found::Path(&[("task_struct", &["pid"])], Adjust::Plain)),
    (
        "ppid",
        Found::Path(
            &[("task_struct", &["real_parent"]), ("task_struct", &["tgid"])],
            Adjust::Plain,
        ),
    ),
    ("vpid", Found::Special(Special::InnerPid)),
    ("vtid", Found::Special(Special::InnerTid)),
    (
        "session",
        Found::Path(&[SIGNAL, ("signal_struct", &["pids", "3"]), NUMBER], Adjust::Nullable),
    ),
    ("pgrp", Found::Path(&[SIGNAL, ("signal_struct", &["pids", "2"]), NUMBER], Adjust::Nullable)),
    ("uid", Found::Path(&[CRED, ("cred", &["uid", "val"])], Adjust::Plain)),
    ("gid", Found::Path(&[CRED, ("cred", &["gid", "val"])], Adjust::Plain)),
    ("euid", Found::Path(&[CRED, ("cred", &["euid", "val"])], Adjust::Plain)),
    ("comm", Found::Special(Special::Comm)),
    ("state", Found::Special(Special::State)),
    ("kernel_thread", Found::Path(&[("task_struct", &["flags"])], Adjust::Bit(FLAG_KERNEL_THREAD))),
    ("exiting", Found::Path(&[("task_struct", &["flags"])], Adjust::Bit(FLAG_EXITING))),
    ("priority", Found::Path(&[("task_struct", &["prio"])], Adjust::Minus(FIRST_NORMAL_PRIORITY))),
    ("nice", Found::Path(&[("task_struct", &["static_prio"])], Adjust::Minus(DEFAULT_PRIORITY))),
    ("rt_priority", Found::Path(&[("task_struct", &["rt_priority"])], Adjust::Plain)),
    ("policy", Found::Path(&[("task_struct", &["policy"])], Adjust::Plain)),
    ("processor", Found::Special(Special::Processor)),
    ("start_time", Found::Path(&[("task_struct", &["start_boottime"])], Adjust::Plain)),
    ("age", Found::Special(Special::Age)),
    ("threads", Found::Path(&[SIGNAL, ("signal_struct", &["nr_threads"])], Adjust::Plain)),
    ("children_time", Found::Special(Special::ChildrenTime)),
    ("virtual_size", Found::AddressSpace(("mm_struct", &["total_vm"]), Adjust::Pages)),
    (
        "page_tables",
        Found::AddressSpace(("mm_struct", &["pgtables_bytes", "counter"]), Adjust::Plain),
    ),
    ("locked", Found::AddressSpace(("mm_struct", &["locked_vm"]), Adjust::Pages)),
    ("stack", Found::AddressSpace(("mm_struct", &["stack_vm"]), Adjust::Pages)),
    ("data", Found::AddressSpace(("mm_struct", &["data_vm"]), Adjust::Pages)),
    ("mappings", Found::AddressSpace(("mm_struct", &["map_count"]), Adjust::Plain)),
    ("rss", Found::Resident(&[memory::FILE, memory::ANON, memory::SHARED])),
    ("rss_anon", Found::Resident(&[memory::ANON])),
    ("rss_file", Found::Resident(&[memory::FILE])),
    ("rss_shared", Found::Resident(&[memory::SHARED])),
    ("swap", Found::Resident(&[memory::SWAP])),
    ("peak_rss", Found::PeakResident),
    ("oom_score_adj", Found::Path(&[SIGNAL, ("signal_struct", &["oom_score_adj"])], Adjust::Plain)),
    (
        "cgroup",
        Found::Path(
            &[
                ("task_struct", &["cgroups"]),
                ("css_set", &["dfl_cgrp"]),
                ("cgroup", &["kn"]),
                ("kernfs_node", &["id"]),
            ],
            Adjust::Plain,
        ),
    ),
    ("files", Found::Files),
    ("waits_on", Found::Waits(waits::WAITS_ON)),
    ("waits_for", Found::Waits(waits::WAITS_FOR)),
    ("wait_class", Found::Waits(waits::CLASS)),
    ("cycle.id", Found::Waits(waits::CYCLE_ID)),
    ("cycle.length", Found::Waits(waits::CYCLE_LENGTH)),
    ("shared_mapped", Found::Mappings(mappings::SHARED)),
    ("shm_objects", Found::Mappings(mappings::OBJECTS)),
    ("shm_tmpfs", Found::Mappings(mappings::TMPFS)),
    ("shm_sysv", Found::Mappings(mappings::SYSV)),
    ("shm_anon", Found::Mappings(mappings::ANON)),
    // RLIMIT_NOFILE
    ("file_limit", Found::Special(Special::FileLimit)),
];

/// Columns of `file`.
const FILE: &[(&str, Found)] = &[
    ("fd", Found::Row(RowValue::First)),
    ("kind", Found::Row(RowValue::Object(object::KIND))),
    ("device", Found::Row(RowValue::Object(object::DEVICE))),
    ("inode", Found::Row(RowValue::Object(object::INODE))),
    ("name", Found::Fill(Filler::Name)),
    ("flags", Found::Row(RowValue::OpenFlags)),
    ("position", Found::Row(RowValue::Object(object::POSITION))),
    ("size", Found::Row(RowValue::Object(object::SIZE))),
];

/// Columns of `mapping`.
const MAPPING: &[(&str, Found)] = &[
    ("address", Found::Row(RowValue::First)),
    ("size", Found::Row(RowValue::Length)),
    ("permissions", Found::Row(RowValue::Permissions)),
    ("shared", Found::Row(RowValue::Flag(mappings::MAY_SHARE))),
    ("writable", Found::Row(RowValue::Flag(mappings::WRITE))),
    ("executable", Found::Row(RowValue::Flag(mappings::EXECUTE))),
    ("object", Found::Fill(Filler::Identity)),
    ("object.device", Found::Row(RowValue::Object(object::DEVICE))),
    ("object.inode", Found::Row(RowValue::Object(object::INODE))),
    ("object.kind", Found::Row(RowValue::Object(object::KIND))),
    ("object.name", Found::Fill(Filler::Name)),
    ("object.resident", Found::Row(RowValue::Object(object::RESIDENT))),
];

/// Counters, by the name of their column.
const COUNTERS: &[(&str, &[Sum])] = &[
    ("cpu_time", &[Sum::Exec]),
    ("minor_faults", &[Sum::MinorFaults]),
    ("major_faults", &[Sum::MajorFaults]),
    ("page_faults", &[Sum::MinorFaults, Sum::MajorFaults]),
    ("voluntary_switches", &[Sum::Voluntary]),
    ("involuntary_switches", &[Sum::Involuntary]),
    ("context_switches", &[Sum::Voluntary, Sum::Involuntary]),
    ("read_bytes", &[Sum::ReadBytes]),
    ("write_bytes", &[Sum::WriteBytes]),
    ("read_chars", &[Sum::ReadChars]),
    ("write_chars", &[Sum::WriteChars]),
];

/// How `column` is read in `table`; `None` when it cannot be.
pub(super) fn find(table: Table, column: &Column) -> Option<Found> {
    if !column.tables.contains(table) {
        return None;
    }
    let row = match table {
        Table::File => FILE.iter().find(|entry| entry.0 == column.name),
        Table::Mapping => MAPPING.iter().find(|entry| entry.0 == column.name),
        Table::Process | Table::Thread => None,
    };
    if let Some(&(_, found)) = row {
        return Some(found);
    }
    let named = TASK.iter().find(|entry| entry.0 == column.name).map(|entry| entry.1);
    named.or_else(|| counter(table, column.name))
}

fn counter(table: Table, name: &str) -> Option<Found> {
    let of_thread = match table {
        Table::Thread => true,
        Table::Process => false,
        Table::File | Table::Mapping => return None,
    };
    let half = match name {
        "user_time" => Some(Half::User),
        "system_time" => Some(Half::System),
        _ => None,
    };
    if let Some(half) = half {
        return Some(if of_thread { Found::ThreadTime(half) } else { Found::ProcessTime(half) });
    }
    let sums = COUNTERS.iter().find(|entry| entry.0 == name)?.1;
    Some(if of_thread { Found::Thread(sums) } else { Found::Process(sums) })
}

impl Found {
    /// The group that computes the column.
    pub(super) fn group(self) -> Option<Group> {
        match self {
            Self::Path(..)
            | Self::AddressSpace(..)
            | Self::Special(_)
            | Self::Thread(_)
            | Self::ThreadTime(_) => None,
            Self::Process(_) | Self::ProcessTime(_) => Some(Group::Sums),
            Self::Resident(_) | Self::PeakResident => Some(Group::Memory),
            Self::Files => Some(Group::Files),
            Self::Mappings(_) => Some(Group::Mappings),
            Self::Waits(_) => Some(Group::Waits),
            Self::Row(_) | Self::Fill(_) => Some(Group::Row),
        }
    }

    /// The group in whose results it stands, if it is read whenever the group is.
    pub(super) fn group_of_results(self) -> Option<Group> {
        match self {
            Self::Fill(_) => None,
            Self::Row(value) if value.is_of_walk() => None,
            Self::Path(..)
            | Self::AddressSpace(..)
            | Self::Special(_)
            | Self::Thread(_)
            | Self::ThreadTime(_)
            | Self::Process(_)
            | Self::ProcessTime(_)
            | Self::Resident(_)
            | Self::PeakResident
            | Self::Files
            | Self::Mappings(_)
            | Self::Waits(_)
            | Self::Row(_) => self.group(),
        }
    }

    /// Whether more registers than `dst` and `r0` are lost.
    pub(super) fn clobbers(self) -> bool {
        match self {
            Self::Path(..) | Self::Thread(_) => false,
            Self::Special(special) => special.clobbers(),
            Self::AddressSpace(..)
            | Self::ThreadTime(_)
            | Self::Process(_)
            | Self::ProcessTime(_)
            | Self::Resident(_)
            | Self::PeakResident
            | Self::Files
            | Self::Mappings(_)
            | Self::Waits(_)
            | Self::Row(_)
            | Self::Fill(_) => true,
        }
    }

    /// Emits the code, as [`Columns::load`] says.
    pub(super) fn load(self, columns: &Columns, asm: &mut Asm, dst: Reg, unreadable: Label) {
        match self {
            Self::Path(hops, adjust) => path(asm, dst, hops, adjust, unreadable),
            Self::AddressSpace(hop, adjust) => memory::member(asm, dst, hop, adjust, unreadable),
            Self::Special(special) => special.load(columns, asm, dst, unreadable),
            Self::Thread(sums) => thread_counters(asm, dst, sums),
            Self::ThreadTime(half) => super::cputime::of_thread(asm, dst, half),
            Self::Process(_)
            | Self::ProcessTime(_)
            | Self::Resident(_)
            | Self::PeakResident
            | Self::Files
            | Self::Mappings(_)
            | Self::Waits(_) => super::group::load(self, columns, asm, dst, unreadable),
            Self::Row(value) if value.is_of_walk() => value.load(columns, asm, dst),
            Self::Row(_) => super::group::load(self, columns, asm, dst, unreadable),
            Self::Fill(filler) => filler.load(columns, asm, unreadable),
        }
    }
}

fn path(asm: &mut Asm, dst: Reg, hops: &[Hop], adjust: Adjust, unreadable: Label) {
    let mut base = R6;
    for (index, &hop) in hops.iter().enumerate() {
        if adjust == Adjust::Nullable && index + 1 == hops.len() {
            asm.jump_if_imm(Cond::Eq, base, 0, unreadable);
        }
        field::load(asm, dst, base, hop);
        base = dst;
    }
    adjust.apply(asm, dst);
}

fn thread_counters(asm: &mut Asm, dst: Reg, sums: &[Sum]) {
    for (index, sum) in sums.iter().enumerate() {
        let into = if index == 0 { dst } else { R0 };
        field::load(asm, into, R6, sum.of_task());
        if index > 0 {
            asm.alu(AluOp::Add, dst, R0);
        }
    }
}

impl Adjust {
    /// Emits the adjustment of `dst`.
    pub(super) fn apply(self, asm: &mut Asm, dst: Reg) {
        match self {
            Self::Plain | Self::Nullable => (),
            Self::Minus(number) => asm.alu_imm(AluOp::Sub, dst, number),
            Self::Pages => field::pages_to_bytes(asm, dst),
            Self::Bit(mask) => {
                asm.alu_imm(AluOp::And, dst, mask);
                asm.alu_imm(AluOp::Rsh, dst, mask.trailing_zeros().cast_signed());
            }
        }
    }
}
