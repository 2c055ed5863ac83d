//! Groups: columns that one function computes together.
//!
//! A group has a block of words in `.bss`: its status, then its results. The status is 0 at
//! the start of a row; the first column of the group that is read runs the function, which
//! sets it to [`OK`] or [`UNREADABLE`].

use std::mem::offset_of;

use kernel_vm::abi::SweepStats;

use super::cputime::{self, Half};
use super::paths::Found;
use super::sums::Sum;
use super::{Columns, Pass, TASK, WALK, field, files, mappings, memory, rows, sums, waits};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, Reg, Size};
use crate::object::{Map, Subprogram};

/// Offset of the sweep's time in a filter's statistics.
pub(super) const STATS_STARTED: u32 = offset_of!(SweepStats, started_ns) as u32;

/// The results are there.
const OK: i32 = 1;
/// They could not be read.
const UNREADABLE: i32 = 2;

/// A group of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Counters over all threads of a process.
    Sums,
    /// Resident pages.
    Memory,
    /// Open descriptors.
    Files,
    /// Sums over the mappings of a process.
    Mappings,
    /// Whom the thread waits for.
    Waits,
    /// The file of a row below the process.
    Row,
}

impl Group {
    pub(super) const ALL: [Self; 6] =
        [Self::Sums, Self::Memory, Self::Files, Self::Mappings, Self::Waits, Self::Row];

    /// The name of its function, before that of the filter.
    const fn function(self) -> &'static str {
        match self {
            Self::Sums => "sums",
            Self::Memory => "memory",
            Self::Files => "files",
            Self::Mappings => "mappings",
            Self::Waits => "waits",
            Self::Row => "row",
        }
    }

    /// Whether its function is global: the kernel's verifier then looks at it once, however
    /// many columns call it, but lets it have numbers only. Functions that walk what belongs
    /// to the task need a trusted pointer to it.
    const fn is_global(self) -> bool {
        match self {
            Self::Memory | Self::Files => true,
            Self::Sums | Self::Mappings | Self::Waits | Self::Row => false,
        }
    }

    /// Words in `.bss`: the status, the results, and the task for a global function.
    const fn words(self) -> u32 {
        1 + self.result_words() + self.is_global() as u32
    }

    const fn result_words(self) -> u32 {
        match self {
            Self::Sums => sums::WORDS,
            Self::Memory => memory::WORDS,
            Self::Files => files::WORDS,
            Self::Mappings => mappings::WORDS,
            Self::Waits => waits::WORDS,
            Self::Row => rows::WORDS,
        }
    }

    pub(super) fn maps(self, filter: &str) -> Vec<Map> {
        match self {
            Self::Memory => vec![memory::map(filter)],
            Self::Mappings => mappings::maps(filter),
            Self::Waits => waits::maps(filter),
            Self::Sums | Self::Files | Self::Row => Vec::new(),
        }
    }

    pub(super) fn subprograms(self, columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
        match self {
            Self::Sums => sums::subprograms(columns),
            Self::Memory => memory::subprograms(columns),
            Self::Files => files::subprograms(columns),
            Self::Mappings => mappings::subprograms(columns),
            Self::Waits => waits::subprograms(columns),
            Self::Row => rows::subprograms(columns),
        }
    }

    /// What it has to find out before the rows are read, for classic columns.
    pub(super) fn passes(self, columns: &Columns) -> Vec<Pass> {
        match self {
            Self::Mappings => vec![mappings::PASS],
            Self::Waits => waits::passes(columns),
            Self::Sums | Self::Memory | Self::Files | Self::Row => Vec::new(),
        }
    }

    /// The name of its function if that is global.
    pub(super) fn global(self, columns: &Columns) -> Option<String> {
        let global = self.is_global() && !columns.is_classic();
        global.then(|| columns.function(self.function()))
    }

    pub(super) fn sweep_start(self, columns: &Columns, asm: &mut Asm) {
        match self {
            Self::Memory => memory::sweep_start(columns, asm),
            // The passes have done it.
            Self::Waits if columns.is_classic() => (),
            Self::Waits => waits::sweep_start(columns, asm),
            Self::Sums | Self::Files | Self::Mappings | Self::Row => (),
        }
    }
}

/// Where the groups' words are.
pub(super) struct Layout<'a> {
    columns: &'a Columns,
}

impl<'a> Layout<'a> {
    pub(super) const fn new(columns: &'a Columns) -> Self {
        Self { columns }
    }

    /// Offset in `.bss` of the pid whose groups are remembered.
    pub(super) const fn process(&self) -> u32 {
        self.columns.place.scratch
    }

    /// Offset in `.bss` of a group's status.
    pub(super) fn group(&self, group: Group) -> u32 {
        let before = self.columns.groups.iter().take_while(|&&other| other != group);
        self.process() + 8 + before.map(|group| group.words() * 8).sum::<u32>()
    }

    /// Bytes of all groups.
    pub(super) fn bytes(&self) -> u32 {
        if self.columns.groups.is_empty() {
            return 0;
        }
        8 + self.columns.groups.iter().map(|group| group.words() * 8).sum::<u32>()
    }
}

/// Offset of a result from the group's status.
pub(super) const fn result(index: u32) -> i16 {
    8 + index as i16 * 8
}

/// Code at the start of a row: the groups are not there. Loses `r0` and `r1`.
pub(super) fn forget(columns: &Columns, asm: &mut Asm) {
    let layout = columns.layout();
    let known = asm.label();
    let (own, of_process): (Vec<Group>, Vec<Group>) =
        columns.groups.iter().partition(|&&group| group == Group::Waits);
    let reset = |asm: &mut Asm, group: Group| {
        asm.load_data(R0, ".bss", layout.group(group));
        asm.store_imm(Size::Dw, R0, 0, 0);
    };
    if !columns.only_waiting {
        own.into_iter().for_each(|group| reset(asm, group));
    }
    if columns.remembers_process() {
        field::load(asm, R1, R6, ("task_struct", &["tgid"]));
        asm.load_data(R0, ".bss", layout.process());
        asm.load(Size::Dw, R0, R0, 0);
        asm.jump_if(Cond::Eq, R0, R1, known);
        asm.load_data(R0, ".bss", layout.process());
        asm.store(Size::Dw, R0, 0, R1);
    }
    of_process.into_iter().for_each(|group| reset(asm, group));
    asm.bind(known);
}

/// Code that leaves a column of a group in `dst`, or goes to `unreadable`.
pub(super) fn load(found: Found, columns: &Columns, asm: &mut Asm, dst: Reg, unreadable: Label) {
    let Some(group) = found.group() else { return };
    ensure(group, columns, asm, unreadable);
    result_of(found, columns, asm, dst);
}

/// The same once the group's results are known to be there.
pub(super) fn result_of(found: Found, columns: &Columns, asm: &mut Asm, dst: Reg) {
    match found {
        Found::Process(sums) => process_counters(columns, asm, dst, sums),
        Found::ProcessTime(half) => process_time(columns, asm, dst, half),
        Found::Resident(counters) => memory::resident(columns, asm, dst, counters),
        Found::PeakResident => memory::peak(columns, asm, dst),
        Found::Files => files::count(columns, asm, dst),
        Found::Mappings(word) => mappings::sum(columns, asm, dst, word),
        Found::Waits(word) => waits::column(columns, asm, dst, word),
        Found::Row(value) => value.load(columns, asm, dst),
        Found::Path(..)
        | Found::AddressSpace(..)
        | Found::Special(_)
        | Found::Thread(_)
        | Found::ThreadTime(_)
        | Found::Fill(_) => (),
    }
}

/// Runs the group's function unless it ran for this row. That of a row below the process
/// needs no task.
pub(super) fn ensure(group: Group, columns: &Columns, asm: &mut Asm, unreadable: Label) {
    if group == Group::Waits && columns.only_waiting {
        // The visit of those that wait has filled it.
        return;
    }
    let known = asm.label();
    asm.load_data(R0, ".bss", columns.layout().group(group));
    asm.load(Size::Dw, R0, R0, 0);
    asm.jump_if_imm(Cond::Eq, R0, OK, known);
    asm.jump_if_imm(Cond::Eq, R0, UNREADABLE, unreadable);
    match group {
        Group::Row if columns.is_classic() => asm.load(Size::Dw, R1, FP, WALK),
        Group::Row => (),
        // These walk what belongs to the task, for which they need a trusted pointer.
        Group::Sums | Group::Mappings => asm.load(Size::Dw, R1, FP, TASK),
        Group::Waits => asm.mov(R1, R6),
        Group::Memory | Group::Files if columns.is_classic() => asm.mov(R1, R6),
        Group::Memory | Group::Files => {
            asm.load_data(R1, ".bss", columns.layout().group(group));
            asm.store(Size::Dw, R1, result(group.result_words()), R6);
        }
    }
    asm.call_subprog(&columns.function(group.function()));
    asm.jump_if_imm(Cond::Ne, R0, 0, unreadable);
    asm.bind(known);
}

/// The start of a global group's function: `r6 =` the task, `r7 =` the group's block.
/// Loses `r0` to `r5`. Where functions are not global the task is in `r1`.
pub(super) fn begin(columns: &Columns, asm: &mut Asm, group: Group) {
    asm.load_data(R7, ".bss", columns.layout().group(group));
    if !columns.is_classic() {
        asm.load(Size::Dw, R1, R7, result(group.result_words()));
    }
    columns.untrusted(asm, "task_struct");
    asm.mov(R6, R0);
}

/// The end of a group's function, with its block's address in `base`: success here, and at
/// `failed` the row's columns are unreadable.
pub(super) fn finish(asm: &mut Asm, base: Reg, failed: Label) {
    succeed(asm, base);
    asm.bind(failed);
    asm.store_imm(Size::Dw, base, 0, UNREADABLE);
    asm.load_imm(R0, 1);
    asm.exit();
}

/// The same for a function that cannot fail.
pub(super) fn succeed(asm: &mut Asm, base: Reg) {
    asm.store_imm(Size::Dw, base, 0, OK);
    asm.load_imm(R0, 0);
    asm.exit();
}

fn process_counters(columns: &Columns, asm: &mut Asm, dst: Reg, sums: &[Sum]) {
    asm.load_data(R1, ".bss", columns.layout().group(Group::Sums));
    asm.load_imm(R0, 0);
    for sum in sums {
        asm.load(Size::Dw, R2, R1, result(sum.index()));
        asm.alu(AluOp::Add, R0, R2);
    }
    asm.mov(dst, R0);
}

fn process_time(columns: &Columns, asm: &mut Asm, dst: Reg, half: Half) {
    asm.load_data(R0, ".bss", columns.layout().group(Group::Sums));
    for (register, sum) in [(R1, Sum::User), (R2, Sum::System), (R3, Sum::Exec)] {
        asm.load(Size::Dw, register, R0, result(sum.index()));
    }
    cputime::split(asm, dst, half);
}
