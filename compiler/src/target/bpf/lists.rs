//! A walk over all threads that follows the kernel's lists by itself, in place of the kernel's
//! iterator.
//!
//! The iterator reads each thread's pointer to what its process shares, to know where the list of
//! threads ends, and is called for each. Here that end is looked up once a process: a thread costs
//! one line of memory less and no call. What it gives is no pointer that the kernel's verifier
//! trusts, so this is for filters that hand their task to nobody: see
//! [`Columns::follows_lists`](super::columns::Columns::follows_lists).
//!
//! **Invariant**: the walk holds the RCU lock and reads what the iterator reads, in its order: the
//! link of a thread, and of a process behind its last thread. So it meets the same threads.

use super::ahead::{self, BASE, PROCESSES, SIGNAL, THREADS};
use super::columns::{Hop, load, path, untrusted};
use super::sweep::VISITED;
use crate::asm::{AluOp, Asm, Cond, Label, R0, R1, R2, R6, R7, Reg, Size};
use crate::code::RelocKind;

/// Words before the notes: the thread to come, the process that it belongs to, where the list of
/// its threads ends, and the process at which that of processes does.
const NEXT: i16 = 16;
const PROCESS: i16 = 24;
const END: i16 = 32;
const FIRST: i16 = 40;

const THREAD_NODE: Hop = ("task_struct", &["thread_node"]);
const PROCESS_NODE: Hop = ("task_struct", &["tasks"]);
const THREAD_HEAD: Hop = ("signal_struct", &["thread_head"]);

/// Runs `body` for each thread but the idle task, which is in `r0`; the thread is in `r6`, without
/// the verifier's trust; `stats` says how many there were. Calls the functions of [`ahead`] in
/// time. Loses all registers.
pub(super) fn walk(
    asm: &mut Asm,
    ahead: &str,
    processes: &str,
    stats: u32,
    body: impl FnOnce(&mut Asm),
) {
    let (again, same, found, end) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.load_data(R7, ".bss", BASE);
    asm.store(Size::Dw, R7, FIRST, R0);
    asm.store(Size::Dw, R7, PROCESS, R0);
    ahead::start_both(asm, ahead, processes);
    next_process(asm, processes, end);
    asm.bind(again);
    asm.may_leave(end);
    asm.load_data(R7, ".bss", BASE);
    asm.load(Size::Dw, R6, R7, NEXT);
    asm.jump_if_imm(Cond::Eq, R6, 0, end);
    ahead::step_in_batches(asm, R6, ahead);
    asm.mov(R1, R6);
    untrusted(asm, "task_struct");
    asm.mov(R6, R0);
    load(asm, R1, R6, THREADS);
    asm.load(Size::Dw, R2, R7, END);
    asm.jump_if(Cond::Ne, R1, R2, same);
    // It is the last of its process.
    next_process(asm, processes, found);
    asm.jump(found);
    asm.bind(same);
    around(asm, R1, THREAD_NODE);
    asm.store(Size::Dw, R7, NEXT, R1);
    asm.bind(found);
    body(asm);
    asm.jump(again);
    asm.bind(end);
    // Each thread has been noted, which has counted it.
    asm.load_data(R7, ".bss", BASE);
    ahead::count(asm);
    asm.load_data(R2, ".bss", stats);
    asm.store(Size::Dw, R2, VISITED, R1);
}

/// Goes on to the first thread of the process behind the present one; there is none to come, and
/// it goes to `none`, behind the last. `r7` are the words. Loses `r0` to `r5`.
fn next_process(asm: &mut Asm, processes: &str, none: Label) {
    asm.store_imm(Size::Dw, R7, NEXT, 0);
    asm.load(Size::Dw, R1, R7, PROCESS);
    untrusted(asm, "task_struct");
    load(asm, R1, R0, PROCESSES);
    around(asm, R1, PROCESS_NODE);
    asm.load(Size::Dw, R2, R7, FIRST);
    asm.jump_if(Cond::Eq, R1, R2, none);
    asm.store(Size::Dw, R7, PROCESS, R1);
    asm.store(Size::Dw, R7, NEXT, R1);
    ahead::step_over_process(asm, R1, processes);
    asm.load(Size::Dw, R1, R7, PROCESS);
    untrusted(asm, "task_struct");
    load(asm, R1, R0, SIGNAL);
    asm.add_field_offset(R1, path(THREAD_HEAD));
    asm.store(Size::Dw, R7, END, R1);
}

/// `node = ` the task around this node of a list in it. Loses `r0`.
fn around(asm: &mut Asm, node: Reg, member: Hop) {
    asm.load_core(R0, RelocKind::FieldOffset(path(member)));
    asm.alu(AluOp::Sub, node, R0);
}
