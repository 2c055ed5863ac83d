//! The steps of the function that asks what is due, and where it ends.
//!
//! **Invariant**: `r6` is the task, `r7` whether its record is in the ring buffer, `r8` what is kept
//! of it and `r9` the slot of the oldest act, in all of them.

use std::mem::offset_of;

use kernel_vm::abi::{
    ACT_BUDGET, ACT_MARK_BYTES, ACT_SLOTS, ActOutcome, RAIL_NAME_BYTES, RailName, SWEEP_END_BYTES,
};

use super::super::resident::{self, QUERY_SIZE, QUERY_USED, room_of};
use super::super::sweep::Names;
use super::{
    COMM, DETAIL, GRANTED, MARK, NEWEST, NEXT, OUTCOME, RECORD, REFUSED, RINGBUF_NO_WAKEUP, RUNG,
    SAID, SILENT, SPENT, STARTED, WROTE,
};
use crate::asm::{AluOp, Asm, Cond, FP, Label, R0, R1, R2, R3, R4, R7, R8, R9, Reg, Size};
use crate::code::{FieldPath, RelocKind};
use crate::target::bpf::helper::{self, stack_address};

/// Where `rungs_F` ends.
pub(super) struct Ends {
    /// The evidence has no room.
    pub(super) silent: Label,
    /// The budget is spent.
    pub(super) spent: Label,
    /// A rail forbids it; the mark says which.
    pub(super) refused: Label,
    /// There is nothing more to do.
    pub(super) out: Label,
}

impl Ends {
    pub(super) fn new(asm: &mut Asm) -> Self {
        let [silent, spent, refused, out] = std::array::from_fn(|_| asm.label());
        Self { silent, spent, refused, out }
    }

    pub(super) fn bind(&self, asm: &mut Asm, names: &Names<'_>) {
        asm.bind(self.refused);
        count(asm, R9, REFUSED);
        climb(asm);
        asm.jump_if_imm(Cond::Eq, R7, 0, self.out);
        resident::take_room(asm, names, ACT_MARK_BYTES as u32, self.out);
        write_mark(asm, names);
        asm.jump(self.out);
        asm.bind(self.spent);
        count(asm, R9, SPENT);
        asm.load(Size::Dw, R1, R8, SAID);
        asm.jump_if_imm(Cond::Ne, R1, 0, self.out);
        asm.jump_if_imm(Cond::Eq, R7, 0, self.out);
        resident::take_room(asm, names, ACT_MARK_BYTES as u32, self.out);
        asm.store_imm(Size::Dw, R8, SAID, 1);
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Spent as i32);
        asm.store_imm(Size::W, FP, DETAIL, 0);
        write_mark(asm, names);
        asm.jump(self.out);
        asm.bind(self.silent);
        count(asm, R9, SILENT);
        asm.bind(self.out);
        asm.load(Size::Dw, R0, FP, WROTE);
        asm.exit();
    }
}

/// Goes to `missing` where the kernel has no work of tasks: what follows is not even looked at.
pub(super) fn require(asm: &mut Asm, missing: Label) {
    let path = FieldPath { root: "bpf_task_work", path: vec!["__opaque"] };
    asm.load_core(R1, RelocKind::FieldExists(path));
    asm.jump_if_imm(Cond::Eq, R1, 0, missing);
}

/// The rung is done with.
pub(super) fn climb(asm: &mut Asm) {
    asm.store_imm(Size::Dw, R8, SAID, 0);
    asm.load(Size::W, R1, FP, RUNG);
    asm.alu_imm(AluOp::Add, R1, 1);
    asm.store(Size::Dw, R8, NEXT, R1);
}

/// Goes on once the record and the mark of an act are in the ring buffer, the end of the sweep
/// having room behind them.
pub(super) fn write_evidence(asm: &mut Asm, names: &Names<'_>, record_size: u32, ends: &Ends) {
    let (recorded, enough) = (asm.label(), asm.label());
    for what in [QUERY_SIZE, QUERY_USED] {
        asm.load_map(R1, names.records);
        asm.load_imm(R2, what);
        asm.call_helper(helper::RINGBUF_QUERY);
        if what == QUERY_SIZE {
            asm.store(Size::Dw, FP, NEWEST, R0);
        }
    }
    asm.load(Size::Dw, R1, FP, NEWEST);
    asm.alu(AluOp::Sub, R1, R0);
    let taken = room_of(ACT_MARK_BYTES as u32) + room_of(SWEEP_END_BYTES as u32);
    asm.alu_imm(AluOp::Sub, R1, taken.cast_signed());
    asm.jump_if_imm(Cond::Ne, R7, 0, enough);
    asm.alu_imm(AluOp::Sub, R1, room_of(record_size).cast_signed());
    asm.bind(enough);
    asm.jump_if_imm(Cond::Slt, R1, 0, ends.silent);
    asm.jump_if_imm(Cond::Ne, R7, 0, recorded);
    asm.load_map(R1, names.records);
    asm.load(Size::Dw, R2, FP, RECORD);
    asm.load_imm(R3, record_size.into());
    asm.load_imm(R4, RINGBUF_NO_WAKEUP);
    asm.call_helper(helper::RINGBUF_OUTPUT);
    asm.jump_if_imm(Cond::Ne, R0, 0, ends.silent);
    resident::count_emitted(asm, names);
    asm.store_imm(Size::Dw, FP, WROTE, 1);
    asm.bind(recorded);
    asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Acts as i32);
    write_mark(asm, names);
    asm.jump_if_imm(Cond::Ne, R0, 0, ends.silent);
}

/// Goes on if the budget has an act left: the newest and the oldest of the last acts are each as
/// long ago as their window.
pub(super) fn ask_budget(asm: &mut Asm, names: &Names<'_>, ends: &Ends) {
    const _: () = assert!(ACT_BUDGET[0].1 == 1 && ACT_BUDGET[1].1 == ACT_SLOTS);
    now(asm, names, R2);
    for (rule, (window_ns, _)) in ACT_BUDGET.into_iter().enumerate() {
        let granted = asm.label();
        match rule {
            0 => asm.load(Size::Dw, R1, FP, NEWEST),
            _ => asm.load(Size::Dw, R1, R9, GRANTED),
        }
        asm.jump_if_imm(Cond::Eq, R1, 0, granted);
        asm.mov(R3, R2);
        asm.alu(AluOp::Sub, R3, R1);
        asm.load_imm(R4, window_ns);
        asm.jump_if(Cond::Slt, R3, R4, ends.spent);
        asm.bind(granted);
    }
}

/// `r1 =` 0 if the name that was read is the one that stands `at` bytes into the rails at `r0`.
pub(super) fn differs(asm: &mut Asm, at: usize) {
    for word in 0..RAIL_NAME_BYTES / 8 {
        let (sum, byte) = (if word == 0 { R1 } else { R3 }, 8 * word);
        asm.load(Size::Dw, sum, FP, COMM + byte as i16);
        asm.load(Size::Dw, R2, R0, (at + offset_of!(RailName, bytes) + byte) as i16);
        asm.alu(AluOp::Xor, sum, R2);
        asm.load(Size::Dw, R2, R0, (at + offset_of!(RailName, mask) + byte) as i16);
        asm.alu(AluOp::And, sum, R2);
    }
    asm.alu(AluOp::Or, R1, R3);
}

/// `r0 =` 0 once the mark is in the ring buffer. Its room was taken before.
pub(super) fn write_mark(asm: &mut Asm, names: &Names<'_>) {
    asm.load_map(R1, names.records);
    stack_address(asm, R2, MARK);
    asm.load_imm(R3, ACT_MARK_BYTES as i64);
    asm.load_imm(R4, RINGBUF_NO_WAKEUP);
    asm.call_helper(helper::RINGBUF_OUTPUT);
}

/// Adds one to a counter of the slot in `slot`: the sweep and a process may do so at once.
pub(super) fn count(asm: &mut Asm, slot: Reg, counter: i16) {
    asm.load_imm(R1, 1);
    asm.atomic_add(slot, counter, R1);
}

/// `dst =` the time of the sweep.
pub(super) fn now(asm: &mut Asm, names: &Names<'_>, dst: Reg) {
    asm.load_data(dst, ".bss", names.stats);
    asm.load(Size::Dw, dst, dst, STARTED);
}

pub(super) fn member(name: &'static str) -> FieldPath {
    FieldPath { root: "task_struct", path: vec![name] }
}
