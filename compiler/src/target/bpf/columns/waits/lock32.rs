//! The same for programs of 32 bits, whose glibc lays its locks out in another way.
//!
//! | lock | futex word | owner | kind |
//! |---|---|---|---|
//! | mutex | 2 at the start | the third word | the fourth |
//! | robust mutex | the start | the word itself, and the third | the fourth |
//! | priority-inheriting mutex, `FUTEX_LOCK_PI` | the start | the word itself | the fourth |
//! | rwlock with a writer | the third or fourth word | the eighth | flags in the seventh |
//! | mutex that the kernel refused, `FUTEX_WAIT` for ever | elsewhere | the mutex's word | the fourth |
//!
//! A refused mutex is found on the stack, where functions of 32 bits get their arguments.

use super::super::Columns;
use super::candidate::{EXPECTED, OPERATION, PARKED};
use super::lock::{
    BUFFER, KIND_BITS, KIND_INHERIT, KIND_PROTECT, KIND_ROBUST, KIND_SHARED, KIND_TYPE, LOCK_PI,
    OWNER_MASK, RWLOCK_BYTES, RWLOCK_HELD, TYPE_ADAPTIVE, TYPE_RECURSIVE, WAITERS_BIT,
    WRITERS_FUTEX, WRPHASE_FUTEX, contended, found, read, word,
};
use super::refused::{self, Width};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R6, R7, R8, R9, Size};
use crate::object::Subprogram;

pub(super) const MUTEX_BYTES: i64 = 24;
pub(super) const KIND_OFFSET: i32 = 12;
/// What may be set in a rwlock's flags: which side it prefers, and that processes share it.
const RWLOCK_FLAGS: i32 = 0x103;
const RWLOCK_SHARED: i32 = 0x100;

/// `u64 lock_owner_32(candidate, task)`: as `lock_owner`.
pub(super) fn subprogram(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (no_mutex, robust, in_word) = (asm.label(), asm.label(), asm.label());
    let (inherits, parked, none) = (asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.mov(R7, R2);
    asm.load(Size::Dw, R1, R6, PARKED);
    asm.jump_if_imm(Cond::Ne, R1, 0, parked);
    asm.load(Size::Dw, R8, R6, EXPECTED);
    read(&mut asm, 0, MUTEX_BYTES, no_mutex);
    kind(&mut asm, no_mutex);
    word(&mut asm, R1, 0);
    asm.load(Size::Dw, R2, R6, OPERATION);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R2, operation, inherits);
    }
    asm.jump_if(Cond::Ne, R1, R8, no_mutex);
    asm.jump_if_imm(Cond::Set, R9, KIND_ROBUST, robust);
    asm.jump_if_imm(Cond::Set, R9, KIND_INHERIT, no_mutex);
    contended(&mut asm, no_mutex);
    plain_mutex(&mut asm, no_mutex);
    word(&mut asm, R0, 2);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(inherits);
    asm.jump_if_imm(Cond::Set, R9, KIND_INHERIT, in_word);
    asm.jump(none);
    asm.bind(robust);
    asm.mov(R2, R1);
    asm.alu_imm(AluOp::Rsh, R2, WAITERS_BIT);
    asm.jump_if_imm(Cond::Eq, R2, 0, no_mutex);
    owner_twice(&mut asm, no_mutex);
    asm.bind(in_word);
    asm.mov(R0, R1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(no_mutex);
    asm.load(Size::Dw, R2, R6, OPERATION);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R2, operation, none);
    }
    rwlock(&mut asm, WRITERS_FUTEX, 2);
    rwlock(&mut asm, WRPHASE_FUTEX, 3);
    asm.jump(none);
    asm.bind(parked);
    refused::search(columns, &mut asm, Width::Narrow, none);
    asm.bind(none);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("lock_owner_32"), code: asm.finish()? })
}

/// `r9 =` the kind of the mutex that was read, or goes to `not`. Loses `r0`.
pub(super) fn kind(asm: &mut Asm, not: Label) {
    word(asm, R9, 3);
    asm.mov(R0, R9);
    asm.alu_imm(AluOp::And, R0, !KIND_BITS);
    asm.jump_if_imm(Cond::Ne, R0, 0, not);
}

/// Goes to `not` unless the owner in the word, which is in `r1`, is the one that the third
/// word names. Loses `r0` and `r2`.
pub(super) fn owner_twice(asm: &mut Asm, not: Label) {
    asm.mov(R0, R1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    word(asm, R2, 2);
    asm.jump_if(Cond::Ne, R0, R2, not);
}

/// Goes to `not` unless what was read is in the state that its kind, in `r9`, allows.
/// Loses `r0` and `r2`.
fn plain_mutex(asm: &mut Asm, not: Label) {
    let (recursive, counted, spins) = (asm.label(), asm.label(), asm.label());
    word(asm, R2, 1);
    asm.mov(R0, R9);
    asm.alu_imm(AluOp::And, R0, KIND_TYPE);
    asm.jump_if_imm(Cond::Eq, R0, TYPE_RECURSIVE, recursive);
    asm.jump_if_imm(Cond::Set, R9, KIND_PROTECT, recursive);
    asm.jump_if_imm(Cond::Ne, R2, 0, not);
    asm.jump(counted);
    asm.bind(recursive);
    asm.jump_if_imm(Cond::Eq, R2, 0, not);
    asm.bind(counted);
    // Who uses it, and how long adaptive ones have spun.
    word(asm, R2, 4);
    asm.jump_if_imm(Cond::Eq, R2, 0, not);
    asm.jump_if_imm(Cond::Eq, R0, TYPE_ADAPTIVE, spins);
    asm.load(Size::H, R2, FP, BUFFER + 20);
    asm.jump_if_imm(Cond::Ne, R2, 0, not);
    asm.bind(spins);
}

/// A rwlock that is held by a writer and waited for on its word number `futex`; `bits` of
/// its first word have to be set in such a phase.
fn rwlock(asm: &mut Asm, futex: i16, bits: i32) {
    let other = asm.label();
    asm.jump_if_imm(Cond::Ne, R8, RWLOCK_HELD, other);
    read(asm, futex, RWLOCK_BYTES, other);
    word(asm, R1, futex);
    asm.jump_if(Cond::Ne, R1, R8, other);
    word(asm, R1, 0);
    asm.alu_imm(AluOp::And, R1, bits);
    asm.jump_if_imm(Cond::Eq, R1, 0, other);
    for unused in [4, 5] {
        word(asm, R1, unused);
        asm.jump_if_imm(Cond::Ne, R1, 0, other);
    }
    word(asm, R9, 6);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, !RWLOCK_FLAGS);
    asm.jump_if_imm(Cond::Ne, R1, 0, other);
    word(asm, R0, 7);
    asm.jump_if_imm(Cond::Eq, R0, 0, other);
    found(asm, futex, R9, RWLOCK_SHARED);
    asm.bind(other);
}
