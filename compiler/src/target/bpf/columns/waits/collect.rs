//! The walk over all threads that notes who waits for what may be a lock.

use super::super::super::ahead;
use super::super::Columns;
use super::super::field::{self, Hop};
use super::super::group;
use super::candidate as at;
use super::lock::{BELOW_CEILING, CONTENDED, LOCK_PI};
use super::{COUNT, THREADS, add, block, candidate, count_dropped, inner_id};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, R9, Reg, Size,
};
use crate::object::Subprogram;
use crate::target::bpf::helper::{TASK_PT_REGS, stack_address};

/// `BPF_TASK_ITER_ALL_THREADS`
const ALL_THREADS: i64 = 1;
/// `TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE`
const BLOCKED: i32 = 3;
/// `PF_KTHREAD`
const KERNEL_THREAD: i32 = 0x0020_0000;
/// The numbers of futex(2) on x86-64, and of what becomes of it when a thread that waits
/// with a timeout has been stopped and goes on: restart_syscall(2), with the registers as
/// they were.
const SYSCALLS: [i32; 2] = [202, 219];
/// The same, and `futex_time64`, in programs of 32 bits.
const SYSCALLS_32: [i32; 3] = [240, 422, 0];
/// `TS_COMPAT`: the system call is one of 32 bits.
const STATUS_32: i32 = 2;
/// What is left of an operation without `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
const OPERATION_MASK: i32 = 0x7f;
/// `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`
const WAIT: [i32; 2] = [0, 9];
/// Values up to here are expected by waits for plain mutexes and rwlocks; above those of mutexes that
/// have one stands the priority ceiling.
const SMALL_VALUE: i32 = 3;

/// How far from the stack pointer the word may be that a parked thread waits for.
const OWN_STACK_BYTES: i32 = 512;

const ITERATOR: i16 = -24;
// The call's arguments, below what the functions of the parent module use.
const ADDRESS: i16 = -40;
const TIMEOUT: i16 = -48;
const IS_32: i16 = -56;

/// The walk, or its step in classic programs.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    Ok(vec![if columns.is_classic() { step(columns)? } else { walk(columns)? }])
}

/// `u64 collect()`: notes all threads that look like it.
fn walk(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end) = (asm.label(), asm.label());
    asm.call_kfunc("bpf_rcu_read_lock");
    start(&mut asm);
    asm.bind(next);
    advance(&mut asm, end);
    asm.mov(R6, R0);
    ahead::step(&mut asm, R6, ahead::List::Threads);
    look_at(columns, &mut asm, next);
    asm.jump(next);
    asm.bind(end);
    finish(&mut asm);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("collect"), code: asm.finish()? })
}

/// `u64 collect(task)`: notes a thread that looks like it, and reads the lock, which a program
/// that may sleep can do at once.
fn step(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let end = asm.label();
    asm.mov(R6, R1);
    look_at(columns, &mut asm, end);
    asm.load(Size::Dw, R1, R7, group::result(COUNT));
    asm.alu_imm(AluOp::Sub, R1, 1);
    asm.mov(R2, R6);
    asm.call_subprog(&columns.function("ask"));
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("collect"), code: asm.finish()? })
}

/// Notes the thread in `r6` if it looks like it, or else goes to `next`. The block is in `r7`
/// behind it; all other registers are lost.
fn look_at(columns: &Columns, asm: &mut Asm, next: Label) {
    block(columns, asm, R7);
    add(asm, R7, group::result(THREADS), 1, R1);
    blocked(asm, R6, next);
    asm.mov(R1, R6);
    asm.call_helper(TASK_PT_REGS);
    asm.mov(R8, R0);
    looks_like_a_lock(asm, next);
    note(columns, asm, next);
}

/// Begins a walk over all threads, with the iterator at the top of the stack.
pub(super) fn start(asm: &mut Asm) {
    ahead::start(asm);
    stack_address(asm, R1, ITERATOR);
    asm.load_imm(R2, 0);
    asm.load_imm(R3, ALL_THREADS);
    asm.call_kfunc("bpf_iter_task_new");
}

/// `r0 =` the next thread, or goes to `end`.
pub(super) fn advance(asm: &mut Asm, end: Label) {
    stack_address(asm, R1, ITERATOR);
    asm.call_kfunc("bpf_iter_task_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
}

/// Ends a walk and the RCU lock around it.
pub(super) fn finish(asm: &mut Asm) {
    stack_address(asm, R1, ITERATOR);
    asm.call_kfunc("bpf_iter_task_destroy");
    asm.call_kfunc("bpf_rcu_read_unlock");
}

/// Goes to `running` unless the thread of a process in `task` is blocked. Loses `r1`.
pub(super) fn blocked(asm: &mut Asm, task: Reg, running: Label) {
    let waits = asm.label();
    field::load(asm, R1, task, ("task_struct", &["__state"]));
    asm.jump_if_imm(Cond::Set, R1, BLOCKED, waits);
    asm.jump(running);
    asm.bind(waits);
    field::load(asm, R1, task, ("task_struct", &["flags"]));
    asm.jump_if_imm(Cond::Set, R1, KERNEL_THREAD, running);
    field::load(asm, R1, task, ("task_struct", &["on_cpu"]));
    asm.jump_if_imm(Cond::Ne, R1, 0, running);
}

/// With the task in `r6` and the user's registers in `r8`: leaves the operation in `r9` and
/// the other arguments on the stack, or goes to `not`.
fn looks_like_a_lock(asm: &mut Asm, not: Label) {
    let (waits, maybe) = (asm.label(), asm.label());
    arguments(asm, not);
    asm.alu_imm(AluOp::And, R9, OPERATION_MASK);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R9, operation, maybe);
    }
    for operation in WAIT {
        asm.jump_if_imm(Cond::Eq, R9, operation, waits);
    }
    asm.jump(not);
    asm.bind(waits);
    let zero = asm.label();
    expected(asm, R1);
    asm.jump_if_imm(Cond::Eq, R1, 0, zero);
    asm.jump_if_imm(Cond::Le, R1, SMALL_VALUE, maybe);
    asm.mov(R2, R1);
    asm.alu_imm(AluOp::And, R2, BELOW_CEILING);
    asm.jump_if_imm(Cond::Eq, R2, CONTENDED, maybe);
    asm.alu_imm(AluOp::Rsh, R1, 31);
    asm.jump_if_imm(Cond::Eq, R1, 0, not);
    asm.jump(maybe);
    asm.bind(zero);
    is_parked(asm, not);
    asm.bind(maybe);
}

/// The arguments of futex(2), the operation of which goes to `r9`; or goes to `not`.
fn arguments(asm: &mut Asm, not: Label) {
    const WIDE: [&[&str]; 3] = [&["si"], &["di"], &["r10"]];
    const NARROW: [&[&str]; 3] = [&["cx"], &["bx"], &["si"]];
    let (wide, maybe_narrow, end) = (asm.label(), asm.label(), asm.label());
    field::load(asm, R1, R8, ("pt_regs", &["orig_ax"]));
    for number in SYSCALLS {
        asm.jump_if_imm(Cond::Eq, R1, number, wide);
    }
    for number in SYSCALLS_32 {
        asm.jump_if_imm(Cond::Eq, R1, number, maybe_narrow);
    }
    asm.jump(not);
    asm.bind(maybe_narrow);
    field::load(asm, R1, R6, ("task_struct", &["thread_info", "status"]));
    asm.alu_imm(AluOp::And, R1, STATUS_32);
    asm.jump_if_imm(Cond::Eq, R1, 0, not);
    for (registers, is_32) in [(NARROW, true), (WIDE, false)] {
        if !is_32 {
            asm.jump(end);
            asm.bind(wide);
        }
        let to_stack = [None, Some(ADDRESS), Some(TIMEOUT)];
        for (register, to) in registers.into_iter().zip(to_stack) {
            let dst = if to.is_some() { R1 } else { R9 };
            field::load(asm, dst, R8, ("pt_regs", register));
            if is_32 {
                asm.mov32(dst, dst);
            }
            if let Some(to) = to {
                asm.store(Size::Dw, FP, to, dst);
            }
        }
        asm.store_imm(Size::Dw, FP, IS_32, is_32.into());
    }
    asm.bind(end);
}

/// Goes to `not` unless the thread waits without an end for a word of its own stack.
fn is_parked(asm: &mut Asm, not: Label) {
    asm.load(Size::Dw, R1, FP, TIMEOUT);
    asm.jump_if_imm(Cond::Ne, R1, 0, not);
    asm.load(Size::Dw, R1, FP, ADDRESS);
    field::load(asm, R2, R8, ("pt_regs", &["sp"]));
    asm.alu(AluOp::Sub, R1, R2);
    asm.jump_if_imm(Cond::Ge, R1, OWN_STACK_BYTES, not);
}

/// Keeps the registers that may hold the lock of a parked thread.
fn keep_registers(asm: &mut Asm) {
    const PRESERVED: [Hop; 6] = [
        ("pt_regs", &["r14"]),
        ("pt_regs", &["r13"]),
        ("pt_regs", &["r12"]),
        ("pt_regs", &["bx"]),
        ("pt_regs", &["bp"]),
        ("pt_regs", &["r15"]),
    ];
    let moves = asm.label();
    asm.store_imm(Size::Dw, R7, at::PARKED, 0);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R9, operation, moves);
    }
    expected(asm, R1);
    asm.jump_if_imm(Cond::Ne, R1, 0, moves);
    asm.store_imm(Size::Dw, R7, at::PARKED, 1);
    let all = at::REGISTERS.into_iter().zip(PRESERVED);
    for (offset, hop) in all.chain([(at::STACK, ("pt_regs", &["sp"] as &[&str]))]) {
        field::load(asm, R1, R8, hop);
        asm.store(Size::Dw, R7, offset, R1);
    }
    asm.bind(moves);
}

/// `dst =` the value that the futex word was expected to have.
fn expected(asm: &mut Asm, dst: Reg) {
    field::load(asm, dst, R8, ("pt_regs", &["dx"]));
    asm.mov32(dst, dst);
}

/// Notes the thread in `r6`, with its registers in `r8` and its operation in `r9`.
fn note(columns: &Columns, asm: &mut Asm, next: Label) {
    const PLAIN: [(i16, Hop); 4] = [
        (at::TID, ("task_struct", &["pid"])),
        (at::START, ("task_struct", &["start_boottime"])),
        (at::SPACE, ("task_struct", &["mm"])),
        (at::SWITCHES, ("task_struct", &["nvcsw"])),
    ];
    let (full, there) = (asm.label(), asm.label());
    asm.load(Size::Dw, R1, R7, group::result(COUNT));
    candidate(columns, asm, R1, full);
    asm.jump(there);
    asm.bind(full);
    count_dropped(columns, asm);
    asm.jump(next);
    asm.bind(there);
    asm.mov(R7, R0);
    asm.mov(R1, R6);
    columns.untrusted(asm, "task_struct");
    asm.mov(R6, R0);
    asm.store(Size::Dw, R7, at::OPERATION, R9);
    inner_id(asm, R6, next);
    for (offset, register) in [(at::LEVEL, R1), (at::NAMESPACE, R2), (at::INNER_TID, R3)] {
        asm.store(Size::Dw, R7, offset, register);
    }
    for (offset, hop) in PLAIN {
        field::load(asm, R1, R6, hop);
        asm.store(Size::Dw, R7, offset, R1);
    }
    field::load(asm, R2, R6, ("task_struct", &["nivcsw"]));
    asm.alu(AluOp::Add, R1, R2);
    asm.store(Size::Dw, R7, at::SWITCHES, R1);
    for (from, to) in [(ADDRESS, at::FUTEX), (IS_32, at::IS_32)] {
        asm.load(Size::Dw, R1, FP, from);
        asm.store(Size::Dw, R7, to, R1);
    }
    expected(asm, R1);
    asm.store(Size::Dw, R7, at::EXPECTED, R1);
    keep_registers(asm);
    for offset in [
        at::LOCK,
        at::OWNER,
        at::SHARED,
        at::OBJECT,
        at::OWNER_TID,
        at::NEXT,
        at::ABANDONED,
        at::COLOUR,
        at::CYCLE,
        at::CYCLE_ID,
        at::LENGTH,
        at::BROKEN,
        at::CONFIRMED,
        at::PEER,
    ] {
        asm.store_imm(Size::Dw, R7, offset, 0);
    }
    block(columns, asm, R7);
    add(asm, R7, group::result(COUNT), 1, R1);
}
