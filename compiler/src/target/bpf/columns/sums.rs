//! Counters of a process: those of its dead threads, which the kernel keeps in `signal`,
//! and of the living, added up in one pass over the threads for all columns that need it.
//!
//! A thread that exits meanwhile moves its counters from one place to the other; the
//! sequence number around that move tells, and the pass is made again.

use super::super::ahead::{self, List, SIGNAL, Sights};
use super::field::{self, Hop};
use super::group::Group;
use super::paths::Found;
use super::{Columns, group};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, R0, R1, R2, R3, R6, R7, R8, R9, Reg, Size};
use crate::object::Subprogram;
use crate::target::bpf::helper::{PROBE_READ_KERNEL, call_loop_of_r1, stack_address};

/// A counter that threads have and that `signal` keeps for the dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sum {
    Exec,
    User,
    System,
    MinorFaults,
    MajorFaults,
    Voluntary,
    Involuntary,
    ReadBytes,
    WriteBytes,
    ReadChars,
    WriteChars,
}

/// Words of results: the sums, and where a classic walk of the threads is and ends.
pub(super) const WORDS: u32 = THREAD + 2;
const THREAD: u32 = Sum::COUNT;
const LAST: u32 = THREAD + 1;

/// Times that the pass is made before the row counts as unreadable.
const ATTEMPTS: i32 = 2;
/// `BPF_TASK_ITER_PROC_THREADS`
const PROC_THREADS: i64 = 2;

// The stack: the iterator and the task that it is of.
const ITERATOR: i16 = -24;
const HELD_TASK: i16 = -32;

const SEQUENCE: Hop = ("signal_struct", &["stats_lock", "seqcount", "seqcount", "sequence"]);

impl Sum {
    const ALL: [Self; 11] = [
        Self::Exec,
        Self::User,
        Self::System,
        Self::MinorFaults,
        Self::MajorFaults,
        Self::Voluntary,
        Self::Involuntary,
        Self::ReadBytes,
        Self::WriteBytes,
        Self::ReadChars,
        Self::WriteChars,
    ];

    /// How many there are.
    const COUNT: u32 = Self::ALL.len() as u32;

    /// Where a thread has it.
    pub(super) const fn of_task(self) -> Hop {
        let path: &'static [&'static str] = match self {
            Self::Exec => &["se", "sum_exec_runtime"],
            Self::User => &["utime"],
            Self::System => &["stime"],
            Self::MinorFaults => &["min_flt"],
            Self::MajorFaults => &["maj_flt"],
            Self::Voluntary => &["nvcsw"],
            Self::Involuntary => &["nivcsw"],
            Self::ReadBytes => &["ioac", "read_bytes"],
            Self::WriteBytes => &["ioac", "write_bytes"],
            Self::ReadChars => &["ioac", "rchar"],
            Self::WriteChars => &["ioac", "wchar"],
        };
        ("task_struct", path)
    }

    /// Where a process keeps what its dead threads had.
    const fn of_dead(self) -> Hop {
        match self {
            Self::Exec => ("signal_struct", &["sum_sched_runtime"]),
            Self::User
            | Self::System
            | Self::MinorFaults
            | Self::MajorFaults
            | Self::Voluntary
            | Self::Involuntary
            | Self::ReadBytes
            | Self::WriteBytes
            | Self::ReadChars
            | Self::WriteChars => ("signal_struct", self.of_task().1),
        }
    }

    /// Index of its word among the group's results.
    pub(super) const fn index(self) -> u32 {
        self as u32
    }
}

/// The sums that these columns are made of, in their fixed order.
fn needed(found: &[Found]) -> Vec<Sum> {
    let mut all: Vec<Sum> = Vec::new();
    for &found in found {
        if let Found::Process(sums) = found {
            all.extend(sums);
        } else if let Found::ProcessTime(_) = found {
            all.extend([Sum::Exec, Sum::User, Sum::System]);
        }
    }
    Sum::ALL.into_iter().filter(|sum| all.contains(sum)).collect()
}

/// Adds what the sums of a column read.
pub(super) fn add_to(found: Found, sights: &mut Sights) {
    let needed = needed(&[found]);
    sights.task.extend(needed.iter().map(|sum| sum.of_task()));
    let of_dead = needed.iter().map(|sum| sum.of_dead());
    let of_process = [SEQUENCE, ("signal_struct", &["nr_threads"])].into_iter().chain(of_dead);
    sights.behind_process.extend(of_process.map(|member| (SIGNAL, member)));
}

/// The group's functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    let mut all = vec![sums(columns)?];
    if columns.is_classic() {
        all.push(add_next_thread(columns)?);
    }
    Ok(all)
}

/// `u64 sums(task)`: 0 when the sums stand in `.bss`.
fn sums(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let needed = &needed(&columns.found);
    let block = columns.layout().group(Group::Sums);
    let mut asm = Asm::new();
    let (again, next, end, torn) = (asm.label(), asm.label(), asm.label(), asm.label());
    let (many, added) = (asm.label(), asm.label());
    let (gone, failed, done) = (asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    columns.untrusted(&mut asm, "task_struct");
    field::load(&mut asm, R7, R0, ("task_struct", &["signal"]));
    asm.load_imm(R9, ATTEMPTS.into());

    asm.bind(again);
    field::load(&mut asm, R8, R7, SEQUENCE);
    asm.load_data(R3, ".bss", block);
    for sum in needed {
        field::load(&mut asm, R1, R7, sum.of_dead());
        asm.store(Size::Dw, R3, group::result(sum.index()), R1);
    }
    // Most processes have one thread, which is the one at hand.
    field::load(&mut asm, R1, R7, ("signal_struct", &["nr_threads"]));
    asm.jump_if_imm(Cond::Ne, R1, 1, many);
    add_thread(&mut asm, needed, block, R6);
    asm.jump(added);

    asm.bind(many);
    if columns.is_classic() {
        walk_threads(columns, &mut asm);
        asm.jump(added);
    }
    // The iterator wants a task that is held, not only one that RCU keeps.
    asm.mov(R1, R6);
    asm.call_kfunc("bpf_task_acquire");
    asm.jump_if_imm(Cond::Eq, R0, 0, gone);
    asm.store(Size::Dw, FP, HELD_TASK, R0);
    stack_address(&mut asm, R1, ITERATOR);
    asm.mov(R2, R0);
    asm.load_imm(R3, PROC_THREADS);
    asm.call_kfunc("bpf_iter_task_new");
    asm.bind(next);
    stack_address(&mut asm, R1, ITERATOR);
    asm.call_kfunc("bpf_iter_task_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    add_thread(&mut asm, needed, block, R0);
    ahead::step(&mut asm, R0, List::Threads);
    asm.jump(next);
    asm.bind(end);
    stack_address(&mut asm, R1, ITERATOR);
    asm.call_kfunc("bpf_iter_task_destroy");
    asm.load(Size::Dw, R1, FP, HELD_TASK);
    asm.call_kfunc("bpf_task_release");
    asm.bind(added);

    // An odd number, or another one than before: a thread was just exiting.
    field::load(&mut asm, R1, R7, SEQUENCE);
    asm.jump_if(Cond::Ne, R1, R8, torn);
    asm.jump_if_imm(Cond::Set, R1, 1, torn);
    asm.load_data(R7, ".bss", block);
    asm.jump(done);
    asm.bind(torn);
    asm.alu_imm(AluOp::Sub, R9, 1);
    asm.jump_if_imm(Cond::Ne, R9, 0, again);
    asm.bind(gone);
    asm.load_data(R7, ".bss", block);
    asm.jump(failed);
    asm.bind(done);
    group::finish(&mut asm, R7, failed);
    Ok(Subprogram { name: columns.function("sums"), code: asm.finish()? })
}

/// Threads that may have come since they were counted.
const THREADS_MORE: i32 = 1024;
const NODE: Hop = ("task_struct", &["thread_node"]);
const NEXT: Hop = ("list_head", &["next"]);

/// Where there is no iterator to call: walks the list of the process whose signals are in
/// `r7`. Loses `r0` to `r5`.
fn walk_threads(columns: &Columns, asm: &mut Asm) {
    const HEAD: Hop = ("signal_struct", &["thread_head"]);
    const FIRST: Hop = ("signal_struct", &["thread_head", "next"]);
    asm.load_data(R3, ".bss", columns.layout().group(Group::Sums));
    field::load(asm, R1, R7, FIRST);
    asm.store(Size::Dw, R3, group::result(THREAD), R1);
    field::address(asm, R1, R7, HEAD);
    asm.store(Size::Dw, R3, group::result(LAST), R1);
    field::load(asm, R1, R7, ("signal_struct", &["nr_threads"]));
    asm.alu_imm(AluOp::Add, R1, THREADS_MORE);
    call_loop_of_r1(asm, &columns.function("add_thread"));
}

/// `u64 add_thread(index)`: adds the counters of the thread that the walk is at, and goes on
/// to the next; 1 at the end.
fn add_next_thread(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    const READ: i16 = -8;
    let mut asm = Asm::new();
    let end = asm.label();
    asm.load_data(R7, ".bss", columns.layout().group(Group::Sums));
    asm.load(Size::Dw, R6, R7, group::result(THREAD));
    asm.load(Size::Dw, R0, R7, group::result(LAST));
    asm.jump_if(Cond::Eq, R0, R6, end);
    // The task around its node in the list.
    asm.load_imm(R0, 0);
    asm.add_field_offset(R0, field::path(NODE));
    asm.mov(R8, R6);
    asm.alu(AluOp::Sub, R8, R0);
    let read = |asm: &mut Asm, base: Reg, hop: Hop| {
        field::address(asm, R3, base, hop);
        stack_address(asm, R1, READ);
        asm.load_imm(R2, 8);
        asm.call_helper(PROBE_READ_KERNEL);
        asm.jump_if_imm(Cond::Ne, R0, 0, end);
        asm.load(Size::Dw, R1, FP, READ);
    };
    for sum in needed(&columns.found) {
        read(&mut asm, R8, sum.of_task());
        asm.load(Size::Dw, R2, R7, group::result(sum.index()));
        asm.alu(AluOp::Add, R2, R1);
        asm.store(Size::Dw, R7, group::result(sum.index()), R2);
    }
    read(&mut asm, R6, NEXT);
    asm.store(Size::Dw, R7, group::result(THREAD), R1);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(end);
    asm.load_imm(R0, 1);
    asm.exit();
    Ok(Subprogram { name: columns.function("add_thread"), code: asm.finish()? })
}

/// Adds the counters of the thread in `task`. Loses `r1` to `r3`.
fn add_thread(asm: &mut Asm, needed: &[Sum], block: u32, task: Reg) {
    asm.load_data(R3, ".bss", block);
    for sum in needed {
        let offset = group::result(sum.index());
        field::load(asm, R1, task, sum.of_task());
        asm.load(Size::Dw, R2, R3, offset);
        asm.alu(AluOp::Add, R2, R1);
        asm.store(Size::Dw, R3, offset, R2);
    }
}
