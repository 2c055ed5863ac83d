//! The phase in its order, and who the owners are.

use super::super::super::ahead;
use super::super::field::{self, Hop};
use super::super::group;
use super::super::{Columns, untrusted};
use super::candidate as at;
use super::cycles;
use super::{
    COUNT, KEY_BYTES, LOST, SHARED_LOCKS, THREADS, WANTED, add, block, candidate, collect, confirm,
    count_dropped, ends, find_node, inner_id, node, passes, places, sharers,
};
use crate::asm::{Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Size};
use crate::object::Subprogram;
use crate::target::bpf::helper::{
    MAP_DELETE, MAP_UPDATE, UPDATE_IF_ABSENT, call_loop_of_r1, increment, stack_address,
};

// The stack of the functions that use nodes.
const KEY: i16 = -KEY_BYTES;
const NODE: i16 = KEY - node::BYTES;
/// The largest thread id that the kernel gives (`PID_MAX_LIMIT`).
const THREAD_ID_MAX: i32 = 4 << 20;

/// The phase and its parts.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    let mut all = vec![
        forget(columns)?,
        ask(columns)?,
        want(columns)?,
        resolve(columns)?,
        cycles::colour(columns)?,
        cycles::step(columns)?,
        cycles::measure(columns)?,
        cycles::mark(columns)?,
    ];
    if columns.is_classic() {
        all.extend(passes::subprograms(columns)?);
    } else {
        all.extend([phase(columns)?, search(columns)?]);
    }
    all.extend(confirm::subprograms(columns)?);
    Ok(all)
}

/// `u64 wait_graph()`: everything, in order.
fn phase(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (end, at_home) = (asm.label(), asm.label());
    block(columns, &mut asm, R7);
    begin(columns, &mut asm);
    asm.call_subprog(&columns.function("collect"));
    asm.load(Size::Dw, R1, R7, group::result(COUNT));
    asm.jump_if_imm(Cond::Eq, R1, 0, end);
    for_each(columns, &mut asm, "ask");
    for_each(columns, &mut asm, "want");
    asm.load(Size::Dw, R1, R7, group::result(WANTED));
    asm.jump_if_imm(Cond::Eq, R1, 0, at_home);
    asm.call_subprog(&columns.function("search"));
    asm.bind(at_home);
    for part in ["resolve", "colour", "confirm"] {
        for_each(columns, &mut asm, part);
    }
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "wait_graph", asm)
}

/// Forgets the sweep before; the block is in `r7`.
pub(super) fn begin(columns: &Columns, asm: &mut Asm) {
    for_each(columns, asm, "forget");
    for word in [COUNT, THREADS, WANTED, SHARED_LOCKS, LOST] {
        asm.store_imm(Size::Dw, R7, group::result(word), 0);
    }
}

/// Calls a function with the number of each candidate; the block is in `r7`.
pub(super) fn for_each(columns: &Columns, asm: &mut Asm, function: &str) {
    asm.load(Size::Dw, R1, R7, group::result(COUNT));
    call_loop_of_r1(asm, &columns.function(function));
}

pub(super) fn subprogram(
    columns: &Columns,
    name: &str,
    asm: Asm,
) -> Result<Subprogram, JumpTooFar> {
    Ok(Subprogram { name: columns.function(name), code: asm.finish()? })
}

/// `u64 forget(candidate)`: takes the nodes of the previous sweep away.
fn forget(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    for (namespace, number) in [
        (Space::Host, at::TID),
        (Space::Of(at::NAMESPACE), at::INNER_TID),
        (Space::Of(at::NAMESPACE), at::OWNER),
        (Space::Of(at::OBJECT), at::OWNER),
        (Space::Any, at::OWNER),
    ] {
        key(&mut asm, namespace, number);
        asm.load_map(R1, &columns.symbol("owners"));
        stack_address(&mut asm, R2, KEY);
        asm.call_helper(MAP_DELETE);
    }
    if columns.is_classic() {
        places::forget(columns, &mut asm, KEY);
    }
    ends(&mut asm, go_on, stop);
    subprogram(columns, "forget", asm)
}

/// `u64 ask(candidate)`: reads the lock and makes the candidate a node. A classic one takes the
/// task as well.
fn ask(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop, release) = (asm.label(), asm.label(), asm.label());
    if columns.is_classic() {
        asm.mov(R8, R2);
        enter(columns, &mut asm, stop);
    } else {
        enter(columns, &mut asm, stop);
        hold(&mut asm, go_on, release);
    }
    asm.mov(R1, R6);
    asm.mov(R2, R8);
    asm.call_subprog(&columns.function("lock_owner"));
    asm.jump_if_imm(Cond::Eq, R0, 0, release);
    asm.jump_if_imm(Cond::Gt, R0, THREAD_ID_MAX, release);
    asm.mov(R9, R0);
    sharers::find_object(columns, &mut asm, release);
    asm.store(Size::Dw, R6, at::OWNER, R9);
    asm.mov(R1, R7);
    increment(&mut asm, R1);
    asm.store(Size::Dw, FP, NODE + node::CANDIDATE, R1);
    for (from, to) in [(at::TID, node::TID), (at::SPACE, node::SPACE), (at::START, node::START)] {
        asm.load(Size::Dw, R1, R6, from);
        asm.store(Size::Dw, FP, NODE + to, R1);
    }
    for (namespace, number) in [(Space::Host, at::TID), (Space::Of(at::NAMESPACE), at::INNER_TID)] {
        let stored = asm.label();
        key(&mut asm, namespace, number);
        put_node(columns, &mut asm, 0);
        asm.jump_if_imm(Cond::Eq, R0, 0, stored);
        count_dropped(columns, &mut asm);
        asm.bind(stored);
    }
    asm.bind(release);
    if !columns.is_classic() {
        asm.mov(R1, R8);
        asm.call_kfunc("bpf_task_release");
    }
    ends(&mut asm, go_on, stop);
    subprogram(columns, "ask", asm)
}

/// `u64 want(candidate)`: asks for the owner of a lock that processes share, and for one in
/// another pid namespace, if it does not wait itself; in the first one the kernel finds
/// threads by their id, unless the program is a classic one.
fn want(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    let (private, wanted) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    asm.load(Size::Dw, R1, R6, at::OWNER);
    asm.jump_if_imm(Cond::Eq, R1, 0, go_on);
    for word in [node::CANDIDATE, node::TID, node::SPACE, node::START] {
        asm.store_imm(Size::Dw, FP, NODE + word, 0);
    }
    if columns.is_classic() {
        places::skip_nowhere(&mut asm, go_on);
    }
    asm.load(Size::Dw, R1, R6, at::OBJECT);
    asm.jump_if_imm(Cond::Eq, R1, 0, private);
    for space in [Space::Any, Space::Of(at::OBJECT)] {
        key(&mut asm, space, at::OWNER);
        put_node(columns, &mut asm, UPDATE_IF_ABSENT);
    }
    asm.jump(wanted);
    asm.bind(private);
    if !columns.is_classic() {
        asm.load(Size::Dw, R1, R6, at::LEVEL);
        asm.jump_if_imm(Cond::Eq, R1, 0, go_on);
    }
    key(&mut asm, Space::Of(at::NAMESPACE), at::OWNER);
    put_node(columns, &mut asm, UPDATE_IF_ABSENT);
    asm.jump_if_imm(Cond::Ne, R0, 0, go_on);
    asm.bind(wanted);
    block(columns, &mut asm, R7);
    add(&mut asm, R7, group::result(WANTED), 1, R1);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "want", asm)
}

/// `u64 search()`: looks for the owners that are wanted.
fn search(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end) = (asm.label(), asm.label());
    asm.call_kfunc("bpf_rcu_read_lock");
    collect::start(&mut asm);
    asm.bind(next);
    collect::advance(&mut asm, end);
    asm.mov(R7, R0);
    ahead::step(&mut asm, R7, ahead::List::Threads);
    look_for(columns, &mut asm, next);
    asm.jump(next);
    asm.bind(end);
    collect::finish(&mut asm);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "search", asm)
}

/// Tells those who want the thread in `r7` that it is there; goes to `next` when nobody does.
/// Loses all registers and what is below an iterator at the top of the stack.
pub(super) fn look_for(columns: &Columns, asm: &mut Asm, next: Label) {
    const KEY: i16 = -24 - KEY_BYTES;
    const LEVEL: i16 = KEY - 8;
    const ANY_KEY: i16 = LEVEL - KEY_BYTES;
    let unshared = asm.label();
    asm.mov(R1, R7);
    columns.untrusted(asm, "task_struct");
    asm.mov(R6, R0);
    field::load(asm, R1, R6, ("task_struct", &["exit_state"]));
    asm.jump_if_imm(Cond::Ne, R1, 0, next);
    inner_id(asm, R6, next);
    asm.store(Size::Dw, FP, LEVEL, R1);
    asm.store(Size::Dw, FP, KEY, R2);
    for key in [KEY, ANY_KEY] {
        asm.store(Size::Dw, FP, key + 8, R3);
    }
    asm.store_imm(Size::Dw, FP, ANY_KEY, sharers::ANY);
    // The kernel's own threads and those that are about to end share nothing.
    field::load(asm, R1, R6, ("task_struct", &["mm"]));
    asm.jump_if_imm(Cond::Eq, R1, 0, unshared);
    find_node(columns, asm, ANY_KEY, unshared);
    asm.mov(R1, R7);
    asm.load(Size::Dw, R2, FP, ANY_KEY + 8);
    field::load(asm, R3, R6, ("task_struct", &["pid"]));
    asm.call_subprog(&columns.function("sharer"));
    asm.bind(unshared);
    if !columns.is_classic() {
        asm.load(Size::Dw, R1, FP, LEVEL);
        asm.jump_if_imm(Cond::Eq, R1, 0, next);
    }
    find_node(columns, asm, KEY, next);
    const KNOWN: [(i16, Hop); 3] = [
        (node::TID, ("task_struct", &["pid"])),
        (node::SPACE, ("task_struct", &["mm"])),
        (node::START, ("task_struct", &["start_boottime"])),
    ];
    for (word, hop) in KNOWN {
        field::load(asm, R1, R6, hop);
        asm.store(Size::Dw, R0, word, R1);
    }
}

/// `u64 resolve(candidate)`: who the owner is, if it still is.
///
/// A lock that processes do not share belongs to a thread with the same memory. If the id
/// is that of another one that is younger than the waiting thread, the owner has exited
/// and its id was given away; if that one is older, what looked like a lock is none, or it
/// was held when the process was forked.
fn resolve(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    let (elsewhere, compare, gone) = (asm.label(), asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    asm.load(Size::Dw, R1, R6, at::OWNER);
    asm.jump_if_imm(Cond::Eq, R1, 0, go_on);
    asm.store(Size::Dw, R6, at::OWNER_TID, R1);
    let (private, unknown) = (asm.label(), asm.label());
    if columns.is_classic() {
        places::skip_nowhere(&mut asm, unknown);
    }
    asm.load(Size::Dw, R1, R6, at::OBJECT);
    asm.jump_if_imm(Cond::Eq, R1, 0, private);
    sharers::owner(columns, &mut asm, KEY, gone, unknown);
    asm.jump(go_on);
    asm.bind(private);
    key(&mut asm, Space::Of(at::NAMESPACE), at::OWNER);
    find_node(columns, &mut asm, KEY, elsewhere);
    asm.load(Size::Dw, R1, R0, node::TID);
    asm.jump_if_imm(Cond::Eq, R1, 0, gone);
    asm.load(Size::Dw, R8, R0, node::SPACE);
    asm.load(Size::Dw, R9, R0, node::CANDIDATE);
    asm.load(Size::Dw, R7, R0, node::START);
    asm.store(Size::Dw, R6, at::OWNER_TID, R1);
    asm.bind(compare);
    let same = asm.label();
    asm.load(Size::Dw, R1, R6, at::SHARED);
    asm.jump_if_imm(Cond::Ne, R1, 0, same);
    asm.load(Size::Dw, R1, R6, at::SPACE);
    asm.jump_if(Cond::Eq, R1, R8, same);
    asm.load(Size::Dw, R1, R6, at::START);
    asm.jump_if(Cond::Gt, R7, R1, gone);
    asm.bind(unknown);
    // Like a parked thread it is shown only in a cycle, and it is in none.
    asm.store_imm(Size::Dw, R6, at::PARKED, 1);
    asm.jump(go_on);
    asm.bind(same);
    asm.store(Size::Dw, R6, at::NEXT, R9);
    asm.jump(go_on);

    asm.bind(elsewhere);
    if columns.is_classic() {
        // Whoever was wanted has a node; this one found no room.
        asm.jump(unknown);
    } else {
        owner_by_id(&mut asm, gone);
        asm.jump(compare);
    }
    asm.bind(gone);
    asm.store_imm(Size::Dw, R6, at::ABANDONED, 1);
    // Of another namespace's dead only the number there is known, which is nobody here.
    asm.load(Size::Dw, R1, R6, at::LEVEL);
    asm.jump_if_imm(Cond::Eq, R1, 0, go_on);
    asm.store_imm(Size::Dw, R6, at::OWNER_TID, 0);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "resolve", asm)
}

/// The owner of the candidate in `r6` whose id the host gave: `r8 =` its memory, `r7 =` its
/// start and `r9 = 0`, as it does not wait; or goes to `gone`.
fn owner_by_id(asm: &mut Asm, gone: Label) {
    asm.load(Size::Dw, R1, R6, at::LEVEL);
    asm.jump_if_imm(Cond::Ne, R1, 0, gone);
    asm.load(Size::Dw, R1, R6, at::OWNER);
    asm.call_kfunc("bpf_task_from_pid");
    asm.jump_if_imm(Cond::Eq, R0, 0, gone);
    asm.mov(R7, R0);
    asm.mov(R1, R7);
    untrusted(asm, "task_struct");
    asm.mov(R8, R0);
    field::load(asm, R9, R8, ("task_struct", &["exit_state"]));
    field::load(asm, R1, R8, ("task_struct", &["start_boottime"]));
    field::load(asm, R8, R8, ("task_struct", &["mm"]));
    asm.mov(R2, R7);
    asm.mov(R7, R1);
    asm.mov(R1, R2);
    asm.call_kfunc("bpf_task_release");
    asm.jump_if_imm(Cond::Ne, R9, 0, gone);
    asm.load_imm(R9, 0);
}

/// The start of a function for each candidate: the candidate in `r6`, its number in `r7`.
pub(super) fn enter(columns: &Columns, asm: &mut Asm, stop: Label) {
    asm.mov32(R7, R1);
    candidate(columns, asm, R7, stop);
    asm.mov(R6, R0);
}

/// Holds the candidate's task in `r8`. Goes to `gone` if there is none of that id, and with
/// the task held to `other` if it is another one.
pub(super) fn hold(asm: &mut Asm, gone: Label, other: Label) {
    asm.load(Size::Dw, R1, R6, at::TID);
    asm.call_kfunc("bpf_task_from_pid");
    asm.jump_if_imm(Cond::Eq, R0, 0, gone);
    asm.mov(R8, R0);
    field::load(asm, R1, R8, ("task_struct", &["start_boottime"]));
    asm.load(Size::Dw, R2, R6, at::START);
    asm.jump_if(Cond::Ne, R1, R2, other);
}

/// Whose ids a node's key counts by.
#[derive(Clone, Copy)]
enum Space {
    /// The host's.
    Host,
    /// Anybody's.
    Any,
    /// Those of what a word of the candidate says.
    Of(i16),
}

/// Makes a node's key from the candidate in `r6`.
fn key(asm: &mut Asm, space: Space, number: i16) {
    match space {
        Space::Of(word) => asm.load(Size::Dw, R1, R6, word),
        Space::Host => asm.load_imm(R1, 0),
        Space::Any => asm.load_imm(R1, sharers::ANY.into()),
    }
    asm.store(Size::Dw, FP, KEY, R1);
    asm.load(Size::Dw, R1, R6, number);
    asm.store(Size::Dw, FP, KEY + 8, R1);
}

/// Puts the node on the stack into the map; `r0` is 0 when it is there.
fn put_node(columns: &Columns, asm: &mut Asm, flags: i64) {
    asm.load_map(R1, &columns.symbol("owners"));
    stack_address(asm, R2, KEY);
    stack_address(asm, R3, NODE);
    asm.load_imm(R4, flags);
    asm.call_helper(MAP_UPDATE);
}
