//! Which mutex a parked thread did not get: the kernel refused to close a cycle with it.
//!
//! It is the first that its registers or its stack point to and that somebody else owns, or
//! else one of its own, which it tried to lock again. Registers are those that functions
//! preserve; functions of 32 bits get their arguments on the stack.
//!
//! Classic programs have no iterator over numbers: there the search is a function that
//! bpf_loop calls for each place.

use super::super::Columns;
use super::candidate::{FUTEX, INNER_TID, LOCK, REGISTERS, SHARED, STACK};
use super::lock::{
    BUFFER, KIND_BITS, KIND_INHERIT, KIND_SHARED, LOWEST_ADDRESS, MUSL_INHERIT, NEIGHBOUR,
    OWNER_MASK, listed, musl_type, read_r3, word,
};
use super::lock32::{kind, owner_twice};
use super::{lock, lock32};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Size,
};
use crate::object::Subprogram;
use crate::target::bpf::helper::{LOOP, stack_address};

/// Of which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Of 64 bits.
    Wide,
    /// Of 32 bits.
    Narrow,
}

/// The registers that may hold a pointer.
const REGISTER_COUNT: i32 = REGISTERS.len() as i32;

// The stack, below what reading a lock takes: the iterator over places, or in classic programs
// the caller's words; then an owner.
const ITERATOR: i16 = NEIGHBOUR - 8;
const CALLER: i16 = ITERATOR;
const OWNER: i16 = ITERATOR - 8;
/// The caller's words: the candidate, its task, and the owner once it is found.
const WORDS: i16 = OWNER - 24;
const TASK: i16 = 8;
const FOUND: i16 = 16;

impl Width {
    /// Registers and pointers of the stack that are looked at.
    const fn places(self) -> i32 {
        match self {
            Self::Wide => REGISTER_COUNT + 48,
            Self::Narrow => 96,
        }
    }

    const fn pointer_bytes(self) -> i64 {
        match self {
            Self::Wide => 8,
            Self::Narrow => 4,
        }
    }

    /// How far before the address that is pointed to the mutex may start.
    const fn distances(self) -> [i32; 2] {
        match self {
            Self::Wide => [lock::KIND_OFFSET, 0],
            Self::Narrow => [lock32::KIND_OFFSET, 0],
        }
    }

    const fn function(self) -> &'static str {
        match self {
            Self::Wide => "refused",
            Self::Narrow => "refused_32",
        }
    }
}

/// The functions that are called for each place.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    if !columns.is_classic() {
        return Ok(Vec::new());
    }
    Ok(vec![at_place(columns, Width::Wide)?, at_place(columns, Width::Narrow)?])
}

/// Ends the function with the owner of the mutex that the candidate in `r6`, whose task is in
/// `r7`, did not get; goes to `none` if there is no such mutex.
pub(super) fn search(columns: &Columns, asm: &mut Asm, width: Width, none: Label) {
    asm.store_imm(Size::Dw, R6, FUTEX, 0);
    if columns.is_classic() {
        call_for_each_place(columns, asm, width);
    } else {
        walk_places(asm, width);
    }
    // One of its own.
    asm.load(Size::Dw, R1, R6, FUTEX);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    asm.store(Size::Dw, R6, LOCK, R1);
    asm.load(Size::Dw, R0, R6, INNER_TID);
    asm.exit();
}

fn walk_places(asm: &mut Asm, width: Width) {
    let (next, end) = (asm.label(), asm.label());
    let destroy = |asm: &mut Asm| {
        stack_address(asm, R1, ITERATOR);
        asm.call_kfunc("bpf_iter_num_destroy");
    };
    stack_address(asm, R1, ITERATOR);
    asm.load_imm(R2, 0);
    asm.load_imm(R3, width.places().into());
    asm.call_kfunc("bpf_iter_num_new");
    asm.bind(next);
    stack_address(asm, R1, ITERATOR);
    asm.call_kfunc("bpf_iter_num_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.load(Size::W, R1, R0, 0);
    look_at(asm, width, next, |asm| {
        destroy(asm);
        asm.mov(R0, R8);
        asm.exit();
    });
    asm.jump(next);
    asm.bind(end);
    destroy(asm);
}

fn call_for_each_place(columns: &Columns, asm: &mut Asm, width: Width) {
    let not_found = asm.label();
    asm.store(Size::Dw, FP, WORDS, R6);
    asm.store(Size::Dw, FP, WORDS + TASK, R7);
    asm.store_imm(Size::Dw, FP, WORDS + FOUND, 0);
    asm.load_imm(R1, width.places().into());
    asm.load_subprog(R2, &columns.function(width.function()));
    stack_address(asm, R3, WORDS);
    asm.load_imm(R4, 0);
    asm.call_helper(LOOP);
    asm.load(Size::Dw, R0, FP, WORDS + FOUND);
    asm.jump_if_imm(Cond::Eq, R0, 0, not_found);
    asm.exit();
    asm.bind(not_found);
}

/// `u64 refused(place, words)`: looks at one place; 1 once the owner is found.
fn at_place(columns: &Columns, width: Width) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let next = asm.label();
    asm.store(Size::Dw, FP, CALLER, R2);
    asm.load(Size::Dw, R6, R2, 0);
    asm.load(Size::Dw, R7, R2, TASK);
    look_at(&mut asm, width, next, |asm| {
        asm.load(Size::Dw, R1, FP, CALLER);
        asm.store(Size::Dw, R1, FOUND, R8);
        asm.load_imm(R0, 1);
        asm.exit();
    });
    asm.bind(next);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function(width.function()), code: asm.finish()? })
}

/// Looks at the place whose number is in `r1`, for the candidate in `r6` and its task in `r7`;
/// `leave` is run with the owner in `r8`, and ends the function. Goes to `next` or falls through.
fn look_at(asm: &mut Asm, width: Width, next: Label, leave: impl Fn(&mut Asm)) {
    let (on_stack, look) = (asm.label(), asm.label());
    if width == Width::Wide {
        asm.jump_if_imm(Cond::Ge, R1, REGISTER_COUNT, on_stack);
        asm.alu_imm(AluOp::Lsh, R1, 3);
        asm.mov(R2, R6);
        asm.alu(AluOp::Add, R2, R1);
        asm.load(Size::Dw, R8, R2, REGISTERS[0]);
        asm.jump(look);
        asm.bind(on_stack);
        asm.alu_imm(AluOp::Sub, R1, REGISTER_COUNT);
    }
    asm.alu_imm(AluOp::Lsh, R1, width.pointer_bytes().trailing_zeros() as i32);
    asm.load(Size::Dw, R3, R6, STACK);
    asm.alu(AluOp::Add, R3, R1);
    read_r3(asm, width.pointer_bytes(), next);
    let size = if width == Width::Wide { Size::Dw } else { Size::W };
    asm.load(size, R8, FP, BUFFER);
    asm.bind(look);
    for distance in width.distances() {
        let (own, other) = (asm.label(), asm.label());
        asm.mov(R3, R8);
        asm.alu_imm(AluOp::Sub, R3, distance);
        asm.store(Size::Dw, R6, LOCK, R3);
        asm.jump_if_imm(Cond::Lt, R3, LOWEST_ADDRESS, other);
        match width {
            Width::Wide => wide(asm, other),
            Width::Narrow => narrow(asm, other),
        }
        asm.load(Size::Dw, R1, R6, INNER_TID);
        asm.jump_if(Cond::Eq, R0, R1, own);
        asm.alu_imm(AluOp::And, R9, KIND_SHARED);
        asm.store(Size::Dw, R6, SHARED, R9);
        asm.mov(R8, R0);
        leave(asm);
        asm.bind(own);
        asm.load(Size::Dw, R1, R6, LOCK);
        asm.store(Size::Dw, R6, FUTEX, R1);
        asm.bind(other);
    }
}

/// `r0 =` the owner of the inheriting mutex at `r3`, which is also the candidate's lock, and
/// `r9 =` its kind; or goes to `other`.
fn wide(asm: &mut Asm, other: Label) {
    let (of_musl, owned) = (asm.label(), asm.label());
    read_r3(asm, lock::MUTEX_BYTES, other);
    word(asm, R9, 4);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, !KIND_BITS);
    asm.jump_if_imm(Cond::Ne, R1, 0, of_musl);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, KIND_INHERIT);
    asm.jump_if_imm(Cond::Eq, R1, 0, of_musl);
    word(asm, R0, 0);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    asm.jump_if_imm(Cond::Eq, R0, 0, other);
    // Its owner stands in it twice.
    word(asm, R1, 2);
    asm.jump_if(Cond::Ne, R0, R1, other);
    asm.jump(owned);
    asm.bind(of_musl);
    word(asm, R9, 0);
    musl_type(asm, MUSL_INHERIT, other);
    word(asm, R0, 1);
    asm.alu_imm(AluOp::And, R0, OWNER_MASK);
    asm.jump_if_imm(Cond::Eq, R0, 0, other);
    asm.store(Size::Dw, FP, OWNER, R0);
    asm.load(Size::Dw, R0, R6, LOCK);
    listed(asm, other);
    asm.load(Size::Dw, R0, FP, OWNER);
    asm.bind(owned);
}

/// The same of a program of 32 bits.
fn narrow(asm: &mut Asm, other: Label) {
    read_r3(asm, lock32::MUTEX_BYTES, other);
    kind(asm, other);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::And, R1, KIND_INHERIT);
    asm.jump_if_imm(Cond::Eq, R1, 0, other);
    word(asm, R1, 0);
    owner_twice(asm, other);
    asm.jump_if_imm(Cond::Eq, R0, 0, other);
}
