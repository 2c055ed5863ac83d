//! Whom threads wait for: the phase before a sweep that finds locks, owners and cycles.
//!
//! A thread in futex(2) shows by its saved registers which word it waits on; the lock around
//! that word, read from the thread's memory, names its owner. In order:
//!
//! 1. `collect` walks all threads and notes those whose registers look like a lock's wait.
//! 2. `lock` reads each lock, and refuses what is not one: the operation, the expected
//!    value, the lock word and the lock's kind all have to agree.
//! 3. `graph` finds the owners among the threads, `sharers` those of locks that processes
//!    share, in whatever pid namespace they are; `cycles` the cycles among the owners.
//! 4. Every member of a cycle, and every lock whose owner is gone, is looked at once more.
//!    Nobody ran in between and every edge is as it was, or nothing is reported: all edges
//!    then existed at one time.
//!
//! What is noted stands in an array map, one candidate an element, and in a hash map from
//! (pid namespace, thread id in it) to the element. User memory cannot be read under the
//! RCU lock, which is why the walk and the reading are apart.
//!
//! **Invariant**: a candidate's words are its own until the next sweep begins.

mod collect;
mod confirm;
mod cycles;
mod graph;
mod lock;
mod lock32;
mod passes;
mod places;
mod refused;
mod sharers;

pub(super) use self::passes::passes;

use std::mem::offset_of;

use kernel_vm::abi::SweepStats;
use kernel_vm::schema::EnumKind;

use super::Columns;
use super::field;
use super::group::{self, Group};
use super::object::value;
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, Reg, Size};
use crate::object::{DataType, Map, MapKind, Subprogram};
use crate::target::bpf::helper::{MAP_LOOKUP, increment, stack_address};

/// Threads that may wait for locks at one time. More are counted as dropped.
const CANDIDATES_MAX: u32 = 16_384;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;

// Words of the group's results: first the row's columns.
pub(super) const WAITS_ON: u32 = 0;
pub(super) const WAITS_FOR: u32 = 1;
pub(super) const CLASS: u32 = 2;
pub(super) const CYCLE_ID: u32 = 3;
pub(super) const CYCLE_LENGTH: u32 = 4;
const ROW_WORDS: u32 = 5;
/// Candidates of this sweep.
const COUNT: u32 = 5;
/// Threads that the walk has seen.
const THREADS: u32 = 6;
/// Owners in other pid namespaces that are to be looked for.
const WANTED: u32 = 7;
/// The candidate at which following the owners stands.
const CURRENT: u32 = 8;
/// The colour of this walk along the owners: the number of its first candidate, from 1.
const WALK: u32 = 9;
/// A candidate that the walk came back to, from 1.
const MET: u32 = 10;
/// Members and smallest thread id of the cycle that is being measured.
const LENGTH: u32 = 11;
const SMALLEST: u32 = 12;
/// Of passes: candidates whose lock says that processes share it, and whether somebody was lost
/// who maps such a lock.
const SHARED_LOCKS: u32 = 13;
const LOST: u32 = 14;
/// What a loop of a pass is about: the start, the end and the inode of a mapping, or a thread's
/// id as its namespace and as the host knows it, and its memory.
const SUBJECT: [u32; 3] = [15, 16, 17];
/// How deep the pid namespace is whose threads a pass goes over: the reader's.
const DEPTH: u32 = 18;
/// Words of results that the group needs.
pub(super) const WORDS: u32 = 19;

/// Offsets of a candidate's words.
mod candidate {
    pub(super) const TID: i16 = 0;
    pub(super) const START: i16 = 8;
    pub(super) const SWITCHES: i16 = 16;
    /// The futex word's address.
    pub(super) const FUTEX: i16 = 24;
    pub(super) const OPERATION: i16 = 32;
    /// The value that the word was expected to have.
    pub(super) const EXPECTED: i16 = 40;
    /// The pid namespace, the thread's id in it, and how deep it is.
    pub(super) const NAMESPACE: i16 = 48;
    pub(super) const INNER_TID: i16 = 56;
    pub(super) const LEVEL: i16 = 64;
    pub(super) const SPACE: i16 = 72;
    /// What the lock says: its address, its owner as the namespace numbers it, and
    /// whether processes share it.
    pub(super) const LOCK: i16 = 80;
    pub(super) const OWNER: i16 = 88;
    pub(super) const SHARED: i16 = 96;
    /// The owner's thread id, and its number among the candidates, from 1.
    pub(super) const OWNER_TID: i16 = 104;
    pub(super) const NEXT: i16 = 112;
    pub(super) const ABANDONED: i16 = 120;
    pub(super) const COLOUR: i16 = 128;
    /// A member of the cycle that stands for it, from 1; its `BROKEN` is the cycle's.
    pub(super) const CYCLE: i16 = 136;
    pub(super) const CYCLE_ID: i16 = 144;
    pub(super) const LENGTH: i16 = 152;
    pub(super) const BROKEN: i16 = 160;
    /// The thread waits for nothing that would come, and the registers that tell why.
    pub(super) const PARKED: i16 = 168;
    pub(super) const REGISTERS: [i16; 6] = [176, 184, 192, 200, 208, 216];
    pub(super) const STACK: i16 = 224;
    /// The thread made a system call of 32 bits.
    pub(super) const IS_32: i16 = 232;
    /// Of a lock that processes share: the inode that it lies in.
    pub(super) const OBJECT: i16 = 240;
    /// The second look has found all as it was; only classic programs ask.
    pub(super) const CONFIRMED: i16 = 248;
    /// Another one of this memory whose lock is shared, from 1; only in classic programs.
    pub(super) const PEER: i16 = 256;
    pub(super) const BYTES: i16 = 264;
}

/// Offsets of a node's words: the value of the hash map.
mod node {
    /// Number among the candidates, from 1; 0 for an owner that is only looked for.
    pub(super) const CANDIDATE: i16 = 0;
    pub(super) const TID: i16 = 8;
    pub(super) const SPACE: i16 = 16;
    pub(super) const START: i16 = 24;
    pub(super) const BYTES: i16 = 32;
}

/// Bytes of a node's key: the namespace, then the thread's id. Namespace 0 stands for ids
/// as the host counts them. An inode in the place of a namespace stands for all threads
/// that map it, and 1 for all threads: see [`sharers`].
const KEY_BYTES: i16 = 16;

/// The candidates and the nodes.
pub(super) fn maps(filter: &str) -> Vec<Map> {
    let words = |bytes: i16| DataType::words(u32::from(bytes.unsigned_abs()) / 8);
    vec![
        Map {
            name: format!("waiters_{filter}"),
            kind: MapKind::Array,
            flags: 0,
            max_entries: CANDIDATES_MAX,
            key: Some(DataType::U32),
            value: Some(words(candidate::BYTES)),
        },
        Map {
            name: format!("owners_{filter}"),
            kind: MapKind::Hash,
            flags: NO_PREALLOC,
            max_entries: 4 * CANDIDATES_MAX,
            key: Some(words(KEY_BYTES)),
            value: Some(words(node::BYTES)),
        },
        places::map(filter),
    ]
}

/// The group's functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    let mut all = vec![waits(columns)?, lock::subprogram(columns)?, lock32::subprogram(columns)?];
    all.extend(collect::subprograms(columns)?);
    all.extend(refused::subprograms(columns)?);
    all.extend(graph::subprograms(columns)?);
    all.extend(sharers::subprograms(columns)?);
    Ok(all)
}

/// Before the sweep: the whole phase.
pub(super) fn sweep_start(columns: &Columns, asm: &mut Asm) {
    asm.call_subprog(&columns.function("wait_graph"));
}

/// `dst =` one of the row's columns, once the group is there.
pub(super) fn column(columns: &Columns, asm: &mut Asm, dst: Reg, word: u32) {
    asm.load_data(R0, ".bss", columns.layout().group(Group::Waits));
    asm.load(Size::Dw, dst, R0, group::result(word));
}

/// Code that runs `body` for each thread that waits for a lock, with the task held and in
/// `r6`, and counts all threads as visited. `stack` is the offset of 24 bytes that are left
/// alone meanwhile.
pub(super) fn visit(columns: &Columns, asm: &mut Asm, stack: i16, body: impl FnOnce(&mut Asm)) {
    let (iterator, index, held) = (stack, stack + 8, stack + 16);
    let (next, end, release) = (asm.label(), asm.label(), asm.label());
    stack_address(asm, R1, iterator);
    block(columns, asm, R7);
    asm.load_imm(R2, 0);
    asm.load(Size::Dw, R3, R7, group::result(COUNT));
    asm.call_kfunc("bpf_iter_num_new");
    asm.bind(next);
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_num_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.load(Size::W, R7, R0, 0);
    asm.store(Size::W, FP, index, R7);
    candidate_at(columns, asm, index, next);
    asm.mov(R8, R0);
    asm.mov(R1, R7);
    increment(asm, R1);
    asm.call_subprog(&columns.function("waits"));
    block(columns, asm, R7);
    asm.load(Size::Dw, R1, R7, group::result(CLASS));
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    asm.load(Size::Dw, R1, R8, candidate::TID);
    asm.call_kfunc("bpf_task_from_pid");
    asm.jump_if_imm(Cond::Eq, R0, 0, next);
    asm.mov(R6, R0);
    asm.store(Size::Dw, FP, held, R6);
    field::load(asm, R1, R6, ("task_struct", &["start_boottime"]));
    asm.load(Size::Dw, R2, R8, candidate::START);
    asm.jump_if(Cond::Ne, R1, R2, release);
    body(asm);
    asm.bind(release);
    asm.load(Size::Dw, R1, FP, held);
    asm.call_kfunc("bpf_task_release");
    asm.jump(next);
    asm.bind(end);
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_num_destroy");
    // The walk has seen the idle task, which is no thread to anybody else.
    block(columns, asm, R7);
    asm.load(Size::Dw, R2, R7, group::result(THREADS));
    asm.alu_imm(AluOp::Sub, R2, 1);
    asm.load_data(R1, ".bss", columns.place.stats + offset_of!(SweepStats, visited) as u32);
    asm.store(Size::Dw, R1, 0, R2);
}

/// `u64 waits(task)`: fills the row's columns. For a sweep over those that wait alone it is
/// `u64 waits(candidate)`, with a number from 1.
fn waits(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    const KEY: i16 = -KEY_BYTES;
    let of = |name: &str| value(EnumKind::WaitClass, name);
    let mut asm = Asm::new();
    let none = asm.label();
    block(columns, &mut asm, R7);
    for word in 0..ROW_WORDS {
        asm.store_imm(Size::Dw, R7, group::result(word), 0);
    }
    asm.load(Size::Dw, R2, R7, group::result(COUNT));
    asm.jump_if_imm(Cond::Eq, R2, 0, none);
    if !columns.only_waiting {
        asm.mov(R6, R1);
        asm.store_imm(Size::Dw, FP, KEY, 0);
        field::load(&mut asm, R1, R6, ("task_struct", &["pid"]));
        asm.store(Size::Dw, FP, KEY + 8, R1);
        find_node(columns, &mut asm, KEY, none);
        asm.load(Size::Dw, R2, R0, node::START);
        field::load(&mut asm, R1, R6, ("task_struct", &["start_boottime"]));
        asm.jump_if(Cond::Ne, R1, R2, none);
        asm.load(Size::Dw, R1, R0, node::CANDIDATE);
    }
    candidate_before(columns, &mut asm, R1, none);
    asm.mov(R8, R0);
    asm.load(Size::Dw, R1, R8, candidate::OWNER);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    let (alive, own, classed) = (asm.label(), asm.label(), asm.label());
    // A parked thread says nothing but that the kernel refused to close a cycle.
    let told = asm.label();
    asm.load(Size::Dw, R1, R8, candidate::PARKED);
    asm.jump_if_imm(Cond::Eq, R1, 0, told);
    for member in [candidate::CYCLE, candidate::ABANDONED] {
        asm.load(Size::Dw, R1, R8, member);
        asm.jump_if_imm(Cond::Ne, R1, 0, told);
    }
    asm.jump(none);
    asm.bind(told);
    for (from, to) in [(candidate::LOCK, WAITS_ON), (candidate::OWNER_TID, WAITS_FOR)] {
        asm.load(Size::Dw, R1, R8, from);
        asm.store(Size::Dw, R7, group::result(to), R1);
    }
    asm.load_imm(R6, of("abandoned"));
    asm.load(Size::Dw, R1, R8, candidate::ABANDONED);
    asm.jump_if_imm(Cond::Eq, R1, 0, alive);
    asm.jump(classed);
    asm.bind(alive);
    asm.load_imm(R6, of("waiting"));
    asm.load(Size::Dw, R1, R8, candidate::CYCLE);
    asm.jump_if_imm(Cond::Eq, R1, 0, classed);
    candidate_before(columns, &mut asm, R1, classed);
    asm.load(Size::Dw, R1, R0, candidate::BROKEN);
    asm.jump_if_imm(Cond::Ne, R1, 0, classed);
    for (from, to) in [(candidate::CYCLE_ID, CYCLE_ID), (candidate::LENGTH, CYCLE_LENGTH)] {
        asm.load(Size::Dw, R1, R8, from);
        asm.store(Size::Dw, R7, group::result(to), R1);
    }
    asm.load_imm(R6, of("self"));
    asm.jump_if_imm(Cond::Eq, R1, 1, own);
    asm.load_imm(R6, of("cycle"));
    asm.bind(own);
    asm.bind(classed);
    asm.store(Size::Dw, R7, group::result(CLASS), R6);
    asm.bind(none);
    group::succeed(&mut asm, R7);
    Ok(Subprogram { name: columns.function("waits"), code: asm.finish()? })
}

/// `base =` the group's block.
fn block(columns: &Columns, asm: &mut Asm, base: Reg) {
    asm.load_data(base, ".bss", columns.layout().group(Group::Waits));
}

/// `r0 =` the candidate whose number, from 0, is in `index`. Loses `r1` to `r5`
/// and the word at [`INDEX`] on the stack.
fn candidate(columns: &Columns, asm: &mut Asm, index: Reg, absent: Label) {
    asm.store(Size::W, FP, INDEX, index);
    candidate_at(columns, asm, INDEX, absent);
}

/// The same by a number on the stack.
fn candidate_at(columns: &Columns, asm: &mut Asm, index: i16, absent: Label) {
    asm.load_map(R1, &columns.symbol("waiters"));
    stack_address(asm, R2, index);
    asm.call_helper(MAP_LOOKUP);
    asm.jump_if_imm(Cond::Eq, R0, 0, absent);
}

/// The same by a number from 1.
fn candidate_before(columns: &Columns, asm: &mut Asm, number: Reg, absent: Label) {
    asm.alu_imm(AluOp::Sub, number, 1);
    candidate(columns, asm, number, absent);
}

/// Where [`candidate`] keeps its argument: below an iterator and a key, and where a node is
/// made only later.
const INDEX: i16 = -28;

/// `r0 =` the node whose key is on the stack at `key`. Loses `r1` to `r5`.
fn find_node(columns: &Columns, asm: &mut Asm, key: i16, absent: Label) {
    asm.load_map(R1, &columns.symbol("owners"));
    stack_address(asm, R2, key);
    asm.call_helper(MAP_LOOKUP);
    asm.jump_if_imm(Cond::Eq, R0, 0, absent);
}

/// Adds one to a counter of the sweep's statistics. Loses `r1` and `r2`.
fn count_dropped(columns: &Columns, asm: &mut Asm) {
    let offset = offset_of!(SweepStats, dropped) as u32;
    asm.load_data(R1, ".bss", columns.place.stats + offset);
    add(asm, R1, 0, 1, R2);
}

/// Adds a number to a word, by way of `with`.
fn add(asm: &mut Asm, base: Reg, offset: i16, number: i32, with: Reg) {
    asm.load(Size::Dw, with, base, offset);
    asm.alu_imm(AluOp::Add, with, number);
    asm.store(Size::Dw, base, offset, with);
}

/// Ends a function: 0 here, and 0 or 1 at the labels given for them.
fn ends(asm: &mut Asm, go_on: Label, stop: Label) {
    asm.bind(go_on);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(stop);
    asm.load_imm(R0, 1);
    asm.exit();
}

/// Namespaces by their depth, and the thread's id there. Containers in containers make two
/// levels below the host.
const NAMESPACES: [(&[&str], &[&str]); 4] = [
    (&["numbers", "0", "ns"], &["numbers", "0", "nr"]),
    (&["numbers", "1", "ns"], &["numbers", "1", "nr"]),
    (&["numbers", "2", "ns"], &["numbers", "2", "nr"]),
    (&["numbers", "3", "ns"], &["numbers", "3", "nr"]),
];

/// Of the task in `task`: `r1 =` how deep its pid namespace is, `r2 =` the namespace,
/// `r3 =` its thread's id there. Goes to `unknown` for namespaces deeper than are known.
fn inner_id(asm: &mut Asm, task: Reg, unknown: Label) {
    let end = asm.label();
    field::load(asm, R0, task, ("task_struct", &["thread_pid"]));
    asm.jump_if_imm(Cond::Eq, R0, 0, unknown);
    field::load(asm, R1, R0, ("pid", &["level"]));
    for (level, (namespace, number)) in (0..).zip(NAMESPACES) {
        let deeper = asm.label();
        asm.jump_if_imm(Cond::Ne, R1, level, deeper);
        field::load(asm, R2, R0, ("pid", namespace));
        field::load(asm, R3, R0, ("pid", number));
        asm.jump(end);
        asm.bind(deeper);
    }
    asm.jump(unknown);
    asm.bind(end);
}
