//! Who owns the lock that a thread waits for: reads the lock and makes sure that it is one.
//!
//! | lock | futex word | owner |
//! |---|---|---|
//! | glibc mutex | 2 at the start | the third word |
//! | glibc robust mutex | the start | the word itself |
//! | glibc priority-inheriting mutex, `FUTEX_LOCK_PI` | the start | the word itself |
//! | glibc rwlock with a writer | the third or fourth word | the seventh word |
//! | glibc priority-inheriting mutex that the kernel refused, `FUTEX_WAIT` for ever | elsewhere | the mutex's word |
//! | musl mutex that is recursive, error-checking or robust | the second word | the word itself |
//!
//! The kernel refuses to close a cycle of priority-inheriting mutexes (EDEADLK), and glibc
//! then parks the thread on a word of its stack for ever. Which mutex it was is found by
//! the registers that functions preserve: one of them still points to it or to its kind.

use super::super::Columns;
use super::super::helper::stack_address;
use super::candidate::{EXPECTED, FUTEX, INNER_TID, LOCK, OPERATION, PARKED, REGISTERS, SHARED};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size,
};
use crate::object::Subprogram;

/// `bpf_copy_from_user_task(to, bytes, from, task, flags)`
const COPY_FROM_USER_TASK: i32 = 191;

/// `FUTEX_LOCK_PI` and `FUTEX_LOCK_PI2`
pub(super) const LOCK_PI: [i32; 2] = [6, 13];
/// The owner's id in a futex word that the kernel knows as a lock.
const OWNER_MASK: i32 = 0x3fff_ffff;
const WAITERS_BIT: i32 = 31;

// A glibc mutex's kind.
const KIND_BITS: i32 = 0x3ff;
const KIND_TYPE: i32 = 3;
const TYPE_RECURSIVE: i32 = 1;
const TYPE_ADAPTIVE: i32 = 3;
const KIND_ROBUST: i32 = 16;
const KIND_INHERIT: i32 = 32;
const KIND_SHARED: i32 = 128;
/// A glibc mutex's word while somebody waits.
const CONTENDED: i32 = 2;
/// The bits that a musl mutex's type may have, and those of types that record an owner.
const MUSL_TYPE_BITS: i32 = 0x8f;
const MUSL_OWNED: i32 = 0x7;

/// Where a glibc mutex has its kind.
const KIND_OFFSET: i32 = 16;
/// Below this address nothing is mapped.
const LOWEST_ADDRESS: i32 = 4096;

// The words of a glibc rwlock that threads wait on.
const WRPHASE_FUTEX: i16 = 2;
const WRITERS_FUTEX: i16 = 3;

const MUTEX_BYTES: i64 = 40;
const RWLOCK_BYTES: i64 = 32;
const BUFFER: i16 = -40;
/// The two pointers by which a lock is on its owner's list: bytes from its start, in glibc
/// and in musl alike.
const LINKS: [i16; 2] = [24, 32];

/// `u64 lock_owner(candidate, task)`: the owner's thread id in its pid namespace, 0 for
/// none; the candidate's lock and whether it is shared are filled in.
pub(super) fn subprogram(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (no_mutex, in_word, none) = (asm.label(), asm.label(), asm.label());
    let (inherits, robust, parked) = (asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.mov(R7, R2);
    asm.load(Size::Dw, R1, R6, PARKED);
    asm.jump_if_imm(Cond::Ne, R1, 0, parked);
    asm.load(Size::Dw, R8, R6, EXPECTED);
    read(&mut asm, 0, MUTEX_BYTES, no_mutex);
    word(&mut asm, R1, 0);
    word(&mut asm, R9, 4);
    asm.mov(R0, R9);
    asm.alu_imm(AluOp::And, R0, !KIND_BITS);
    asm.jump_if_imm(Cond::Ne, R0, 0, no_mutex);
    asm.load(Size::Dw, R2, R6, OPERATION);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R2, operation, inherits);
    }
    asm.jump_if_imm(Cond::Set, R9, KIND_ROBUST, robust);
    asm.jump_if_imm(Cond::Set, R9, KIND_INHERIT, no_mutex);
    asm.jump_if_imm(Cond::Ne, R8, CONTENDED, no_mutex);
    asm.jump_if_imm(Cond::Ne, R1, CONTENDED, no_mutex);
    plain_mutex(&mut asm, no_mutex);
    word(&mut asm, R0, 2);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(inherits);
    asm.jump_if_imm(Cond::Set, R9, KIND_INHERIT, in_word);
    asm.jump(none);
    asm.bind(robust);
    asm.jump_if(Cond::Ne, R1, R8, no_mutex);
    asm.mov(R2, R8);
    asm.alu_imm(AluOp::Rsh, R2, WAITERS_BIT);
    asm.jump_if_imm(Cond::Eq, R2, 0, no_mutex);
    for link in LINKS {
        linked(&mut asm, link, no_mutex);
    }
    asm.bind(in_word);
    asm.mov(R0, R1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(no_mutex);
    asm.load(Size::Dw, R8, R6, EXPECTED);
    rwlock(&mut asm, WRITERS_FUTEX, 2);
    rwlock(&mut asm, WRPHASE_FUTEX, 3);
    musl(&mut asm, none);
    asm.bind(parked);
    refused(&mut asm, none);
    asm.bind(none);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.symbol("lock_owner"), code: asm.finish()? })
}

/// Reads `bytes` from `before` words before the futex word.
fn read(asm: &mut Asm, before: i16, bytes: i64, failed: Label) {
    asm.load(Size::Dw, R3, R6, FUTEX);
    asm.alu_imm(AluOp::Sub, R3, i32::from(before) * 4);
    read_r3(asm, bytes, failed);
}

/// Reads `bytes` from the address in `r3`.
fn read_r3(asm: &mut Asm, bytes: i64, failed: Label) {
    stack_address(asm, R1, BUFFER);
    asm.load_imm(R2, bytes);
    asm.mov(R4, R7);
    asm.load_imm(R5, 0);
    asm.call_helper(COPY_FROM_USER_TASK);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
}

/// `dst =` a 32-bit word of what was read.
fn word(asm: &mut Asm, dst: Reg, index: i16) {
    asm.load(Size::W, dst, FP, BUFFER + index * 4);
}

/// Ends the function with the owner in `r0`, for a lock that starts `before` words before
/// the futex word and is shared if `flags` has the bit.
fn found(asm: &mut Asm, before: i16, flags: Reg, shared: i32) {
    asm.alu_imm(AluOp::And, flags, shared);
    asm.store(Size::Dw, R6, SHARED, flags);
    asm.load(Size::Dw, R1, R6, FUTEX);
    asm.alu_imm(AluOp::Sub, R1, i32::from(before) * 4);
    asm.store(Size::Dw, R6, LOCK, R1);
    asm.exit();
}

/// The mutex that a parked thread did not get: the first that its registers point to and
/// that somebody else owns, or else one of its own, which it tried to lock again.
fn refused(asm: &mut Asm, none: Label) {
    asm.load_imm(R8, 0);
    for register in REGISTERS {
        for distance in [KIND_OFFSET, 0] {
            let (other, own) = (asm.label(), asm.label());
            asm.load(Size::Dw, R3, R6, register);
            asm.alu_imm(AluOp::Sub, R3, distance);
            asm.store(Size::Dw, R6, LOCK, R3);
            asm.jump_if_imm(Cond::Lt, R3, LOWEST_ADDRESS, other);
            read_r3(asm, MUTEX_BYTES, other);
            word(asm, R9, 4);
            asm.mov(R1, R9);
            asm.alu_imm(AluOp::And, R1, !KIND_BITS);
            asm.jump_if_imm(Cond::Ne, R1, 0, other);
            asm.mov(R1, R9);
            asm.alu_imm(AluOp::And, R1, KIND_INHERIT);
            asm.jump_if_imm(Cond::Eq, R1, 0, other);
            word(asm, R0, 0);
            asm.alu_imm(AluOp::And, R0, OWNER_MASK);
            asm.jump_if_imm(Cond::Eq, R0, 0, other);
            asm.load(Size::Dw, R1, R6, INNER_TID);
            asm.jump_if(Cond::Eq, R0, R1, own);
            asm.alu_imm(AluOp::And, R9, KIND_SHARED);
            asm.store(Size::Dw, R6, SHARED, R9);
            asm.exit();
            asm.bind(own);
            asm.load(Size::Dw, R8, R6, LOCK);
            asm.bind(other);
        }
    }
    asm.jump_if_imm(Cond::Eq, R8, 0, none);
    asm.store(Size::Dw, R6, LOCK, R8);
    asm.load(Size::Dw, R0, R6, INNER_TID);
    asm.exit();
}

/// A rwlock that is held by a writer and waited for on the futex that is its word number
/// `futex`. `bits` of its first word have to be set in such a phase.
fn rwlock(asm: &mut Asm, futex: i16, bits: i32) {
    let other = asm.label();
    asm.jump_if_imm(Cond::Eq, R8, 0, other);
    asm.jump_if_imm(Cond::Gt, R8, 3, other);
    read(asm, futex, RWLOCK_BYTES, other);
    word(asm, R1, futex);
    asm.jump_if(Cond::Ne, R1, R8, other);
    word(asm, R1, 0);
    asm.alu_imm(AluOp::And, R1, bits);
    asm.jump_if_imm(Cond::Eq, R1, 0, other);
    word(asm, R9, 7);
    asm.jump_if_imm(Cond::Gt, R9, 1, other);
    word(asm, R0, 6);
    asm.jump_if_imm(Cond::Eq, R0, 0, other);
    found(asm, futex, R9, 1);
    asm.bind(other);
}

/// Goes to `not` unless what was read is a glibc mutex in the state that its kind, in `r9`,
/// allows: other libraries' locks have a word that is 2 as well, with anything behind it.
/// Loses `r2`.
fn plain_mutex(asm: &mut Asm, not: Label) {
    let (recursive, counted, spins) = (asm.label(), asm.label(), asm.label());
    // The owner's count of nested locks.
    word(asm, R2, 1);
    asm.mov(R0, R9);
    asm.alu_imm(AluOp::And, R0, KIND_TYPE);
    asm.jump_if_imm(Cond::Eq, R0, TYPE_RECURSIVE, recursive);
    asm.jump_if_imm(Cond::Ne, R2, 0, not);
    asm.jump(counted);
    asm.bind(recursive);
    asm.jump_if_imm(Cond::Eq, R2, 0, not);
    asm.bind(counted);
    // Who uses it, and how long adaptive ones have spun.
    word(asm, R2, 3);
    asm.jump_if_imm(Cond::Eq, R2, 0, not);
    asm.jump_if_imm(Cond::Eq, R0, TYPE_ADAPTIVE, spins);
    asm.load(Size::H, R2, FP, BUFFER + 20);
    asm.jump_if_imm(Cond::Ne, R2, 0, not);
    asm.bind(spins);
    // Only robust mutexes are on a list.
    for link in LINKS {
        asm.load(Size::Dw, R2, FP, BUFFER + link);
        asm.jump_if_imm(Cond::Ne, R2, 0, not);
    }
}

/// Goes to `not` unless the lock is on its owner's list by the pointer at `link`. Loses
/// `r2`.
fn linked(asm: &mut Asm, link: i16, not: Label) {
    asm.load(Size::Dw, R2, FP, BUFFER + link);
    asm.alu_imm(AluOp::Rsh, R2, 3);
    asm.jump_if_imm(Cond::Eq, R2, 0, not);
}

/// A musl mutex, whose second word is the futex word. Other libraries' locks use the
/// word's highest bit as well; a musl mutex that records its owner is on its owner's list,
/// and what precedes it there points back.
fn musl(asm: &mut Asm, none: Label) {
    let shared = asm.label();
    asm.mov(R1, R8);
    asm.alu_imm(AluOp::Rsh, R1, WAITERS_BIT);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    read(asm, 1, MUTEX_BYTES, none);
    word(asm, R1, 1);
    asm.jump_if(Cond::Ne, R1, R8, none);
    word(asm, R9, 0);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, !MUSL_TYPE_BITS);
    asm.jump_if_imm(Cond::Ne, R1, 0, none);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, MUSL_OWNED);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    word(asm, R1, 2);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    for unused in [3, 4] {
        word(asm, R1, unused);
        asm.jump_if_imm(Cond::Ne, R1, 0, none);
    }
    for link in LINKS {
        linked(asm, link, none);
    }
    asm.alu_imm(AluOp::And, R9, KIND_SHARED);
    asm.jump_if_imm(Cond::Ne, R9, 0, shared);
    asm.load(Size::Dw, R3, FP, BUFFER + LINKS[0]);
    read_r3(asm, 8, none);
    asm.load(Size::Dw, R1, FP, BUFFER);
    asm.load(Size::Dw, R2, R6, FUTEX);
    asm.alu_imm(AluOp::Add, R2, i32::from(LINKS[1]) - 4);
    asm.jump_if(Cond::Ne, R1, R2, none);
    asm.bind(shared);
    asm.mov(R0, R8);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(asm, 1, R9, KIND_SHARED);
}
