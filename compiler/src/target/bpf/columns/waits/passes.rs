//! The phase as passes, where no program walks by itself.
//!
//! 1. `locks`: each thread that looks like a lock's wait is noted and its lock read. At the end
//!    it is known whose owners are missing.
//! 2. `places` and `mappers`: if there are locks that processes share, what memory they lie in
//!    and who else maps it.
//! 3. `holders`: the owners are looked for among all threads.
//! 4. `proofs`: before the first row the cycles are found, then each member is looked at once
//!    more. Who was not found as before when all have been seen is acquitted, with its cycle.
//!
//! All members were seen in the first pass and again in the last, and none ran in between: so
//! all edges existed at one time, as in the sweep that walks.
//!
//! **Invariant**: what is not confirmed is not reported.

use super::super::group::{self, Group};
use super::super::{Columns, Moment, Pass};
use super::graph::{begin, for_each, look_for, subprogram};
use super::{COUNT, SHARED_LOCKS, WANTED, block, places};
use crate::asm::{Asm, JumpTooFar, R0, R1, R6, R7};
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
            name: "places",
            section: ProgramSection::IterTaskVma,
            needed: at(SHARED_LOCKS),
            code: places::places,
        },
        Pass {
            name: "mappers",
            section: ProgramSection::IterTaskVma,
            needed: at(SHARED_LOCKS),
            code: places::mappers,
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
    Ok(vec![search(columns)?])
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
