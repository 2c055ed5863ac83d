//! A walk over all threads that follows the kernel's lists by itself, in place of the kernel's
//! iterator, and need not follow them where they have not changed.
//!
//! A process whose list of threads is long costs a line of memory for each thread only to learn
//! where the next one is. So the walk keeps what it has found ([`notes`]): of a process from which
//! no thread has gone since, the noted threads are its first threads still, and the list is
//! followed from the last of them on, where the kernel appends new ones. Several of these
//! threads are tried between two ends of the loop ([`tries`](Walk::tries)). That a process has one
//! thread only is seen from the links of that thread.
//!
//! What the walk gives is no pointer that the kernel's verifier trusts, so this is for filters that
//! hand their task to nobody: see [`Columns::follows_lists`](super::columns::Columns::follows_lists).
//!
//! **Invariant**: the walk holds the RCU lock and meets each thread once that is there from its
//! begin to its end. A noted thread is looked at only if it was in its process's list during this
//! walk: the kernel takes a thread out of it between two writes to the process's
//! `stats_lock` (`__exit_signal` in `kernel/exit.c`), whose sequence is read before the list is.

mod notes;

pub(super) use self::notes::Lists;
use self::notes::{
    BORN, COUNT, END, ENTRIES, ENTRY_BYTES, Entry, FIRST, GAPS, GAPS_BYTES_MAX, GROUPS, KEPT,
    LAST_PLACE, LIMIT, LINK, NEXT, NOTES, PROCESS, PROCESS_NOTES, PROCESSES_NOTED, SEQUENCE, START,
    THREADS_MIN,
};
use super::ahead::{
    self, BATCH, NOTE_BYTES, PLACE, PROCESSES, SIGNAL, TASKS, THREADS, note_of, within,
};
use super::columns::{Hop, TASK, WALK, load, path, untrusted};
use super::sweep::VISITED;
use crate::asm::{AluOp, Asm, Cond, FP, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, Reg, Size};
use crate::code::RelocKind;

/// Where on the stack the address of the notes is kept, and that of those to be tried.
const AREA: i16 = TASK;
const TRIED: i16 = WALK;
/// Threads that are tried between two ends of the loop.
const LANES: u32 = 8;
const LANES_BYTES: i32 = (LANES * NOTE_BYTES).cast_signed();

const THREAD_NODE: Hop = ("task_struct", &["thread_node"]);
const THREAD_BEFORE: Hop = ("task_struct", &["thread_node", "prev"]);
const PROCESS_NODE: Hop = ("task_struct", &["tasks"]);
const THREAD_HEAD: Hop = ("signal_struct", &["thread_head"]);
const CHANGES: Hop = ("signal_struct", &["stats_lock", "seqcount", "seqcount", "sequence"]);
const BORN_AT: Hop = ("task_struct", &["start_boottime"]);

/// What is done at each thread, which is in `r6` without the verifier's trust. May use all
/// registers.
pub(super) trait Rows {
    /// Whether [`Rows::try_one`] does anything.
    fn can_try(&self) -> bool;

    /// Goes to `passed` if the row says nothing of this thread, or to `found` if it may.
    fn try_one(&mut self, asm: &mut Asm, passed: Label, found: Label);

    /// The row.
    fn row(&mut self, asm: &mut Asm);
}

/// The places of a walk's code.
struct Walk<'a> {
    lists: &'a Lists,
    /// Whether noted threads are looked at ahead. Where little is read of each, and little done
    /// between two, that is in vain: the CPU sees several of them at a time.
    looks_at_noted: bool,
    again: Label,
    one: Label,
    more: Label,
    into: Label,
    next_process: Label,
    run: Label,
    end: Label,
}

/// Calls `rows` for each thread but the idle task, which is in `r0`; `stats` says how many there
/// were. Loses all registers.
pub(super) fn walk(asm: &mut Asm, lists: &Lists, stats: u32, rows: &mut dyn Rows) {
    let none = asm.label();
    asm.mov(R8, R0);
    ahead::look_up(asm, &lists.map, TRIED, none);
    asm.store(Size::Dw, FP, AREA, R0);
    asm.mov(R7, R0);
    let walk = Walk {
        lists,
        looks_at_noted: lists.looks_behind || !rows.can_try(),
        again: asm.label(),
        one: asm.label(),
        more: asm.label(),
        into: asm.label(),
        next_process: asm.label(),
        run: asm.label(),
        end: asm.label(),
    };
    walk.start(asm);
    asm.bind(walk.again);
    asm.may_leave(walk.end);
    asm.load(Size::Dw, R7, FP, AREA);
    asm.load(Size::Dw, R1, R7, PLACE);
    asm.load(Size::Dw, R2, R7, LIMIT);
    asm.jump_if(Cond::Ge, R1, R2, walk.more);
    if rows.can_try() {
        walk.tries(asm, rows);
    }
    asm.bind(walk.one);
    walk.noted(asm);
    asm.bind(walk.more);
    walk.follow(asm);
    asm.bind(walk.next_process);
    walk.process(asm);
    asm.bind(walk.run);
    asm.mov(R1, R6);
    untrusted(asm, "task_struct");
    asm.mov(R6, R0);
    rows.row(asm);
    asm.jump(walk.again);
    asm.bind(walk.end);
    walk.finish(asm, stats);
    asm.bind(none);
}

impl Walk<'_> {
    /// From here on `r7` is the address of the notes, but where rows are.
    fn start(&self, asm: &mut Asm) {
        for word in [FIRST, PROCESS] {
            asm.store(Size::Dw, R7, word, R8);
        }
        for word in [PLACE, LIMIT, LINK, GROUPS, KEPT, COUNT, GAPS, NEXT] {
            asm.store_imm(Size::Dw, R7, word, 0);
        }
        // No step is before those that the first batches are for.
        for (function, notes) in self.lists.looks() {
            asm.load_imm(R1, -i64::from(notes.batch * NOTE_BYTES));
            asm.call_subprog(function);
        }
    }

    /// Tries some noted threads; their place is in `r1`, the end of what may be looked at in
    /// `r2`. With fewer of them falls through to one, as where one is found.
    fn tries(&self, asm: &mut Asm, rows: &mut dyn Rows) {
        let found = asm.label();
        asm.alu(AluOp::Sub, R2, R1);
        asm.jump_if_imm(Cond::Lt, R2, LANES_BYTES, self.one);
        if self.looks_at_noted {
            // In each batch some threads stand at its first places.
            let other = asm.label();
            asm.jump_if_imm(Cond::Set, R1, within(BATCH) & !(LANES_BYTES - 1), other);
            asm.call_subprog(&self.lists.ahead);
            asm.load(Size::Dw, R1, R7, PLACE);
            asm.bind(other);
        }
        note_of(asm, R7, R1, TASKS);
        asm.store(Size::Dw, FP, TRIED, R7);
        let mut lanes = Vec::new();
        for lane in 0..LANES {
            let (passed, stop) = (asm.label(), asm.label());
            asm.load(Size::Dw, R7, FP, TRIED);
            asm.load(Size::Dw, R1, R7, NOTES + (lane * NOTE_BYTES) as i16);
            untrusted(asm, "task_struct");
            asm.mov(R6, R0);
            rows.try_one(asm, passed, stop);
            asm.bind(passed);
            lanes.push(stop);
        }
        asm.load(Size::Dw, R7, FP, AREA);
        asm.load(Size::Dw, R1, R7, PLACE);
        asm.alu_imm(AluOp::Add, R1, LANES_BYTES);
        asm.store(Size::Dw, R7, PLACE, R1);
        asm.jump(self.again);
        for (lane, stop) in (0..).zip(lanes) {
            asm.bind(stop);
            asm.load_imm(R1, lane * i64::from(NOTE_BYTES));
            asm.jump(found);
        }
        asm.bind(found);
        asm.load(Size::Dw, R7, FP, AREA);
        asm.load(Size::Dw, R2, R7, PLACE);
        asm.alu(AluOp::Add, R1, R2);
        asm.store(Size::Dw, R7, PLACE, R1);
    }

    /// Goes on to the noted thread at the place in `r1`.
    fn noted(&self, asm: &mut Asm) {
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Add, R2, NOTE_BYTES.cast_signed());
        asm.store(Size::Dw, R7, PLACE, R2);
        if self.looks_at_noted {
            let other = asm.label();
            asm.mov(R8, R1);
            asm.jump_if_imm(Cond::Set, R1, within(BATCH), other);
            asm.call_subprog(&self.lists.ahead);
            asm.bind(other);
            asm.mov(R1, R8);
        }
        asm.mov(R2, R7);
        note_of(asm, R2, R1, TASKS);
        asm.load(Size::Dw, R6, R2, NOTES);
        asm.jump(self.run);
    }

    /// Goes on to the thread behind that whose link is next, or, at the end of the list, keeps what
    /// has been noted of its process and falls through.
    fn follow(&self, asm: &mut Asm) {
        let ended = asm.label();
        asm.load(Size::Dw, R1, R7, LINK);
        asm.jump_if_imm(Cond::Eq, R1, 0, self.next_process);
        untrusted(asm, "task_struct");
        load(asm, R1, R0, THREADS);
        asm.load(Size::Dw, R2, R7, END);
        asm.jump_if(Cond::Eq, R1, R2, ended);
        around(asm, R1, THREAD_NODE);
        asm.bind(self.into);
        self.note(asm);
        asm.bind(ended);
        self.keep(asm);
    }

    /// Notes the thread in `r1` and goes on to it.
    fn note(&self, asm: &mut Asm) {
        let room = asm.label();
        asm.mov(R6, R1);
        asm.store(Size::Dw, R7, LINK, R6);
        asm.load(Size::Dw, R2, R7, COUNT);
        asm.alu_imm(AluOp::Add, R2, 1);
        asm.store(Size::Dw, R7, COUNT, R2);
        asm.load(Size::Dw, R1, R7, PLACE);
        asm.jump_if_imm(Cond::Le, R1, LAST_PLACE, room);
        asm.load_imm(R1, LAST_PLACE.into());
        asm.bind(room);
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Add, R2, NOTE_BYTES.cast_signed());
        asm.store(Size::Dw, R7, PLACE, R2);
        asm.store(Size::Dw, R7, LIMIT, R2);
        asm.mov(R2, R7);
        note_of(asm, R2, R1, TASKS);
        asm.store(Size::Dw, R2, NOTES, R6);
        asm.jump_if_imm(Cond::Set, R1, within(BATCH), self.run);
        asm.call_subprog(&self.lists.ahead);
        asm.jump(self.run);
    }

    /// Keeps where the process's threads are noted, if they are many and all are.
    fn keep(&self, asm: &mut Asm) {
        asm.load(Size::Dw, R1, R7, PLACE);
        asm.load(Size::Dw, R2, R7, START);
        asm.mov(R3, R1);
        asm.alu(AluOp::Sub, R3, R2);
        asm.jump_if_imm(Cond::Lt, R3, (THREADS_MIN * NOTE_BYTES).cast_signed(), self.next_process);
        asm.jump_if_imm(Cond::Gt, R1, LAST_PLACE, self.next_process);
        asm.load(Size::Dw, R4, R7, SEQUENCE);
        // A thread was just being taken out.
        asm.jump_if_imm(Cond::Set, R4, 1, self.next_process);
        asm.load(Size::Dw, R5, R7, KEPT);
        asm.jump_if_imm(Cond::Gt, R5, (ENTRIES - 1) * ENTRY_BYTES, self.next_process);
        asm.mov(R3, R5);
        asm.alu_imm(AluOp::Add, R3, ENTRY_BYTES);
        asm.store(Size::Dw, R7, KEPT, R3);
        asm.alu(AluOp::Add, R5, R7);
        for (register, word) in [(R1, Entry::LIMIT), (R2, Entry::START), (R4, Entry::SEQUENCE)] {
            asm.store(Size::Dw, R5, word, register);
        }
        for (from, to) in [(END, Entry::END), (BORN, Entry::BORN)] {
            asm.load(Size::Dw, R1, R7, from);
            asm.store(Size::Dw, R5, to, R1);
        }
    }

    /// Goes on to the next process, to its only thread, to those that are noted or to the
    /// first in its list; behind the last one to the end.
    fn process(&self, asm: &mut Asm) {
        let (several, fresh) = (asm.label(), asm.label());
        self.next(asm);
        asm.mov(R1, R6);
        untrusted(asm, "task_struct");
        load(asm, R1, R0, THREADS);
        load(asm, R2, R0, THREAD_BEFORE);
        asm.jump_if(Cond::Ne, R1, R2, several);
        asm.store_imm(Size::Dw, R7, LINK, 0);
        asm.load(Size::Dw, R1, R7, COUNT);
        asm.alu_imm(AluOp::Add, R1, 1);
        asm.store(Size::Dw, R7, COUNT, R1);
        asm.jump(self.run);

        asm.bind(several);
        load(asm, R1, R0, SIGNAL);
        load(asm, R5, R1, CHANGES);
        // An exchange, so that the list is read after it on every machine.
        asm.mov(R2, R5);
        asm.atomic_xchg(R7, SEQUENCE, R2);
        load(asm, R4, R0, BORN_AT);
        asm.store(Size::Dw, R7, BORN, R4);
        asm.add_field_offset(R1, path(THREAD_HEAD));
        asm.store(Size::Dw, R7, END, R1);
        asm.load(Size::Dw, R3, R7, PLACE);
        asm.store(Size::Dw, R7, START, R3);
        // The list of processes keeps its order, so that what is kept comes up in the same.
        asm.load(Size::Dw, R8, R7, GROUPS);
        asm.jump_if_imm(Cond::Gt, R8, (ENTRIES - 1) * ENTRY_BYTES, fresh);
        asm.mov(R2, R8);
        asm.alu(AluOp::Add, R8, R7);
        asm.load(Size::Dw, R0, R8, Entry::END);
        asm.jump_if(Cond::Ne, R0, R1, fresh);
        asm.alu_imm(AluOp::Add, R2, ENTRY_BYTES);
        asm.store(Size::Dw, R7, GROUPS, R2);
        for (word, now) in [(Entry::SEQUENCE, R5), (Entry::BORN, R4)] {
            asm.load(Size::Dw, R0, R8, word);
            asm.jump_if(Cond::Ne, R0, now, fresh);
        }
        // What stands before the present place has been written over.
        asm.load(Size::Dw, R2, R8, Entry::START);
        asm.jump_if(Cond::Lt, R2, R3, fresh);
        asm.load(Size::Dw, R5, R8, Entry::LIMIT);
        asm.store(Size::Dw, R7, START, R2);
        asm.store(Size::Dw, R7, PLACE, R2);
        asm.store(Size::Dw, R7, LIMIT, R5);
        asm.load(Size::Dw, R1, R7, GAPS);
        asm.alu(AluOp::Add, R1, R2);
        asm.alu(AluOp::Sub, R1, R3);
        asm.store(Size::Dw, R7, GAPS, R1);
        asm.mov(R1, R5);
        asm.alu(AluOp::Sub, R1, R2);
        asm.alu_imm(AluOp::Rsh, R1, NOTE_BYTES.ilog2().cast_signed());
        asm.load(Size::Dw, R2, R7, COUNT);
        asm.alu(AluOp::Add, R2, R1);
        asm.store(Size::Dw, R7, COUNT, R2);
        asm.alu_imm(AluOp::Sub, R5, NOTE_BYTES.cast_signed());
        asm.mov(R2, R7);
        note_of(asm, R2, R5, TASKS);
        asm.load(Size::Dw, R1, R2, NOTES);
        asm.store(Size::Dw, R7, LINK, R1);
        asm.jump(self.again);

        asm.bind(fresh);
        asm.mov(R1, R6);
        asm.jump(self.into);
    }

    /// `r6 =` the next process, which is noted, or goes to the end. Loses `r0` to `r5`.
    fn next(&self, asm: &mut Asm) {
        let other = asm.label();
        asm.load(Size::Dw, R1, R7, PROCESS);
        untrusted(asm, "task_struct");
        load(asm, R1, R0, PROCESSES);
        around(asm, R1, PROCESS_NODE);
        asm.load(Size::Dw, R2, R7, FIRST);
        asm.jump_if(Cond::Eq, R1, R2, self.end);
        asm.store(Size::Dw, R7, PROCESS, R1);
        asm.mov(R6, R1);
        asm.load(Size::Dw, R1, R7, NEXT);
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Add, R2, NOTE_BYTES.cast_signed());
        asm.store(Size::Dw, R7, NEXT, R2);
        asm.mov(R2, R7);
        asm.alu_imm(AluOp::Add, R2, PROCESS_NOTES);
        asm.mov(R3, R1);
        note_of(asm, R2, R3, PROCESSES_NOTED.tasks);
        asm.store(Size::Dw, R2, 0, R6);
        asm.jump_if_imm(Cond::Set, R1, within(PROCESSES_NOTED.batch), other);
        asm.call_subprog(&self.lists.processes);
        asm.bind(other);
    }

    /// Ends what is kept behind the last entry, and says how many threads there were. Where
    /// processes that have gone left too much room between the notes, nothing is kept, so that the
    /// next walk notes all anew.
    fn finish(&self, asm: &mut Asm, stats: u32) {
        let (some, full) = (asm.label(), asm.label());
        asm.load(Size::Dw, R7, FP, AREA);
        asm.load(Size::Dw, R1, R7, KEPT);
        asm.load(Size::Dw, R2, R7, GAPS);
        asm.jump_if_imm(Cond::Le, R2, GAPS_BYTES_MAX, some);
        asm.load_imm(R1, 0);
        asm.bind(some);
        asm.jump_if_imm(Cond::Gt, R1, (ENTRIES - 1) * ENTRY_BYTES, full);
        asm.alu(AluOp::Add, R1, R7);
        asm.store_imm(Size::Dw, R1, Entry::END, 0);
        asm.bind(full);
        asm.load(Size::Dw, R1, R7, COUNT);
        asm.load_data(R2, ".bss", stats);
        asm.store(Size::Dw, R2, VISITED, R1);
    }
}

/// `node = ` the task around this node of a list in it. Loses `r0`.
fn around(asm: &mut Asm, node: Reg, member: Hop) {
    asm.load_core(R0, RelocKind::FieldOffset(path(member)));
    asm.alu(AluOp::Sub, node, R0);
}
