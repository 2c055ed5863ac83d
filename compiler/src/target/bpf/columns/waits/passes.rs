//! The phase as passes, where no program walks by itself.
//!
//! 1. `locks`: each thread that looks like a lock's wait is noted and its lock read. At the end
//!    it is known whose owners are missing.
//! 2. `holders`: the owners are looked for among all threads.
//! 3. `proofs`: before the first row the cycles are found, then each member is looked at once
//!    more. Who was not found as before when all have been seen is acquitted, with its cycle.
//!
//! All members were seen in the first pass and again in the third, and none ran in between: so
//! all edges existed at one time, as in the sweep that walks.
//!
//! **Invariant**: what is not confirmed is not reported.

use super::super::group::{self, Group};
use super::super::{Columns, Moment, Pass, field};
use super::candidate as at;
use super::graph::{
    acquit, begin, enter, for_each, look_again, look_for, only_suspects, subprogram,
};
use super::{COUNT, KEY_BYTES, WANTED, block, candidate_before, ends, find_node, node};
use crate::asm::{Asm, Cond, FP, JumpTooFar, R0, R1, R2, R6, R7, R8, Size};
use crate::object::{ProgramSection, Subprogram};

/// The passes in their order.
pub(crate) fn passes(columns: &Columns) -> Vec<Pass> {
    let at = |word| Some(columns.layout().group(Group::Waits) + group::result(word) as u32);
    vec![
        Pass {
            name: "locks",
            section: ProgramSection::IterTaskSleepable,
            needed: None,
            code: locks,
        },
        Pass {
            name: "holders",
            section: ProgramSection::IterTask,
            needed: at(WANTED),
            code: holders,
        },
        Pass {
            name: "proofs",
            section: ProgramSection::IterTaskSleepable,
            needed: at(COUNT),
            code: proofs,
        },
    ]
}

fn locks(columns: &Columns, asm: &mut Asm, moment: Moment) {
    match moment {
        Moment::Begin => {
            block(columns, asm, R7);
            begin(columns, asm);
        }
        Moment::Row => call(columns, asm, "collect"),
        Moment::End => {
            block(columns, asm, R7);
            for_each(columns, asm, "want");
        }
    }
}

fn holders(columns: &Columns, asm: &mut Asm, moment: Moment) {
    if moment == Moment::Row {
        call(columns, asm, "search");
    }
}

fn proofs(columns: &Columns, asm: &mut Asm, moment: Moment) {
    block(columns, asm, R7);
    match moment {
        Moment::Begin => {
            for part in ["resolve", "colour"] {
                for_each(columns, asm, part);
            }
        }
        Moment::Row => call(columns, asm, "confirm"),
        Moment::End => for_each(columns, asm, "settle"),
    }
}

/// Calls a function with the row's task.
fn call(columns: &Columns, asm: &mut Asm, function: &str) {
    asm.mov(R1, R6);
    asm.call_subprog(&columns.function(function));
}

/// The functions that only passes have.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    Ok(vec![search(columns)?, confirm(columns)?, settle(columns)?])
}

/// `u64 search(task)`: tells those who want this thread.
fn search(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let end = asm.label();
    asm.mov(R7, R1);
    look_for(columns, &mut asm, end);
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "search", asm)
}

/// `u64 confirm(task)`: the second look at a member of a cycle or at an abandoned lock.
fn confirm(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    const KEY: i16 = -KEY_BYTES;
    let mut asm = Asm::new();
    let end = asm.label();
    asm.mov(R8, R1);
    asm.store_imm(Size::Dw, FP, KEY, 0);
    field::load(&mut asm, R1, R8, ("task_struct", &["pid"]));
    asm.store(Size::Dw, FP, KEY + 8, R1);
    find_node(columns, &mut asm, KEY, end);
    asm.load(Size::Dw, R1, R0, node::CANDIDATE);
    candidate_before(columns, &mut asm, R1, end);
    asm.mov(R6, R0);
    only_suspects(&mut asm, end);
    field::load(&mut asm, R1, R8, ("task_struct", &["start_boottime"]));
    asm.load(Size::Dw, R2, R6, at::START);
    asm.jump_if(Cond::Ne, R1, R2, end);
    look_again(columns, &mut asm, end);
    asm.store_imm(Size::Dw, R6, at::CONFIRMED, 1);
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    subprogram(columns, "confirm", asm)
}

/// `u64 settle(candidate)`: what was not confirmed is not so.
fn settle(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    only_suspects(&mut asm, go_on);
    asm.load(Size::Dw, R1, R6, at::CONFIRMED);
    asm.jump_if_imm(Cond::Ne, R1, 0, go_on);
    acquit(columns, &mut asm, go_on);
    ends(&mut asm, go_on, stop);
    subprogram(columns, "settle", asm)
}
