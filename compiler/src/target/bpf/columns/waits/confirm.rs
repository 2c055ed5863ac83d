//! The second look at members of cycles and at abandoned locks.
//!
//! A sweep that walks fetches each of them by its id. To classic programs all threads come by
//! themselves, and who has not come when all have been seen is acquitted.
//!
//! **Invariant**: what is not as it was is not reported, nor is the cycle that it was in.

use super::super::{Columns, field};
use super::candidate as at;
use super::graph::{enter, hold, subprogram};
use super::{KEY_BYTES, candidate_before, collect, ends, find_node, node};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R6, R8, Size};
use crate::object::Subprogram;

/// The functions that look.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    if columns.is_classic() {
        return Ok(vec![seen(columns)?, settle(columns)?]);
    }
    Ok(vec![walked(columns)?])
}

/// `u64 confirm(candidate)`: the second look at members of cycles and at abandoned locks.
fn walked(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (go_on, stop, release) = (asm.label(), asm.label(), asm.label());
    let (changed, changed_held) = (asm.label(), asm.label());
    enter(columns, &mut asm, stop);
    only_suspects(&mut asm, go_on);
    hold(&mut asm, changed, changed_held);
    look_again(columns, &mut asm, changed_held);
    asm.jump(release);
    asm.bind(changed_held);
    asm.mov(R1, R8);
    asm.call_kfunc("bpf_task_release");
    asm.bind(changed);
    acquit(columns, &mut asm, go_on);
    asm.jump(go_on);
    asm.bind(release);
    asm.mov(R1, R8);
    asm.call_kfunc("bpf_task_release");
    ends(&mut asm, go_on, stop);
    subprogram(columns, "confirm", asm)
}

/// `u64 confirm(task)`: the second look at a member of a cycle or at an abandoned lock.
fn seen(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
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

/// Goes to `other` unless the candidate in `r6` is in a cycle or its lock abandoned. Loses `r1`.
fn only_suspects(asm: &mut Asm, other: Label) {
    let look = asm.label();
    for member in [at::CYCLE, at::ABANDONED] {
        asm.load(Size::Dw, R1, R6, member);
        asm.jump_if_imm(Cond::Ne, R1, 0, look);
    }
    asm.jump(other);
    asm.bind(look);
}

/// Goes to `changed` unless the candidate in `r6`, whose task is in `r8`, has not run and waits
/// for whom it waited for.
fn look_again(columns: &Columns, asm: &mut Asm, changed: Label) {
    collect::blocked(asm, R8, changed);
    field::load(asm, R1, R8, ("task_struct", &["nvcsw"]));
    field::load(asm, R2, R8, ("task_struct", &["nivcsw"]));
    asm.alu(AluOp::Add, R1, R2);
    asm.load(Size::Dw, R2, R6, at::SWITCHES);
    asm.jump_if(Cond::Ne, R1, R2, changed);
    asm.mov(R1, R6);
    asm.mov(R2, R8);
    asm.call_subprog(&columns.function("lock_owner"));
    asm.load(Size::Dw, R1, R6, at::OWNER);
    asm.jump_if(Cond::Ne, R0, R1, changed);
}

/// Says nothing of the candidate in `r6`, or of its whole cycle. May go to `done`.
fn acquit(columns: &Columns, asm: &mut Asm, done: Label) {
    let in_cycle = asm.label();
    asm.load(Size::Dw, R1, R6, at::CYCLE);
    asm.jump_if_imm(Cond::Ne, R1, 0, in_cycle);
    asm.store_imm(Size::Dw, R6, at::ABANDONED, 0);
    asm.jump(done);
    asm.bind(in_cycle);
    candidate_before(columns, asm, R1, done);
    asm.store_imm(Size::Dw, R0, at::BROKEN, 1);
}
