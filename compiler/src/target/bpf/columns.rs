//! Where each column is found in the kernel, once per column.
//!
//! Most columns are a short path of loads from the task: the table in `paths`. What takes a
//! loop (over threads, CPUs, descriptors) is computed for a whole *group* of columns at
//! once by a subprogram, which leaves the results in `.bss`; the first column of a group
//! that a row needs runs it. What is the same for every row is done once before the sweep.
//!
//! A sweep's skeleton calls [`Columns::sweep_start`] before it takes the RCU lock,
//! [`Columns::walk`] at each task of its iterator, and [`Columns::load`] wherever the row's
//! code needs a value; it puts [`Columns::subprograms`], [`Columns::maps`] and
//! [`Columns::scratch`] into the module.
//!
//! **Invariant**: `load` finds the row's task in `r6` and changes no register but `dst` and
//! `r0`, unless [`Columns::clobbers`] says that `r0` to `r5` are lost as well.

mod ahead;
mod cputime;
mod field;
mod files;
mod group;
mod mappings;
mod memory;
mod object;
mod passes;
mod paths;
mod rows;
mod sums;
mod task;
mod values;
mod waits;

use kernel_vm::schema::{Column, Table};

pub(super) use self::field::{Hop, load, path};
use self::group::Group;
pub use self::passes::{Moment, Pass};
use self::paths::Found;
use super::ahead::{Notes, Sights, State, subprogram};
use super::kernel_types;
use super::lists::Lists;
use crate::asm::{Asm, Cond, JumpTooFar, Label, R0, R1, R2, R6, Reg, Size};
use crate::code::{FieldPath, RelocKind};
use crate::lir::Function;
use crate::object::{DataType, Map, Scratch, Subprogram};

/// Where on the stack the sweep's skeleton keeps the task as its iterator gave it, for
/// helpers that ask for a pointer that the verifier trusts. What stands in `r6` meanwhile
/// is the same address without that trust: see [`untrusted`].
pub const TASK: i16 = -32;

/// `r0 =` the kernel struct of that name in `r1`, without the verifier's trust. Loses `r1` to `r5`.
///
/// For each load of a pointer through a trusted one the verifier looks for lists of trusted
/// members in all the kernel's types, one after another: milliseconds a load. It does not
/// for a pointer that it does not trust, and a load through one is as fast.
pub fn untrusted(asm: &mut Asm, name: &'static str) {
    asm.load_core(R2, RelocKind::TypeId(name));
    asm.call_kfunc("bpf_rdonly_cast");
}

/// Bytes of the stack that [`Columns::walk`] needs for the tables `file` and `mapping`.
pub const WALK_STACK_BYTES: i16 = 8;
/// Where on the stack they are.
pub const WALK: i16 = TASK - WALK_STACK_BYTES;
/// Where on the stack a [classic](Columns::classic) program keeps its context.
pub const CONTEXT: i16 = -24;

/// Goes to `passed` unless the thread in `r6` is its process. Loses `r1` and `r2`.
pub fn skip_threads(asm: &mut Asm, passed: Label) {
    for (register, member) in [(R1, "pid"), (R2, "tgid")] {
        let path = FieldPath { root: "task_struct", path: vec![member] };
        asm.load_field(Size::W, register, R6, path);
    }
    asm.jump_if(Cond::Ne, R1, R2, passed);
}

/// What the sweep of one filter reads of the kernel, and how.
#[derive(Clone, Debug)]
pub struct Columns {
    filter: String,
    table: Table,
    found: Vec<Found>,
    groups: Vec<Group>,
    place: Place,
    sights: Sights,
    only_waiting: bool,
    classic: bool,
}

/// Where a filter's data stand in `.bss`.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The filter's [`SweepStats`](kernel_vm::abi::SweepStats), which hold the sweep's time.
    pub stats: u32,
    /// Where [`Columns::scratch_bytes`] of the columns' own variables begin, a multiple
    /// of 8.
    pub scratch: u32,
}

impl Columns {
    /// Prepares to read the `used` columns in the sweep of the filter called `filter`.
    #[must_use]
    pub fn new(filter: &str, table: Table, used: &[&'static Column], place: Place) -> Self {
        let found: Vec<Found> =
            used.iter().filter_map(|column| paths::find(table, column)).collect();
        let needed = |group| found.iter().any(|found| found.group() == Some(group));
        let walks = matches!(table, Table::File | Table::Mapping);
        let groups = Group::ALL
            .into_iter()
            .filter(|&group| {
                let by_others = walks || needed(Group::Mappings);
                needed(group) || (group == Group::Row && by_others)
            })
            .collect();
        let sights = ahead::of_walk(table, needed(Group::Sums));
        Self {
            filter: filter.to_owned(),
            table,
            found,
            groups,
            place,
            sights,
            only_waiting: false,
            classic: false,
        }
    }

    /// For a filter that can match no thread but those that wait for a lock: its sweep is
    /// made by [`Columns::visit_waiting`].
    #[must_use]
    pub fn restricted_to_waiting(mut self) -> Self {
        self.only_waiting = self.groups.contains(&Group::Waits);
        self
    }

    /// The same columns for programs that the kernel calls row by row, where it has no
    /// iterators to call: everything is read through the pointers of the call, and no function
    /// of the kernel is called. What a row's columns take of other rows, the
    /// [passes](Self::passes) before find.
    #[must_use]
    pub fn classic(&self) -> Self {
        Self { classic: true, only_waiting: false, ..self.clone() }
    }

    /// What has to be read before the rows, in this order, for [classic](Self::classic) columns.
    #[must_use]
    pub fn passes(&self) -> Vec<Pass> {
        self.groups.iter().flat_map(|group| group.passes(self)).collect()
    }

    /// Whether this is [`Columns::classic`].
    #[must_use]
    pub const fn is_classic(&self) -> bool {
        self.classic
    }

    /// [`untrusted`]; before there was trust in pointers there was nothing to lose.
    fn untrusted(&self, asm: &mut Asm, name: &'static str) {
        if self.classic { asm.mov(R0, R1) } else { untrusted(asm, name) }
    }

    /// For rows of this code, which keep this state: the walk over tasks looks at both ahead.
    pub(super) fn looking_at(mut self, row: &Function, state: Option<State>) -> Self {
        ahead::add_columns(self.table, row, &mut self.sights);
        let hands_on = state.is_some() || !self.groups.is_empty();
        self.sights.follows_lists = self.table == Table::Thread && !hands_on;
        self.sights.state = state;
        self
    }

    /// Whether the sweep of a resident filter goes through the kernel's lists itself: nothing in
    /// its row asks for a task that the verifier trusts.
    pub(super) const fn follows_lists(&self) -> bool {
        self.sights.follows_lists && self.walks_tasks()
    }

    /// Whether the sweep visits only threads that wait for a lock.
    #[must_use]
    pub const fn visits_only_waiting(&self) -> bool {
        self.only_waiting
    }

    /// Whether the bpf host can read `column` in `table` at all.
    #[must_use]
    pub fn supports(table: Table, column: &Column) -> bool {
        paths::find(table, column).is_some()
    }

    /// Whether reading `column` in `table` loses `r0` to `r5`.
    #[must_use]
    pub fn clobbers(table: Table, column: &Column) -> bool {
        paths::find(table, column).is_none_or(|found| found.clobbers())
    }

    /// Bytes of `.bss` that the columns need.
    #[must_use]
    pub fn scratch_bytes(&self) -> u32 {
        self.layout().bytes()
    }

    /// The columns' variables in `.bss`.
    #[must_use]
    pub fn scratch(&self) -> Vec<Scratch> {
        let words = self.scratch_bytes() / 8;
        if words == 0 {
            return Vec::new();
        }
        let name = format!("{}_columns", self.filter);
        vec![Scratch { name, offset: self.place.scratch, ty: DataType::words(words) }]
    }

    /// The maps that the columns need.
    #[must_use]
    pub fn maps(&self) -> Vec<Map> {
        let lists = self.follows_lists().then(|| self.lists().map());
        lists
            .into_iter()
            .chain(self.groups.iter().flat_map(|group| group.maps(&self.filter)))
            .collect()
    }

    /// The functions that the columns need.
    ///
    /// # Errors
    /// When a jump is too long, which no function here comes near.
    pub fn subprograms(&self) -> Result<Vec<Subprogram>, JumpTooFar> {
        let mut all = Vec::new();
        if self.follows_lists() {
            all.extend(self.lists().subprograms(&self.sights)?);
        } else if self.walks_tasks() {
            all.push(subprogram(self.looks_ahead(), &Notes::in_bss(), &self.sights)?);
        }
        for group in &self.groups {
            all.extend(group.subprograms(self)?);
        }
        Ok(all)
    }

    /// Names of those functions that are global, and how many numbers they take.
    pub fn global(&self) -> impl Iterator<Item = (String, u8)> {
        let ahead = self.walks_tasks().then(|| (self.looks_ahead(), 1));
        let processes = self.follows_lists().then(|| (self.looks_at_processes(), 1));
        let of_groups = self.groups.iter().filter_map(|group| group.global(self));
        ahead.into_iter().chain(processes).chain(of_groups.map(|name| (name, 0)))
    }

    /// Whether its sweep goes over tasks itself.
    const fn walks_tasks(&self) -> bool {
        !self.only_waiting && !self.classic
    }

    /// Code for the start of a sweep, outside the RCU lock. Loses `r0` to `r9`.
    pub fn sweep_start(&self, asm: &mut Asm) {
        if self.remembers_process() {
            let layout = self.layout();
            asm.load_data(R0, ".bss", layout.process());
            asm.store_imm(crate::asm::Size::Dw, R0, 0, 0);
        }
        for group in &self.groups {
            group.sweep_start(self, asm);
        }
    }

    /// Code that runs `body` for each row that belongs to the task in `r6` and [`TASK`]: the task
    /// itself, or what is below it.
    ///
    /// `body` may use every register but `r6`, and ends by falling through or by going to
    /// the label that it is given. [`WALK_STACK_BYTES`] at [`WALK`] on the stack are left
    /// alone meanwhile; the tables `process` and `thread` need none.
    pub fn walk(&self, asm: &mut Asm, body: impl FnOnce(&mut Asm, Label)) {
        rows::walk(self, asm, body);
    }

    /// Code that runs `body` for each thread that waits for a lock, in place of an iterator
    /// over all tasks: the task is in `r6`, and all threads count as visited. `stack` is
    /// the offset of 24 bytes that are left alone meanwhile.
    pub fn visit_waiting(&self, asm: &mut Asm, stack: i16, body: impl FnOnce(&mut Asm)) {
        waits::visit(self, asm, stack, body);
    }

    /// The group of columns that `column` is read together with: all of them can be read in a
    /// row, or none.
    #[must_use]
    pub fn read_together(table: Table, column: &Column) -> Option<usize> {
        let group = paths::find(table, column)?.group_of_results()?;
        Group::ALL.iter().position(|&other| other == group)
    }

    /// Leaves `column`'s value in `dst`, or goes to `unreadable`; without that label another
    /// column that is [read together](Self::read_together) with it was read before.
    ///
    /// For a text, and for an object, `dst` is `r1` and holds the address of a buffer on
    /// the stack that is aligned to 8 bytes and as long as the type; all of it is filled.
    /// `dst` is neither `r0` nor `r6`. A column that is not supported is unreadable.
    pub fn load(&self, asm: &mut Asm, column: &Column, dst: Reg, unreadable: Option<Label>) {
        debug_assert!(dst != R0 && dst != R6, "r0 is scratch and r6 the task");
        match (paths::find(self.table, column), unreadable) {
            (Some(found), Some(unreadable)) => found.load(self, asm, dst, unreadable),
            (Some(found), None) => group::result_of(found, self, asm, dst),
            (None, Some(unreadable)) => asm.jump(unreadable),
            (None, None) => (),
        }
    }

    /// Rows of one process stand next to each other, so what describes the process is
    /// computed for the first of them only. In a sweep a task's files and mappings are in any
    /// case; a classic program is called anew for each.
    fn remembers_process(&self) -> bool {
        let many = match self.table {
            Table::Process => false,
            Table::Thread => true,
            Table::File | Table::Mapping => self.classic,
        };
        many && self.groups.iter().any(|group| !matches!(group, Group::Waits | Group::Row))
    }

    fn layout(&self) -> group::Layout<'_> {
        group::Layout::new(self)
    }

    /// What the walk through the kernel's lists needs.
    pub(super) fn lists(&self) -> Lists {
        Lists::new(self, &self.sights)
    }

    /// The name of the map in which that walk notes what it meets.
    pub(super) fn noted_map(&self) -> String {
        self.symbol("noted")
    }

    /// The name of the function that looks ahead of that walk.
    pub(super) fn looks_ahead(&self) -> String {
        self.symbol("ahead")
    }

    /// The name of that which looks at processes ahead.
    pub(super) fn looks_at_processes(&self) -> String {
        self.symbol("processes")
    }

    /// The name of one of the columns' own functions.
    fn function(&self, what: &str) -> String {
        let kind = if self.classic { "task_" } else { "" };
        format!("{kind}{}", self.symbol(what))
    }

    /// The name of one of the columns' own maps.
    fn symbol(&self, what: &str) -> String {
        format!("{what}_{}", self.filter)
    }
}
