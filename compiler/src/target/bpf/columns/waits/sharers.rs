//! Owners of locks that processes share, in whatever pid namespaces these are.
//!
//! Such a lock names its owner as the owner's own namespace numbers it, which need not be
//! the waiting thread's. It is one of the threads that have this number somewhere and that
//! map the inode that the lock lies in: the walk `search` looks for them. When there are
//! two and one is the waiting thread itself, the other is meant: if they wait for each other
//! none of the two readings gets anybody on, and if they do not there is no cycle in either.
//! Of several others nobody can tell, and the thread is not reported.
//!
//! Classic programs learn who maps what by other means: see [`places`](super::places).
//!
//! **Invariant**: an owner that could not be looked at is unknown, not gone.

use super::super::Columns;
use super::super::field::{self, Hop};
use super::super::rows::{end_mappings, next_mapping, start_mappings, start_mappings_at_r3};
use super::candidate as at;
use super::{KEY_BYTES, find_node, node, places};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, R9, Reg, Size,
};
use crate::object::Subprogram;

/// What stands for all namespaces in a node's key.
pub(super) const ANY: i32 = 1;
/// `VM_SHARED`
const SHARED: i32 = 8;

/// In the node of an inode and a thread's id: there are more than two such threads. In that
/// of any namespace: one of them could not be looked at.
const UNKNOWN: i16 = node::CANDIDATE;
const FIRST: i16 = node::TID;
const SECOND: i16 = node::SPACE;

const ITERATOR: i16 = -8;
const KEY: i16 = ITERATOR - KEY_BYTES;

/// The functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    if columns.is_classic() {
        return places::subprograms(columns);
    }
    Ok(vec![lock_object(columns)?, sharer(columns)?])
}

/// Finds the inode of the candidate in `r6`, whose task is in `r8`, if processes share its
/// lock; goes to `unknown` if that is not to be known now.
pub(super) fn find_object(columns: &Columns, asm: &mut Asm, unknown: Label) {
    let private = asm.label();
    asm.load(Size::Dw, R1, R6, at::SHARED);
    asm.jump_if_imm(Cond::Eq, R1, 0, private);
    if columns.is_classic() {
        places::note(columns, asm);
    } else {
        asm.mov(R1, R6);
        asm.mov(R2, R8);
        asm.call_subprog(&columns.function("lock_object"));
        asm.jump_if_imm(Cond::Ne, R0, 0, unknown);
    }
    asm.bind(private);
}

/// `u64 lock_object(candidate, task)`: fills in the inode that the lock lies in; a lock in
/// memory that is the process's own, or that nobody else maps, is not shared, whatever its flags
/// say: those of every robust mutex say it. 1 if that is not to be known now.
fn lock_object(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (private, end) = (asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.load_imm(R9, 1);
    asm.load(Size::Dw, R3, R6, at::LOCK);
    start_mappings_at_r3(&mut asm, ITERATOR);
    asm.jump_if_imm(Cond::Ne, R0, 0, end);
    next_mapping(&mut asm, ITERATOR, end);
    field::load(&mut asm, R1, R0, ("vm_area_struct", &["vm_start"]));
    asm.load(Size::Dw, R2, R6, at::LOCK);
    asm.jump_if(Cond::Gt, R1, R2, end);
    asm.load_imm(R9, 0);
    shared_inode(&mut asm, R1, private);
    is_mapped_elsewhere(&mut asm, private);
    asm.store(Size::Dw, R6, at::OBJECT, R1);
    asm.jump(end);
    asm.bind(private);
    asm.store_imm(Size::Dw, R6, at::SHARED, 0);
    asm.bind(end);
    end_mappings(&mut asm, ITERATOR);
    asm.mov(R0, R9);
    asm.exit();
    Ok(Subprogram { name: columns.function("lock_object"), code: asm.finish()? })
}

/// Goes to `not` if the inode in `r1` has the one mapping that was found there: the tree of its
/// mappings has a root alone. Loses `r2` and `r3`.
fn is_mapped_elsewhere(asm: &mut Asm, not: Label) {
    let elsewhere = asm.label();
    field::load(asm, R2, R1, ("inode", &["i_mapping"]));
    field::load(asm, R2, R2, ("address_space", &["i_mmap", "rb_root", "rb_node"]));
    asm.jump_if_imm(Cond::Eq, R2, 0, elsewhere);
    const SIDES: [Hop; 2] = [("rb_node", &["rb_left"]), ("rb_node", &["rb_right"])];
    for side in SIDES {
        field::load(asm, R3, R2, side);
        asm.jump_if_imm(Cond::Ne, R3, 0, elsewhere);
    }
    asm.jump(not);
    asm.bind(elsewhere);
}

/// `dst =` the inode that the mapping in `r0` shows and shares, or goes to `private`.
pub(super) fn shared_inode(asm: &mut Asm, dst: Reg, private: Label) {
    field::load(asm, dst, R0, ("vm_area_struct", &["vm_flags"]));
    asm.alu_imm(AluOp::And, dst, SHARED);
    asm.jump_if_imm(Cond::Eq, dst, 0, private);
    field::load(asm, dst, R0, ("vm_area_struct", &["vm_file"]));
    asm.jump_if_imm(Cond::Eq, dst, 0, private);
    field::load(asm, dst, dst, ("file", &["f_inode"]));
}

/// `u64 sharer(task, id, tid)`: a thread that its namespace knows as `id` and the host as
/// `tid`, at every wanted inode that it maps.
fn sharer(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end, held) = (asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.mov(R7, R2);
    asm.mov(R8, R3);
    asm.mov(R2, R6);
    start_mappings(&mut asm, ITERATOR);
    asm.jump_if_imm(Cond::Eq, R0, 0, held);
    // The lock of a busy address space is not waited for.
    asm.store_imm(Size::Dw, FP, KEY, ANY);
    asm.store(Size::Dw, FP, KEY + 8, R7);
    find_node(columns, &mut asm, KEY, end);
    asm.store_imm(Size::Dw, R0, UNKNOWN, 1);
    asm.jump(end);
    asm.bind(held);
    asm.bind(next);
    next_mapping(&mut asm, ITERATOR, end);
    shared_inode(&mut asm, R1, next);
    asm.store(Size::Dw, FP, KEY, R1);
    asm.store(Size::Dw, FP, KEY + 8, R7);
    find_node(columns, &mut asm, KEY, next);
    take_slot(&mut asm, next);
    asm.jump(next);
    asm.bind(end);
    end_mappings(&mut asm, ITERATOR);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("sharer"), code: asm.finish()? })
}

/// Puts the thread in `r8` into the node in `r0`; may go to `done`. Loses `r1`.
pub(super) fn take_slot(asm: &mut Asm, done: Label) {
    for slot in [FIRST, SECOND] {
        let taken = asm.label();
        asm.load(Size::Dw, R1, R0, slot);
        asm.jump_if(Cond::Eq, R1, R8, done);
        asm.jump_if_imm(Cond::Ne, R1, 0, taken);
        asm.store(Size::Dw, R0, slot, R8);
        asm.jump(done);
        asm.bind(taken);
    }
    asm.store_imm(Size::Dw, R0, UNKNOWN, 1);
}

/// Fills in the owner of the shared lock of the candidate in `r6`, and its number if it
/// waits itself. `key` is where a key has room on the stack. Loses `r7` to `r9`.
pub(super) fn owner(columns: &Columns, asm: &mut Asm, key: i16, gone: Label, unknown: Label) {
    let (nobody, one, end) = (asm.label(), asm.label(), asm.label());
    let find = |asm: &mut Asm, space: Option<i16>, absent: Label| {
        match space {
            Some(word) => asm.load(Size::Dw, R1, R6, word),
            None => asm.load_imm(R1, ANY.into()),
        }
        asm.store(Size::Dw, FP, key, R1);
        asm.load(Size::Dw, R1, R6, at::OWNER);
        asm.store(Size::Dw, FP, key + 8, R1);
        find_node(columns, asm, key, absent);
        asm.load(Size::Dw, R1, R0, UNKNOWN);
        asm.jump_if_imm(Cond::Ne, R1, 0, unknown);
    };
    if columns.is_classic() {
        places::only_if_nobody_was_lost(columns, asm, unknown);
    }
    // One that could not be looked at may be the one, whoever else could.
    find(asm, None, unknown);
    find(asm, Some(at::OBJECT), unknown);
    asm.load(Size::Dw, R7, R0, FIRST);
    asm.load(Size::Dw, R8, R0, SECOND);
    asm.load(Size::Dw, R9, R6, at::TID);
    asm.jump_if_imm(Cond::Eq, R7, 0, nobody);
    asm.jump_if_imm(Cond::Eq, R8, 0, one);
    asm.jump_if(Cond::Eq, R8, R9, one);
    asm.jump_if(Cond::Ne, R7, R9, unknown);
    asm.mov(R7, R8);
    asm.jump(one);
    asm.bind(nobody);
    if columns.is_classic() {
        places::only_if_all_were_seen(columns, asm, unknown);
    }
    asm.jump(gone);
    asm.bind(one);
    asm.store(Size::Dw, R6, at::OWNER_TID, R7);
    asm.store_imm(Size::Dw, FP, key, 0);
    asm.store(Size::Dw, FP, key + 8, R7);
    find_node(columns, asm, key, end);
    asm.load(Size::Dw, R1, R0, node::CANDIDATE);
    asm.store(Size::Dw, R6, at::NEXT, R1);
    asm.bind(end);
}
