//! A walk over tasks that does not wait for each of them in turn.
//!
//! The kernel links its tasks in lists, and where one stands is known only when the one before
//! has come from memory: a walk that finds them in no cache takes as long as that many fetches one
//! after the other. The order is much the same from one sweep to the next. So each sweep notes the
//! addresses, and at every [`BATCH`]th task a function looks at as many of those to come, where the
//! sweep before found them: at what the walk and the filter's columns read of each. These fetches
//! do not depend on each other and run side by side. What is found through a pointer is looked at a
//! batch later, when the pointer has come; the filter's state, through two of them, after another.
//!
//! That is for filters that sweep by themselves. Whoever asks for sweeps asks for one, or for one
//! after another, when most is in the caches: there, and in walks within a sweep, each step looks at
//! the links of one task, which takes the kernel's verifier no time and stands in nobody's way.
//!
//! **Invariant**: what was noted is a guess and nothing but a hint. It is only looked at, through
//! pointers that may be stale without harm, and what is found there is used for nothing but to look
//! on from there in the same way.

use super::columns::{Hop, load, untrusted};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, R9, Reg, Size,
};
use crate::object::{DataType, Scratch, Subprogram};
use crate::target::bpf::helper::{self, stack_address};

/// Where the notes stand in `.bss` of each object: all of its filters share them.
pub(super) const BASE: u32 = 0;
/// Tasks that are noted; those beyond go where the first ones were, and are walked as ever.
pub(super) const TASKS: u32 = 1 << 14;
/// Tasks that are looked at side by side: enough to wait for memory seldom, and few enough for
/// what was fetched to be still there when the walk comes.
pub(super) const BATCH: u32 = 32;
/// Words before any notes: which place is next, in bytes, and whose signals were looked at last.
pub(super) const PLACE: i16 = 0;
const LAST: i16 = 8;
/// Where the notes in `.bss` begin.
const NOTES: i16 = 16;
/// How many places ahead a step looks that looks at one task.
const BESIDE: i16 = 16;
/// How many batches ahead the farthest look is.
const STAGES_MAX: u32 = 3;
const WORDS: u32 = NOTES as u32 / 8 + room(TASKS, BATCH);
/// Bytes of `.bss` that the notes take.
pub const BYTES: u32 = WORDS * 8;
/// Tasks that are looked at between two ends of the loop where each takes little else.
const UNROLLED: u32 = 8;
/// Bytes of a note.
pub(super) const NOTE_BYTES: u32 = 8;
/// Bytes that come from memory together.
const LINE_BYTES: u32 = 64;
/// Where on its stack a function that looks at notes in a map keeps the address of their block,
/// and the key for that.
const BLOCK: i16 = -8;
const KEY: i16 = -16;

/// How many words so many notes take, with what is looked at beyond them.
pub(super) const fn room(tasks: u32, batch: u32) -> u32 {
    tasks + batch * (1 + STAGES_MAX)
}

/// Notes of a walk, in a block with [`PLACE`] and another word before them.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    /// The map that holds the block in its only value; without one it is in `.bss`.
    pub(super) map: Option<String>,
    /// Where there.
    pub(super) block: u32,
    /// Where in the block the notes begin.
    pub(super) first: i16,
    /// How many there are: a power of two.
    pub(super) tasks: u32,
    /// How many are looked at side by side: a power of two.
    pub(super) batch: u32,
}

impl Notes {
    /// Those in `.bss`.
    pub(super) const fn in_bss() -> Self {
        Self { map: None, block: BASE, first: NOTES, tasks: TASKS, batch: BATCH }
    }

    /// `dst =` the address of the block, in a function that has [found](Self::find) it.
    fn load_block(&self, asm: &mut Asm, dst: Reg) {
        match self.map {
            None => asm.load_data(dst, ".bss", self.block),
            Some(_) => asm.load(Size::Dw, dst, FP, BLOCK),
        }
    }

    /// Finds the block, or goes to `none`. Loses `r0` to `r5`.
    fn find(&self, asm: &mut Asm, none: Label) {
        if let Some(map) = &self.map {
            look_up(asm, map, KEY, none);
            asm.alu_imm(AluOp::Add, R0, self.block.cast_signed());
            asm.store(Size::Dw, FP, BLOCK, R0);
        }
    }
}

/// `r0 =` the address of the only value of `map`, or goes to `none`; `key` is where on the stack a
/// word is free. Loses `r0` to `r5`.
pub(super) fn look_up(asm: &mut Asm, map: &str, key: i16, none: Label) {
    asm.store_imm(Size::W, FP, key, 0);
    asm.load_map(R1, map);
    stack_address(asm, R2, key);
    asm.call_helper(helper::MAP_LOOKUP);
    asm.jump_if_imm(Cond::Eq, R0, 0, none);
}

/// Which list is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// That of processes.
    Processes,
    /// Those of the threads of each process.
    Threads,
}

/// What a walk and a filter's columns read of each task.
#[derive(Clone, Debug, Default)]
pub(super) struct Sights {
    /// Members of the task.
    pub(super) task: Vec<Hop>,
    /// The same, which are read of one task of each process.
    pub(super) process: Vec<Hop>,
    /// Pointers of the task, and members behind them.
    pub(super) behind: Vec<(Hop, Hop)>,
    /// The same, which are read of one task of each process.
    pub(super) behind_process: Vec<(Hop, Hop)>,
    /// The filter's state of each task.
    pub(super) state: Option<State>,
    /// The walk follows the kernel's [lists](super::lists) by itself.
    pub(super) follows_lists: bool,
}

/// A filter's state of each task.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The map that holds it.
    pub(super) map: String,
    /// Its size.
    pub(super) bytes: u32,
}

/// Where each list goes on: that of processes and that of the threads of each.
pub(super) const PROCESSES: Hop = ("task_struct", &["tasks", "next"]);
pub(super) const THREADS: Hop = ("task_struct", &["thread_node", "next"]);
pub(super) const SIGNAL: Hop = ("task_struct", &["signal"]);
const STORAGE: Hop = ("task_struct", &["bpf_storage"]);
const CACHE: Hop = ("bpf_local_storage", &["cache", "0"]);

/// The variable of the notes.
pub fn variable() -> Scratch {
    Scratch { name: "tasks_ahead".to_owned(), offset: BASE, ty: DataType::words(WORDS) }
}

/// A walk begins. Loses `r1`.
pub(super) fn start(asm: &mut Asm) {
    asm.load_data(R1, ".bss", BASE);
    asm.store_imm(Size::Dw, R1, PLACE, 0);
}

/// The walk has come to the task in `task`, not one of `r1` to `r5`: notes it, and looks at the
/// links of one that is to come. Loses `r0` to `r5`.
pub(super) fn step(asm: &mut Asm, task: Reg, list: List) {
    note(asm, task);
    look_beside(asm, list);
}

/// The same, but looks at a batch of them whenever it is time.
pub(super) fn step_in_batches(asm: &mut Asm, task: Reg, function: &str) {
    let done = asm.label();
    note(asm, task);
    asm.jump_if_imm(Cond::Set, R1, within(BATCH), done);
    asm.call_subprog(function);
    asm.bind(done);
}

/// Looks at the links of one task, some places from the notes in `r2`.
fn look_beside(asm: &mut Asm, list: List) {
    asm.load(Size::Dw, R1, R2, NOTES + 8 * BESIDE);
    untrusted(asm, "task_struct");
    let links: &[Hop] = match list {
        List::Processes => &[PROCESSES],
        List::Threads => &[THREADS, SIGNAL],
    };
    for &hop in links {
        load(asm, R1, R0, hop);
    }
}

/// The bits of a place that say where in a block of `notes` it is.
pub(super) const fn within(notes: u32) -> i32 {
    ((notes - 1) * NOTE_BYTES).cast_signed()
}

/// Notes the task; `r1 =` its place, `r2 =` the notes from there on. Loses `r3`.
fn note(asm: &mut Asm, task: Reg) {
    asm.load_data(R2, ".bss", BASE);
    asm.load(Size::Dw, R1, R2, PLACE);
    asm.mov(R3, R1);
    asm.alu_imm(AluOp::Add, R3, NOTE_BYTES.cast_signed());
    asm.store(Size::Dw, R2, PLACE, R3);
    note_of(asm, R2, R1, TASKS);
    asm.store(Size::Dw, R2, NOTES, task);
}

/// Moves `base`, the notes of so many `tasks`, to the place in `place`.
pub(super) fn note_of(asm: &mut Asm, base: Reg, place: Reg, tasks: u32) {
    asm.alu_imm(AluOp::And, place, within(tasks));
    asm.alu(AluOp::Add, base, place);
}

/// `u64 ahead(place)`: looks at a batch of the noted tasks to come behind that place, which is the
/// first of a batch, or at the rest of that batch.
pub(super) fn subprogram(
    name: String,
    notes: &Notes,
    sights: &Sights,
) -> Result<Subprogram, JumpTooFar> {
    let stages = sights.stages();
    let unrolled = if stages == 1 { UNROLLED } else { 1 };
    let mut asm = Asm::new();
    let (next, end) = (asm.label(), asm.label());
    asm.mov(R7, R1);
    notes.find(&mut asm, end);
    if let Some(state) = &sights.state {
        // Which entry of each task's cache is the filter's.
        asm.load_map(R1, &state.map);
        untrusted(&mut asm, "bpf_local_storage_map");
        load(&mut asm, R8, R0, ("bpf_local_storage_map", &["cache_idx"]));
        asm.alu_imm(AluOp::Lsh, R8, 3);
    }
    asm.bind(next);
    // To the kernel's verifier the place is any number, so that it follows one round, not all.
    asm.may_leave(end);
    notes.load_block(&mut asm, R6);
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Add, R1, (notes.batch * NOTE_BYTES).cast_signed());
    note_of(&mut asm, R6, R1, notes.tasks);
    for task in 0..unrolled {
        for stage in 0..stages {
            let place = task + notes.batch * (stages - 1 - stage);
            asm.load(Size::Dw, R1, R6, notes.first + 8 * place as i16);
            if task == 0 && stage == 0 {
                // The first sweep has nothing to go by.
                asm.jump_if_imm(Cond::Eq, R1, 0, end);
            }
            untrusted(&mut asm, "task_struct");
            match stage {
                0 => look_at(&mut asm, sights),
                1 => look_behind(&mut asm, notes, sights),
                _ => look_at_state(&mut asm, sights),
            }
        }
    }
    asm.alu_imm(AluOp::Add, R7, (unrolled * NOTE_BYTES).cast_signed());
    asm.jump_if_imm(Cond::Set, R7, within(notes.batch), next);
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name, code: asm.finish()? })
}

impl Sights {
    /// One more than the pointers on the longest way to what is looked at.
    pub(super) fn stages(&self) -> u32 {
        let nothing_behind =
            self.process.is_empty() && self.behind.is_empty() && self.behind_process.is_empty();
        match self.state {
            Some(_) => STAGES_MAX,
            None if nothing_behind => 1,
            None => 2,
        }
    }
}

/// Looks at the task in `r0` itself.
fn look_at(asm: &mut Asm, sights: &Sights) {
    let mut all = sights.task.clone();
    if !sights.follows_lists {
        all.push(SIGNAL);
    }
    all.extend(sights.behind.iter().chain(&sights.behind_process).map(|(pointer, _)| pointer));
    all.extend(sights.state.as_ref().map(|_| STORAGE));
    for (index, &hop) in all.iter().enumerate() {
        if !all[..index].contains(&hop) {
            load(asm, R1, R0, hop);
        }
    }
}

/// Looks at what pointers of the task in `r0` lead to, and what is to be seen once a process.
fn look_behind(asm: &mut Asm, notes: &Notes, sights: &Sights) {
    look_through(asm, &sights.behind);
    if !sights.process.is_empty() || !sights.behind_process.is_empty() {
        let same = asm.label();
        load(asm, R1, R0, SIGNAL);
        notes.load_block(asm, R2);
        asm.load(Size::Dw, R3, R2, LAST);
        asm.jump_if(Cond::Eq, R1, R3, same);
        asm.store(Size::Dw, R2, LAST, R1);
        for &hop in &sights.process {
            load(asm, R1, R0, hop);
        }
        look_through(asm, &sights.behind_process);
        asm.bind(same);
    }
    if sights.state.is_some() {
        load_cache(asm);
        load(asm, R1, R0, CACHE);
    }
}

fn look_through(asm: &mut Asm, ways: &[(Hop, Hop)]) {
    let mut at = None;
    for &(pointer, member) in ways {
        if at != Some(pointer) {
            load(asm, R1, R0, pointer);
            at = Some(pointer);
        }
        load(asm, R2, R1, member);
    }
}

/// `r0 =` the cache of the storage of the task in `r0`, as if the filter's entry were its first.
fn load_cache(asm: &mut Asm) {
    load(asm, R1, R0, STORAGE);
    asm.alu(AluOp::Add, R1, R8);
    untrusted(asm, "bpf_local_storage");
}

/// Looks at the filter's state of the task in `r0`.
fn look_at_state(asm: &mut Asm, sights: &Sights) {
    // A pointer stands before it.
    let bytes = sights.state.as_ref().map_or(0, |state| 8 + state.bytes);
    load_cache(asm);
    load(asm, R9, R0, CACHE);
    for line in 0..bytes.div_ceil(LINE_BYTES) {
        asm.mov(R1, R9);
        asm.alu_imm(AluOp::Add, R1, (line * LINE_BYTES).cast_signed());
        untrusted(asm, "bpf_local_storage_data");
        load(asm, R1, R0, ("bpf_local_storage_data", &["smap"]));
    }
}
