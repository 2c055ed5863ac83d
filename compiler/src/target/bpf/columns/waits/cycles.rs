//! From owners to cycles.
//!
//! Each thread waits for at most one other, so following the owners from any thread either
//! ends or comes round. A walk colours what it passes with its own colour: meeting that
//! colour again means a cycle, meeting another one means that an earlier walk has been
//! here. So every candidate is passed once, however long the chains are.

use super::super::Columns;
use super::super::group;
use super::candidate as at;
use super::graph::{enter, subprogram};
use super::{COUNT, CURRENT, LENGTH, MET, SMALLEST, WALK, add, block, candidate_before, ends};
use crate::asm::{Asm, Cond, JumpTooFar, Label, R0, R1, R2, R6, R7, R8, Size};
use crate::object::Subprogram;
use crate::target::bpf::helper::{call_loop_of_r1, increment};

/// `u64 colour(candidate)`: follows the owners from here.
pub(super) fn colour(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    for (member, wanted) in [(at::COLOUR, Cond::Ne), (at::NEXT, Cond::Eq)] {
        asm.load(Size::Dw, R1, R6, member);
        asm.jump_if_imm(wanted, R1, 0, go_on);
    }
    asm.mov(R1, R7);
    increment(&mut asm, R1);
    block(columns, &mut asm, R8);
    asm.store(Size::Dw, R8, group::result(CURRENT), R1);
    asm.store(Size::Dw, R8, group::result(WALK), R1);
    asm.store_imm(Size::Dw, R8, group::result(MET), 0);
    follow(columns, &mut asm, "step");
    asm.load(Size::Dw, R1, R8, group::result(MET));
    asm.jump_if_imm(Cond::Eq, R1, 0, go_on);
    asm.store_imm(Size::Dw, R8, group::result(LENGTH), 0);
    asm.store_imm(Size::Dw, R8, group::result(SMALLEST), i32::MAX);
    for part in ["measure", "mark"] {
        asm.load(Size::Dw, R1, R8, group::result(MET));
        asm.store(Size::Dw, R8, group::result(CURRENT), R1);
        follow(columns, &mut asm, part);
    }
    ends(&mut asm, go_on, stop);
    subprogram(columns, "colour", asm)
}

/// Runs one of the functions below along the owners; the block is in `r8`.
pub(super) fn follow(columns: &Columns, asm: &mut Asm, function: &str) {
    asm.load(Size::Dw, R1, R8, group::result(COUNT));
    increment(asm, R1);
    call_loop_of_r1(asm, &columns.function(function));
}

/// The start of a function that follows: the current candidate in `r6`, the block in `r7`.
pub(super) fn current(columns: &Columns, asm: &mut Asm, stop: Label) {
    block(columns, asm, R7);
    asm.load(Size::Dw, R1, R7, group::result(CURRENT));
    candidate_before(columns, asm, R1, stop);
    asm.mov(R6, R0);
}

/// Goes on to the owner, or stops where that does not wait.
fn go_to_owner(asm: &mut Asm, stop: Label) {
    asm.load(Size::Dw, R1, R6, at::NEXT);
    asm.jump_if_imm(Cond::Eq, R1, 0, stop);
    asm.store(Size::Dw, R7, group::result(CURRENT), R1);
}

/// `u64 step()`: colours one candidate.
pub(super) fn step(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop, new) = (asm.label(), asm.label(), asm.label());
    current(columns, &mut asm, stop);
    asm.load(Size::Dw, R2, R7, group::result(WALK));
    asm.load(Size::Dw, R1, R6, at::COLOUR);
    asm.jump_if_imm(Cond::Eq, R1, 0, new);
    asm.jump_if(Cond::Ne, R1, R2, stop);
    asm.load(Size::Dw, R1, R7, group::result(CURRENT));
    asm.store(Size::Dw, R7, group::result(MET), R1);
    asm.jump(stop);
    asm.bind(new);
    asm.store(Size::Dw, R6, at::COLOUR, R2);
    go_to_owner(&mut asm, stop);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "step", asm)
}

/// `u64 measure()`: counts one member of the cycle.
pub(super) fn measure(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop, larger) = (asm.label(), asm.label(), asm.label());
    current(columns, &mut asm, stop);
    add(&mut asm, R7, group::result(LENGTH), 1, R1);
    asm.load(Size::Dw, R1, R6, at::TID);
    asm.load(Size::Dw, R2, R7, group::result(SMALLEST));
    asm.jump_if(Cond::Ge, R1, R2, larger);
    asm.store(Size::Dw, R7, group::result(SMALLEST), R1);
    asm.bind(larger);
    go_to_owner(&mut asm, stop);
    come_round(&mut asm, stop);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "measure", asm)
}

/// `u64 mark()`: tells one member of its cycle.
pub(super) fn mark(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    current(columns, &mut asm, stop);
    for (from, to) in [(MET, at::CYCLE), (SMALLEST, at::CYCLE_ID), (LENGTH, at::LENGTH)] {
        asm.load(Size::Dw, R1, R7, group::result(from));
        asm.store(Size::Dw, R6, to, R1);
    }
    go_to_owner(&mut asm, stop);
    come_round(&mut asm, stop);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "mark", asm)
}

/// Stops when the next candidate is the one that the cycle was entered at.
fn come_round(asm: &mut Asm, stop: Label) {
    asm.load(Size::Dw, R1, R7, group::result(CURRENT));
    asm.load(Size::Dw, R2, R7, group::result(MET));
    asm.jump_if(Cond::Eq, R1, R2, stop);
}
