//! The program that makes one sweep: everything around the row body.
//!
//! **Invariant**: whatever way a row ends, the loop goes on to the next; a sweep that begins
//! ends with its statistics written and `busy` cleared.

use std::mem::offset_of;

use kernel_vm::abi::{SweepStats, Verdict};
use kernel_vm::schema::Table;

use super::acting::Acting;
use super::ahead::List;
use super::columns::{CONTEXT, Columns, TASK, WALK, untrusted};
use super::groups::Groups;
use super::lines::{Lines, TAKEN};
use super::row::{BpfHooks, Row};
use super::{ahead, classic, lists, reader, resident};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, Reg, Size};
use crate::code::Code;
use crate::lir::{Function, Op, VReg};
use crate::plan::Plan;
use crate::target::bpf::helper::{self, stack_address};

/// `BPF_RB_NO_WAKEUP`: the consumer reads when the sweep has returned.
const RINGBUF_NO_WAKEUP: i64 = 1;
/// `BPF_TASK_ITER_ALL_PROCS` and `BPF_TASK_ITER_ALL_THREADS`
const ITERATE_PROCESSES: i64 = 0;
const ITERATE_THREADS: i64 = 1;
/// Where `struct bpf_iter_task` stands on the stack: three words.
const ITERATOR: i16 = -24;
/// What a second sweep at the same time returns.
const BUSY: i64 = 1;

/// Where a program that is read keeps the file's buffer.
pub(super) const OUTPUT: i16 = WALK - 8;
/// Bytes of the stack above the row body's frame.
pub(super) const RESERVED: i32 = OUTPUT as i32;
const _: () = assert!(TASK + 8 == ITERATOR, "the task stands below the iterator");
const _: () = assert!(CONTEXT == ITERATOR, "a classic program has no iterator");

pub(super) const VISITED: i16 = offset_of!(SweepStats, visited) as i16;
const MATCHED: i16 = offset_of!(SweepStats, matched) as i16;
pub(super) const UNREADABLE: i16 = offset_of!(SweepStats, unreadable) as i16;
pub(super) const WARMING: i16 = offset_of!(SweepStats, warming) as i16;
pub(super) const DROPPED: i16 = offset_of!(SweepStats, dropped) as i16;
const SWEEPS: i16 = offset_of!(SweepStats, sweeps) as i16;
const STARTED: i16 = offset_of!(SweepStats, started_ns) as i16;
pub(super) const TOOK: i16 = offset_of!(SweepStats, took_ns) as i16;
pub(super) const BUSY_FLAG: i16 = offset_of!(SweepStats, busy) as i16;

/// What the code refers to.
#[derive(Clone)]
pub(super) struct Names<'a> {
    pub(super) records: &'a str,
    pub(super) state: &'a str,
    /// Offset of the statistics in `.bss`.
    pub(super) stats: u32,
    /// Offset of the row body's own words in `.bss`.
    pub(super) scratch: u32,
    /// Offset of what a resident filter counts in `.bss`.
    pub(super) resident: u32,
    /// Offset of the parameters in `.rodata`.
    pub(super) params: u32,
    /// What turns rows into groups.
    pub(super) groups: Option<&'a Groups<'a>>,
    /// What makes lines of records.
    pub(super) lines: &'a Lines<'a>,
    /// Offset in `.rodata` of the switch between records and lines.
    pub(super) switch: u32,
    /// Where on the stack the buffer of the file that is read is kept.
    pub(super) output: i16,
    /// What is done to whom it finds, in a program that acts.
    pub(super) acting: Option<&'a Acting>,
    /// How the program is run.
    pub(super) way: Way,
}

/// How a program is run, and so where its records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a system call; records go to the ring buffer.
    Call,
    /// By reading a file; records are what is read.
    Read,
    /// By reading a file, which calls it for each row; records go to the ring buffer.
    Classic,
    /// The same, and records are what is read.
    ClassicRead,
    /// By the filter's own timer; records go to the ring buffer, and who waits for them is
    /// woken at the end.
    Tick,
}

/// The program's code, none if its row does not fit.
pub(super) fn program(
    row: &Row<'_>,
    columns: &Columns,
    names: &Names<'_>,
) -> Result<Code, JumpTooFar> {
    let Row { table, plan, body, allocation } = row;
    if !allocation.fits() {
        return Ok(Code::default());
    }
    let mut asm = Asm::new();
    if matches!(names.way, Way::Classic | Way::ClassicRead) {
        return classic::program(asm, row, columns, names);
    }
    let mut hooks = row.hooks(columns, names);
    let (busy, passed) = (asm.label(), asm.label());
    if names.way == Way::Read {
        reader::open(&mut asm, names, passed);
    }
    begin(&mut asm, names.stats, busy);
    let mut emptied = Vec::new();
    if !plan.waves.is_empty() {
        fill(&mut asm, allocation.frame);
        emptied = allocation.slots_of(pointers(&body.function));
        emptied.push(TASK.into());
    }
    match names.way {
        Way::Call | Way::Classic | Way::ClassicRead => {}
        Way::Read => reader::begin(&mut asm, names, plan),
        Way::Tick => resident::begin(&mut asm, names),
    }
    columns.sweep_start(&mut asm);
    asm.call_kfunc("bpf_rcu_read_lock");
    // Who acts hands its task on.
    let follows = names.way == Way::Tick && names.acting.is_none() && columns.follows_lists();
    let mut whole = hooks.clone();
    let task = |asm: &mut Asm| {
        asm.store(Size::Dw, FP, TASK, R6);
        asm.mov(R1, R6);
        untrusted(asm, "task_struct");
        asm.mov(R6, R0);
        columns.walk(asm, |asm, next| {
            count(asm, names.stats, VISITED);
            hooks.next = Some(next);
            row.encode(asm, &mut hooks);
        });
    };
    if columns.visits_only_waiting() {
        columns.visit_waiting(&mut asm, ITERATOR, task);
    } else if follows {
        let mut rows = ListRows { row, columns, tried: row.deciding(), hooks: &mut whole };
        follow(&mut asm, columns, names.stats, &mut rows);
    } else {
        let batches = (names.way == Way::Tick).then(|| columns.looks_ahead());
        iterate(&mut asm, *table, &emptied, batches, task);
    }
    if let Some(groups) = names.groups {
        groups.finish(&mut asm, names);
    }
    asm.call_kfunc("bpf_rcu_read_unlock");
    finish(&mut asm, names);
    asm.bind(busy);
    match names.way {
        Way::Call | Way::Classic | Way::ClassicRead => {}
        Way::Read => reader::busy(&mut asm, names),
        Way::Tick => resident::count_skipped(&mut asm, names),
    }
    asm.bind(passed);
    // An iterator that returns 1 is asked again, and a callback must return 0.
    asm.load_imm(R0, if names.way == Way::Call { BUSY } else { 0 });
    asm.exit();
    asm.finish()
}

/// Takes the sweep for itself, clears the counters and notes the time.
fn begin(asm: &mut Asm, stats: u32, busy: Label) {
    asm.load_data(R6, ".bss", stats);
    asm.load_imm(R0, 0);
    asm.load_imm(R1, 1);
    asm.atomic_cmpxchg(R6, BUSY_FLAG, R1);
    asm.jump_if_imm(Cond::Ne, R0, 0, busy);
    start(asm);
}

/// With the statistics in `r6`: clears the counters and notes the time.
pub(super) fn start(asm: &mut Asm) {
    for counter in [VISITED, MATCHED, UNREADABLE, WARMING, DROPPED] {
        asm.store_imm(Size::Dw, R6, counter, 0);
    }
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    asm.store(Size::Dw, R6, STARTED, R0);
}

/// Fills the row body's frame with what is any number to the kernel's verifier. In a loop it
/// takes two stacks for the same only if the same slots of them have been written, needed or
/// not: without this each way through a row would be followed by every other one anew.
fn fill(asm: &mut Asm, frame: i32) {
    for offset in (frame..RESERVED).step_by(8) {
        asm.store(Size::Dw, FP, offset as i16, R0);
        // Not the same number in every slot, as far as the verifier knows.
        asm.alu_imm(AluOp::Or, R0, 0);
    }
}

/// The registers that hold an address.
fn pointers(function: &Function) -> Vec<VReg> {
    let mut found = Vec::new();
    for op in &function.ops {
        if let Op::State { dst, .. } = op {
            found.push(*dst);
        }
        if let Op::Mov { dst, src } | Op::Alu { dst, lhs: src, .. } = op
            && found.contains(src)
        {
            found.push(*dst);
        }
    }
    found
}

/// Runs `body` for each task but the idle one, in `r6`. The slots `emptied` are so before: an address that is
/// left there by the row before would make another stack of it.
fn iterate(
    asm: &mut Asm,
    table: Table,
    emptied: &[i32],
    batches: Option<String>,
    body: impl FnOnce(&mut Asm),
) {
    let (flags, list) = match table {
        Table::Thread => (ITERATE_THREADS, List::Threads),
        Table::Process | Table::File | Table::Mapping => (ITERATE_PROCESSES, List::Processes),
    };
    let (again, end) = (asm.label(), asm.label());
    ahead::start(asm);
    iterate_from_idle(asm, flags, end);
    asm.bind(again);
    for slot in emptied {
        asm.store_imm(Size::Dw, FP, *slot as i16, 0);
    }
    iterator(asm);
    asm.call_kfunc("bpf_iter_task_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.mov(R6, R0);
    match batches {
        Some(function) => ahead::step_in_batches(asm, R6, &function),
        None => ahead::step(asm, R6, list),
    }
    body(asm);
    asm.jump(again);
    asm.bind(end);
    iterator(asm);
    asm.call_kfunc("bpf_iter_task_destroy");
}

/// Calls `rows` for each thread, through the kernel's [lists] from the idle task, which is what its
/// iterator begins with.
fn follow(asm: &mut Asm, columns: &Columns, stats: u32, rows: &mut ListRows<'_, '_>) {
    let end = asm.label();
    iterate_from_idle(asm, ITERATE_PROCESSES, end);
    lists::walk(asm, &columns.lists(), stats, rows);
    asm.bind(end);
    iterator(asm);
    asm.call_kfunc("bpf_iter_task_destroy");
}

/// Rows of a walk through the kernel's lists.
struct ListRows<'a, 'b> {
    row: &'a Row<'a>,
    columns: &'a Columns,
    tried: Option<usize>,
    hooks: &'a mut BpfHooks<'b>,
}

impl lists::Rows for ListRows<'_, '_> {
    fn can_try(&self) -> bool {
        self.tried.is_some()
    }

    fn try_one(&mut self, asm: &mut Asm, passed: Label, found: Label) {
        let Some(ops) = self.tried else { return };
        self.hooks.next = Some(passed);
        self.row.encode_first(ops, asm, self.hooks, [passed, found]);
    }

    fn row(&mut self, asm: &mut Asm) {
        self.columns.walk(asm, |asm, next| {
            self.hooks.next = Some(next);
            self.row.encode(asm, self.hooks);
        });
    }
}

/// Makes the iterator and takes from it, to `r0`, where walks begin: the idle task, which is no
/// process to anybody else. Goes to `end` if there is none.
fn iterate_from_idle(asm: &mut Asm, flags: i64, end: Label) {
    iterator(asm);
    asm.load_imm(R2, 0);
    asm.load_imm(R3, flags);
    asm.call_kfunc("bpf_iter_task_new");
    iterator(asm);
    asm.call_kfunc("bpf_iter_task_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
}

fn iterator(asm: &mut Asm) {
    stack_address(asm, R1, ITERATOR);
}

/// Adds one to a counter. Plain loads and stores do: `busy` keeps others away.
pub(super) fn count(asm: &mut Asm, stats: u32, counter: i16) {
    asm.load_data(R1, ".bss", stats);
    asm.load(Size::Dw, R0, R1, counter);
    asm.alu_imm(AluOp::Add, R0, 1);
    asm.store(Size::Dw, R1, counter, R0);
}

/// The end of a program that made a sweep.
pub(super) fn finish(asm: &mut Asm, names: &Names<'_>) {
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    asm.load_data(R1, ".bss", names.stats);
    asm.load(Size::Dw, R2, R1, STARTED);
    asm.alu(AluOp::Sub, R0, R2);
    asm.store(Size::Dw, R1, TOOK, R0);
    count(asm, names.stats, SWEEPS);
    match names.way {
        Way::Call => {}
        Way::Classic => return leave(asm),
        Way::Read | Way::ClassicRead => {
            reader::finish(asm, names);
            if names.way == Way::ClassicRead {
                names.lines.load_area(asm, R1);
                asm.store_imm(Size::Dw, R1, TAKEN, 0);
            }
            asm.load_data(R1, ".bss", names.stats);
        }
        Way::Tick => {
            resident::finish(asm, names);
            asm.load_data(R1, ".bss", names.stats);
        }
    }
    // An exchange orders the statistics before it, unlike a store.
    asm.load_imm(R0, 0);
    asm.atomic_xchg(R1, BUSY_FLAG, R0);
    leave(asm);
}

/// Returns 0.
pub(super) fn leave(asm: &mut Asm) {
    asm.load_imm(R0, 0);
    asm.exit();
}

/// Hands the record at `record` on the stack to the consumer.
pub(super) fn emit(asm: &mut Asm, names: &Names<'_>, plan: &Plan, record: i32) {
    let size = plan.record_size;
    let (fine, full) = (asm.label(), asm.label());
    match names.way {
        Way::Call | Way::Classic | Way::Tick => {
            if names.way == Way::Tick {
                resident::take_room(asm, names, size, full);
            }
            asm.load_map(R1, names.records);
            stack_address(asm, R2, record);
            asm.load_imm(R3, i64::from(size));
            asm.load_imm(R4, RINGBUF_NO_WAKEUP);
            asm.call_helper(helper::RINGBUF_OUTPUT);
        }
        Way::Read | Way::ClassicRead => reader::emit(asm, names, plan, record, full),
    }
    asm.jump_if_imm(Cond::Eq, R0, 0, fine);
    asm.bind(full);
    let done = asm.label();
    if let Some(acting) = names.acting {
        acting.call(asm, record, false);
        asm.jump_if_imm(Cond::Ne, R0, 0, done);
    }
    count(asm, names.stats, DROPPED);
    if names.way == Way::Tick {
        asm.jump(done);
        asm.bind(fine);
        resident::count_emitted(asm, names);
        names.acting.inspect(|acting| acting.call(asm, record, true));
        asm.bind(done);
    } else {
        asm.bind(fine);
    }
}

/// Counts how a row or a group ended.
pub(super) fn count_verdict(asm: &mut Asm, stats: u32, verdict: Verdict) {
    match verdict {
        Verdict::Pass => {}
        Verdict::Match => count(asm, stats, MATCHED),
        Verdict::Unreadable => count(asm, stats, UNREADABLE),
        Verdict::Warming => count(asm, stats, WARMING),
    }
}

/// Counts what found no room.
pub(super) fn count_dropped(asm: &mut Asm, stats: u32) {
    count(asm, stats, DROPPED);
}

/// `dst = ` the time of the sweep.
pub(super) fn load_now(asm: &mut Asm, names: &Names<'_>, dst: Reg) {
    asm.load_data(dst, ".bss", names.stats);
    asm.load(Size::Dw, dst, dst, STARTED);
}
