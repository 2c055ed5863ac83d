//! What memory shared locks lie in and who maps it, where no program can walk mappings itself.
//!
//! 1. `locks` chains the candidates of one memory whose locks say that processes share them.
//! 2. `places` goes over all mappings and gives each of those locks its inode; a lock in memory
//!    that is the process's own is not shared, whatever its flags say.
//! 3. `mappers` goes over them once more and keeps which memory maps which of those inodes.
//! 4. `holders` then asks of each thread with a wanted number whether its memory does.
//!
//! In the map of nodes a memory or an inode with the number 0, which no thread has, stands for
//! itself: the head of its chain, or that somebody asks for it.
//!
//! The kernel goes over the threads of the reader's pid namespace only: from within a container
//! an owner that is not seen is not known to be gone.
//!
//! **Invariant**: as in [`sharers`]; a lock that was found in no mapping is unknown.

use super::super::{CONTEXT, Columns, Moment, field, group};
use super::candidate as at;
use super::cycles::{current, follow};
use super::graph::{enter, for_each, subprogram};
use super::{
    CANDIDATES_MAX, CURRENT, DEPTH, KEY_BYTES, LOST, NO_PREALLOC, SHARED_LOCKS, SUBJECT, add,
    block, ends, find_node, node, sharers,
};
use crate::asm::{Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Size};
use crate::object::{DataType, Map, MapKind, Subprogram};
use crate::target::bpf::helper::{
    CURRENT_TASK, FOR_EACH_MAP_ELEM, MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, increment, stack_address,
};

const KEY: i16 = -KEY_BYTES;
const NODE: i16 = KEY - node::BYTES;
const SPACE: field::Hop = ("task_struct", &["mm"]);

/// Memories and the inodes that they map.
pub(super) fn map(filter: &str) -> Map {
    Map {
        name: format!("spaces_{filter}"),
        kind: MapKind::Hash,
        flags: NO_PREALLOC,
        max_entries: 4 * CANDIDATES_MAX,
        key: Some(DataType::words(2)),
        value: Some(DataType::U64),
    }
}

/// The functions of these passes.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    Ok(vec![
        chain(columns)?,
        mapping(columns)?,
        place(columns)?,
        mapper(columns)?,
        forget_mappers(columns)?,
        seek(columns)?,
        matches(columns)?,
    ])
}

/// Has the candidate in `r6`, whose number is in `r7`, chained if its lock is shared.
pub(super) fn note(columns: &Columns, asm: &mut Asm) {
    asm.mov(R1, R7);
    asm.call_subprog(&columns.function("chain"));
}

/// Takes the chain and the inode of the candidate in `r6` away.
pub(super) fn forget(columns: &Columns, asm: &mut Asm, key: i16) {
    for word in [at::SPACE, at::OBJECT] {
        asm.load(Size::Dw, R1, R6, word);
        asm.store(Size::Dw, FP, key, R1);
        asm.store_imm(Size::Dw, FP, key + 8, 0);
        asm.load_map(R1, &columns.symbol("owners"));
        stack_address(asm, R2, key);
        asm.call_helper(MAP_DELETE);
    }
}

/// Goes to `nowhere` if the lock of the candidate in `r6` is shared and its place not known.
pub(super) fn skip_nowhere(asm: &mut Asm, nowhere: Label) {
    let somewhere = asm.label();
    asm.load(Size::Dw, R1, R6, at::SHARED);
    asm.jump_if_imm(Cond::Eq, R1, 0, somewhere);
    asm.load(Size::Dw, R1, R6, at::OBJECT);
    asm.jump_if_imm(Cond::Eq, R1, 0, nowhere);
    asm.bind(somewhere);
}

/// Goes to `unknown` if not all who map a shared lock could be kept. Loses `r1`.
pub(super) fn only_if_nobody_was_lost(columns: &Columns, asm: &mut Asm, unknown: Label) {
    block(columns, asm, R1);
    asm.load(Size::Dw, R1, R1, group::result(LOST));
    asm.jump_if_imm(Cond::Ne, R1, 0, unknown);
}

/// Goes to `unknown` if the passes do not go over all threads of the machine. Loses `r1`.
pub(super) fn only_if_all_were_seen(columns: &Columns, asm: &mut Asm, unknown: Label) {
    block(columns, asm, R1);
    asm.load(Size::Dw, R1, R1, group::result(DEPTH));
    asm.jump_if_imm(Cond::Ne, R1, 0, unknown);
}

/// Notes how deep the reader's pid namespace is.
fn note_depth(columns: &Columns, asm: &mut Asm) {
    let nowhere = asm.label();
    asm.call_helper(CURRENT_TASK);
    field::load(asm, R2, R0, ("task_struct", &["thread_pid"]));
    asm.jump_if_imm(Cond::Eq, R2, 0, nowhere);
    field::load(asm, R2, R2, ("pid", &["level"]));
    block(columns, asm, R1);
    asm.store(Size::Dw, R1, group::result(DEPTH), R2);
    asm.bind(nowhere);
}

/// Puts a node with this candidate's number, in `r9`, at (`r1`, 0). `r0` is 0 when it is there.
fn put(columns: &Columns, asm: &mut Asm) {
    asm.store(Size::Dw, FP, KEY, R1);
    asm.store_imm(Size::Dw, FP, KEY + 8, 0);
    asm.store(Size::Dw, FP, NODE + node::CANDIDATE, R9);
    for word in [node::TID, node::SPACE, node::START] {
        asm.store_imm(Size::Dw, FP, NODE + word, 0);
    }
    asm.load_map(R1, &columns.symbol("owners"));
    stack_address(asm, R2, KEY);
    stack_address(asm, R3, NODE);
    asm.load_imm(R4, 0);
    asm.call_helper(MAP_UPDATE);
}

/// `u64 chain(candidate)`: puts it before the others of its memory.
fn chain(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (stop, first, go_on) = (asm.label(), asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    asm.load(Size::Dw, R1, R6, at::SPACE);
    asm.store(Size::Dw, FP, KEY, R1);
    asm.store_imm(Size::Dw, FP, KEY + 8, 0);
    find_node(columns, &mut asm, KEY, first);
    asm.load(Size::Dw, R1, R0, node::CANDIDATE);
    asm.store(Size::Dw, R6, at::PEER, R1);
    asm.bind(first);
    asm.mov(R9, R7);
    increment(&mut asm, R9);
    asm.load(Size::Dw, R1, R6, at::SPACE);
    put(columns, &mut asm);
    block(columns, &mut asm, R7);
    add(&mut asm, R7, group::result(SHARED_LOCKS), 1, R1);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "chain", asm)
}

/// Where the mapping is in the context (`bpf_iter__task_vma`).
const CALL_MAPPING: i16 = 16;

/// The pass that finds the places.
pub(super) fn places(columns: &Columns, asm: &mut Asm, moment: Moment) {
    match moment {
        Moment::Begin => note_depth(columns, asm),
        Moment::Row => call(columns, asm, "mapping"),
        Moment::End => {
            block(columns, asm, R7);
            for_each(columns, asm, "want");
        }
    }
}

/// The pass that finds who maps them.
pub(super) fn mappers(columns: &Columns, asm: &mut Asm, moment: Moment) {
    match moment {
        Moment::Begin => {
            asm.load_map(R1, &columns.symbol("spaces"));
            asm.load_subprog(R2, &columns.function("forget_mappers"));
            asm.load_imm(R3, 0);
            asm.load_imm(R4, 0);
            asm.call_helper(FOR_EACH_MAP_ELEM);
        }
        Moment::Row => call(columns, asm, "mapper"),
        Moment::End => (),
    }
}

/// Calls a function with the row's task and mapping.
fn call(columns: &Columns, asm: &mut Asm, function: &str) {
    let end = asm.label();
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.load(Size::Dw, R2, R1, CALL_MAPPING);
    asm.jump_if_imm(Cond::Eq, R2, 0, end);
    asm.mov(R1, R6);
    asm.call_subprog(&columns.function(function));
    asm.bind(end);
}

/// `u64 mapping(task, mapping)`: tells the chain of the task's memory of a mapping.
fn mapping(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let [start, end_of, inode] = SUBJECT;
    let mut asm = Asm::new();
    let (end, private) = (asm.label(), asm.label());
    asm.mov(R6, R2);
    field::load(&mut asm, R1, R1, SPACE);
    asm.store(Size::Dw, FP, KEY, R1);
    asm.store_imm(Size::Dw, FP, KEY + 8, 0);
    find_node(columns, &mut asm, KEY, end);
    block(columns, &mut asm, R8);
    asm.load(Size::Dw, R1, R0, node::CANDIDATE);
    asm.store(Size::Dw, R8, group::result(CURRENT), R1);
    const BOUNDS: [field::Hop; 2] =
        [("vm_area_struct", &["vm_start"]), ("vm_area_struct", &["vm_end"])];
    for (word, hop) in [start, end_of].into_iter().zip(BOUNDS) {
        field::load(&mut asm, R1, R6, hop);
        asm.store(Size::Dw, R8, group::result(word), R1);
    }
    asm.store_imm(Size::Dw, R8, group::result(inode), 0);
    asm.mov(R0, R6);
    sharers::shared_inode(&mut asm, R1, private);
    asm.store(Size::Dw, R8, group::result(inode), R1);
    asm.bind(private);
    follow(columns, &mut asm, "place");
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "mapping", asm)
}

/// `u64 place()`: gives the current candidate its place if it lies in the mapping at hand.
fn place(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let [start, end_of, inode] = SUBJECT;
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    let (elsewhere, private) = (asm.label(), asm.label());
    current(columns, &mut asm, stop);
    asm.load(Size::Dw, R1, R6, at::LOCK);
    for (bound, cond) in [(start, Cond::Lt), (end_of, Cond::Ge)] {
        asm.load(Size::Dw, R2, R7, group::result(bound));
        asm.jump_if(cond, R1, R2, elsewhere);
    }
    asm.load(Size::Dw, R1, R7, group::result(inode));
    asm.store(Size::Dw, R6, at::OBJECT, R1);
    asm.jump_if_imm(Cond::Eq, R1, 0, private);
    asm.load_imm(R9, 0);
    put(columns, &mut asm);
    asm.jump(elsewhere);
    asm.bind(private);
    asm.store_imm(Size::Dw, R6, at::SHARED, 0);
    asm.bind(elsewhere);
    asm.load(Size::Dw, R1, R6, at::PEER);
    asm.jump_if_imm(Cond::Eq, R1, 0, stop);
    asm.store(Size::Dw, R7, group::result(CURRENT), R1);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "place", asm)
}

/// `u64 mapper(task, mapping)`: keeps that the task's memory maps an inode that is asked for.
fn mapper(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    const VALUE: i16 = KEY - 8;
    let mut asm = Asm::new();
    let end = asm.label();
    field::load(&mut asm, R6, R1, SPACE);
    asm.mov(R0, R2);
    sharers::shared_inode(&mut asm, R7, end);
    asm.store(Size::Dw, FP, KEY, R7);
    asm.store_imm(Size::Dw, FP, KEY + 8, 0);
    find_node(columns, &mut asm, KEY, end);
    asm.store(Size::Dw, FP, KEY, R6);
    asm.store(Size::Dw, FP, KEY + 8, R7);
    asm.store_imm(Size::Dw, FP, VALUE, 1);
    asm.load_map(R1, &columns.symbol("spaces"));
    stack_address(&mut asm, R2, KEY);
    stack_address(&mut asm, R3, VALUE);
    asm.load_imm(R4, 0);
    asm.call_helper(MAP_UPDATE);
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    block(columns, &mut asm, R1);
    asm.store_imm(Size::Dw, R1, group::result(LOST), 1);
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "mapper", asm)
}

/// `u64 forget_mappers(map, key)`: forgets what was kept in the sweep before.
fn forget_mappers(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    asm.load_map(R1, &columns.symbol("spaces"));
    asm.call_helper(MAP_DELETE);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "forget_mappers", asm)
}

/// `u64 sharer(task, id, tid)`: as where programs walk.
fn seek(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let [id, tid, space] = SUBJECT;
    let mut asm = Asm::new();
    block(columns, &mut asm, R7);
    field::load(&mut asm, R1, R1, SPACE);
    for (word, register) in [(id, R2), (tid, R3), (space, R1)] {
        asm.store(Size::Dw, R7, group::result(word), register);
    }
    for_each(columns, &mut asm, "match");
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "sharer", asm)
}

/// `u64 match(candidate)`: whether the thread at hand may be the owner that it asks for.
fn matches(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let [id, tid, space] = SUBJECT;
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    block(columns, &mut asm, R7);
    asm.load(Size::Dw, R9, R7, group::result(id));
    asm.load(Size::Dw, R1, R6, at::OWNER);
    asm.jump_if(Cond::Ne, R1, R9, go_on);
    asm.load(Size::Dw, R8, R6, at::OBJECT);
    asm.jump_if_imm(Cond::Eq, R8, 0, go_on);
    asm.load(Size::Dw, R1, R7, group::result(space));
    asm.store(Size::Dw, FP, KEY, R1);
    asm.store(Size::Dw, FP, KEY + 8, R8);
    asm.load_map(R1, &columns.symbol("spaces"));
    stack_address(&mut asm, R2, KEY);
    asm.call_helper(MAP_LOOKUP);
    asm.jump_if_imm(Cond::Eq, R0, 0, go_on);
    asm.store(Size::Dw, FP, KEY, R8);
    asm.store(Size::Dw, FP, KEY + 8, R9);
    find_node(columns, &mut asm, KEY, go_on);
    asm.load(Size::Dw, R8, R7, group::result(tid));
    sharers::take_slot(&mut asm, go_on);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "match", asm)
}
