//! Who owns the lock that a thread waits for: reads the lock and makes sure that it is one.
//!
//! | lock | futex word | owner |
//! |---|---|---|
//! | glibc mutex, one with a priority ceiling too | 2 at the start, and the ceiling | the third word |
//! | glibc robust mutex | the start | the word itself |
//! | glibc priority-inheriting mutex, `FUTEX_LOCK_PI` | the start | the word itself |
//! | glibc rwlock with a writer | the third or fourth word | the seventh word |
//! | glibc priority-inheriting mutex that the kernel refused, `FUTEX_WAIT` for ever | elsewhere | the mutex's word |
//! | musl mutex that is recursive, error-checking, robust or priority-inheriting | the second word | the word itself |
//!
//! The kernel refuses to close a cycle of priority-inheriting mutexes (EDEADLK), and the C
//! library then parks the thread on a word of its stack for ever. Which mutex it was is found
//! by the registers that functions preserve, or where the stack holds them: one of them still
//! points to it or to its kind. See [`refused`].

use super::super::Columns;
use super::candidate::{EXPECTED, FUTEX, IS_32, LOCK, OPERATION, PARKED, SHARED};
use super::refused::{self, Width};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size,
};
use crate::object::Subprogram;
use crate::target::bpf::helper::{COPY_FROM_USER_TASK, stack_address};

/// `FUTEX_LOCK_PI` and `FUTEX_LOCK_PI2`
pub(super) const LOCK_PI: [i32; 2] = [6, 13];
/// The owner's id in a futex word that the kernel knows as a lock.
pub(super) const OWNER_MASK: i32 = 0x3fff_ffff;
pub(super) const WAITERS_BIT: i32 = 31;

// A glibc mutex's kind.
pub(super) const KIND_BITS: i32 = 0x3ff;
pub(super) const KIND_TYPE: i32 = 3;
pub(super) const TYPE_RECURSIVE: i32 = 1;
pub(super) const TYPE_ADAPTIVE: i32 = 3;
pub(super) const KIND_ROBUST: i32 = 16;
pub(super) const KIND_INHERIT: i32 = 32;
/// All of these count their nested locks.
pub(super) const KIND_PROTECT: i32 = 64;
pub(super) const KIND_SHARED: i32 = 128;
/// A glibc mutex's word while somebody waits.
pub(super) const CONTENDED: i32 = 2;
/// The bits below the priority ceiling of a mutex that has one.
pub(super) const BELOW_CEILING: i32 = (1 << 19) - 1;
/// What a thread expects that waits for a rwlock's writer: held, and waited for.
pub(super) const RWLOCK_HELD: i32 = 3;
/// The bits that a musl mutex's type may have, and those of types that record an owner.
const MUSL_TYPE_BITS: i32 = 0x8f;
const MUSL_OWNED: i32 = 0xf;
pub(super) const MUSL_INHERIT: i32 = 0x8;

/// Where a glibc mutex has its kind.
pub(super) const KIND_OFFSET: i32 = 16;
/// Below this address nothing is mapped.
pub(super) const LOWEST_ADDRESS: i32 = 4096;

// The words of a glibc rwlock that threads wait on.
pub(super) const WRPHASE_FUTEX: i16 = 2;
pub(super) const WRITERS_FUTEX: i16 = 3;

pub(super) const MUTEX_BYTES: i64 = 40;
pub(super) const RWLOCK_BYTES: i64 = 32;
pub(super) const BUFFER: i16 = -40;
/// What a neighbour on the owner's list should point to.
pub(super) const NEIGHBOUR: i16 = -48;
/// The two pointers by which a lock is on its owner's list: bytes from its start, in glibc
/// and in musl alike.
const LINKS: [i16; 2] = [24, 32];

/// `u64 lock_owner(candidate, task)`: the owner's thread id in its pid namespace, 0 for
/// none; the candidate's lock and whether it is shared are filled in.
pub(super) fn subprogram(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (no_mutex, in_word, none) = (asm.label(), asm.label(), asm.label());
    let (inherits, robust, parked, of_musl) = (asm.label(), asm.label(), asm.label(), asm.label());
    let is_64 = asm.label();
    asm.mov(R6, R1);
    asm.mov(R7, R2);
    asm.load(Size::Dw, R3, R6, IS_32);
    asm.jump_if_imm(Cond::Eq, R3, 0, is_64);
    asm.call_subprog(&columns.function("lock_owner_32"));
    asm.exit();
    asm.bind(is_64);
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
    asm.jump_if(Cond::Ne, R1, R8, no_mutex);
    contended(&mut asm, no_mutex);
    plain_mutex(&mut asm, no_mutex);
    word(&mut asm, R0, 2);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(inherits);
    asm.jump_if_imm(Cond::Set, R9, KIND_INHERIT, in_word);
    asm.jump(no_mutex);
    asm.bind(robust);
    asm.jump_if(Cond::Ne, R1, R8, no_mutex);
    asm.mov(R2, R8);
    asm.alu_imm(AluOp::Rsh, R2, WAITERS_BIT);
    asm.jump_if_imm(Cond::Eq, R2, 0, no_mutex);
    asm.load(Size::Dw, R0, R6, FUTEX);
    listed(&mut asm, no_mutex);
    asm.mov(R1, R8);
    asm.bind(in_word);
    asm.mov(R0, R1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(&mut asm, 0, R9, KIND_SHARED);

    asm.bind(no_mutex);
    asm.load(Size::Dw, R2, R6, OPERATION);
    for operation in LOCK_PI {
        asm.jump_if_imm(Cond::Eq, R2, operation, of_musl);
    }
    rwlock(&mut asm, WRITERS_FUTEX, 2);
    rwlock(&mut asm, WRPHASE_FUTEX, 3);
    musl(&mut asm, none);
    asm.bind(of_musl);
    musl_inherits(&mut asm, none);
    asm.bind(parked);
    refused::search(columns, &mut asm, Width::Wide, none);
    asm.bind(none);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("lock_owner"), code: asm.finish()? })
}

/// Goes to `not` unless the word in `r1` of a mutex of the kind in `r9`, which records no owner in
/// it, says that somebody waits. Loses `r0`.
pub(super) fn contended(asm: &mut Asm, not: Label) {
    let no_ceiling = asm.label();
    asm.mov(R0, R9);
    asm.alu_imm(AluOp::And, R0, KIND_PROTECT);
    asm.jump_if_imm(Cond::Eq, R0, 0, no_ceiling);
    asm.alu_imm(AluOp::And, R1, BELOW_CEILING);
    asm.bind(no_ceiling);
    asm.jump_if_imm(Cond::Ne, R1, CONTENDED, not);
}

/// Reads `bytes` from `before` words before the futex word.
pub(super) fn read(asm: &mut Asm, before: i16, bytes: i64, failed: Label) {
    asm.load(Size::Dw, R3, R6, FUTEX);
    asm.alu_imm(AluOp::Sub, R3, i32::from(before) * 4);
    read_r3(asm, bytes, failed);
}

/// Reads `bytes` from the address in `r3`.
pub(super) fn read_r3(asm: &mut Asm, bytes: i64, failed: Label) {
    stack_address(asm, R1, BUFFER);
    asm.load_imm(R2, bytes);
    asm.mov(R4, R7);
    asm.load_imm(R5, 0);
    asm.call_helper(COPY_FROM_USER_TASK);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
}

/// `dst =` a 32-bit word of what was read.
pub(super) fn word(asm: &mut Asm, dst: Reg, index: i16) {
    asm.load(Size::W, dst, FP, BUFFER + index * 4);
}

/// Ends the function with the owner in `r0`, for a lock that starts `before` words before
/// the futex word and is shared if `flags` has the bit.
pub(super) fn found(asm: &mut Asm, before: i16, flags: Reg, shared: i32) {
    asm.alu_imm(AluOp::And, flags, shared);
    asm.store(Size::Dw, R6, SHARED, flags);
    asm.load(Size::Dw, R1, R6, FUTEX);
    asm.alu_imm(AluOp::Sub, R1, i32::from(before) * 4);
    asm.store(Size::Dw, R6, LOCK, R1);
    asm.exit();
}

/// A rwlock that is held by a writer and waited for on the futex that is its word number
/// `futex`. `bits` of its first word have to be set in such a phase.
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
    asm.jump_if_imm(Cond::Set, R9, KIND_PROTECT, recursive);
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

/// Goes to `not` unless the lock at the address in `r0` is on its owner's list: what
/// precedes it there points back. Of a lock that processes share, with its kind in `r9`,
/// the neighbours may be another process's. Loses what was read, and `r0` to `r5`.
pub(super) fn listed(asm: &mut Asm, not: Label) {
    let shared = asm.label();
    for link in LINKS {
        asm.load(Size::Dw, R2, FP, BUFFER + link);
        asm.alu_imm(AluOp::Rsh, R2, 3);
        asm.jump_if_imm(Cond::Eq, R2, 0, not);
    }
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, KIND_SHARED);
    asm.jump_if_imm(Cond::Ne, R1, 0, shared);
    asm.alu_imm(AluOp::Add, R0, i32::from(LINKS[1]));
    asm.store(Size::Dw, FP, NEIGHBOUR, R0);
    asm.load(Size::Dw, R3, FP, BUFFER + LINKS[0]);
    // Pointers to locks that inherit have their lowest bit set in glibc's lists.
    asm.alu_imm(AluOp::And, R3, -2);
    read_r3(asm, 8, not);
    asm.load(Size::Dw, R1, FP, BUFFER);
    asm.alu_imm(AluOp::And, R1, -2);
    asm.load(Size::Dw, R2, FP, NEIGHBOUR);
    asm.jump_if(Cond::Ne, R1, R2, not);
    asm.bind(shared);
}

/// A musl mutex, whose second word is the futex word. Other libraries' locks use the
/// word's highest bit as well; a musl mutex that records its owner is on its owner's list.
fn musl(asm: &mut Asm, none: Label) {
    asm.mov(R1, R8);
    asm.alu_imm(AluOp::Rsh, R1, WAITERS_BIT);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    read(asm, 1, MUTEX_BYTES, none);
    word(asm, R1, 1);
    asm.jump_if(Cond::Ne, R1, R8, none);
    word(asm, R9, 0);
    musl_type(asm, MUSL_OWNED, none);
    word(asm, R1, 2);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    for unused in [3, 4] {
        word(asm, R1, unused);
        asm.jump_if_imm(Cond::Ne, R1, 0, none);
    }
    asm.load(Size::Dw, R0, R6, FUTEX);
    asm.alu_imm(AluOp::Sub, R0, 4);
    listed(asm, none);
    asm.mov(R0, R8);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(asm, 1, R9, KIND_SHARED);
}

/// A musl mutex that the kernel knows as one.
fn musl_inherits(asm: &mut Asm, none: Label) {
    read(asm, 1, MUTEX_BYTES, none);
    word(asm, R9, 0);
    musl_type(asm, MUSL_INHERIT, none);
    word(asm, R0, 1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    found(asm, 1, R9, KIND_SHARED);
}

/// Goes to `not` unless `r9` is a musl mutex's type with one of these bits. Loses `r1`.
pub(super) fn musl_type(asm: &mut Asm, bits: i32, not: Label) {
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, !MUSL_TYPE_BITS);
    asm.jump_if_imm(Cond::Ne, R1, 0, not);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, bits);
    asm.jump_if_imm(Cond::Eq, R1, 0, not);
}
