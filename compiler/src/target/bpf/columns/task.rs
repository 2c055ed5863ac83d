//! Columns of a task that take more than a path of loads.

use super::field::{self, Hop};
use super::{Columns, group};
use crate::asm::{AluOp, Asm, Cond, Label, R0, R2, R3, R4, R6, Reg, Size};

/// Columns with a function of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    InnerPid,
    InnerTid,
    Comm,
    State,
    Processor,
    Age,
    ChildrenTime,
    FileLimit,
}

/// `TASK_NOLOAD | TASK_UNINTERRUPTIBLE`: sleeps without counting as load.
const IDLE: i32 = 0x402;
/// `TASK_RTLOCK_WAIT | TASK_FROZEN`: reported as uninterruptible.
const REPORTED_BLOCKED: i32 = 0x1000 | 0x8000;
/// The bits of `TASK_REPORT`.
const REPORTED: i32 = 0x7f;
/// The state after the reported bits: the schema's `idle`.
const STATE_IDLE: i64 = 8;
/// `TASK_UNINTERRUPTIBLE` as the schema counts.
const STATE_DISK_SLEEP: i64 = 2;
/// Pid namespaces that are found by plain loads; deeper ones are unreadable. Containers in
/// containers make two levels.
const NAMESPACE_LEVELS: [&[&str]; 4] = [
    &["numbers", "0", "nr"],
    &["numbers", "1", "nr"],
    &["numbers", "2", "nr"],
    &["numbers", "3", "nr"],
];

impl Special {
    /// Whether more registers than `dst` and `r0` are lost.
    pub(super) const fn clobbers(self) -> bool {
        match self {
            Self::InnerPid
            | Self::InnerTid
            | Self::Comm
            | Self::State
            | Self::Processor
            | Self::Age
            | Self::ChildrenTime
            | Self::FileLimit => false,
        }
    }

    /// The members of the task that it reads.
    pub(super) const fn members(self) -> &'static [Hop] {
        match self {
            Self::InnerPid | Self::ChildrenTime | Self::FileLimit => {
                &[("task_struct", &["signal"])]
            }
            Self::InnerTid => &[("task_struct", &["thread_pid"])],
            Self::Comm => &[("task_struct", &["comm", "0"])],
            Self::State => &[("task_struct", &["__state"]), ("task_struct", &["exit_state"])],
            Self::Processor => &[("task_struct", &["thread_info", "cpu"])],
            Self::Age => &[("task_struct", &["start_boottime"])],
        }
    }

    /// Emits the code, as [`Columns::load`] says.
    pub(super) fn load(self, columns: &Columns, asm: &mut Asm, dst: Reg, unreadable: Label) {
        match self {
            Self::InnerPid => {
                field::load(asm, dst, R6, ("task_struct", &["signal"]));
                field::load(asm, dst, dst, ("signal_struct", &["pids", "1"]));
                inner_number(asm, dst, unreadable);
            }
            Self::InnerTid => {
                field::load(asm, dst, R6, ("task_struct", &["thread_pid"]));
                inner_number(asm, dst, unreadable);
            }
            Self::Comm => comm(columns, asm, dst),
            Self::State => state(asm, dst),
            Self::Processor => processor(asm, dst),
            Self::Age => age(columns, asm, dst),
            Self::ChildrenTime => {
                field::load(asm, R0, R6, ("task_struct", &["signal"]));
                field::load(asm, dst, R0, ("signal_struct", &["cutime"]));
                field::load(asm, R0, R0, ("signal_struct", &["cstime"]));
                asm.alu(AluOp::Add, dst, R0);
            }
            Self::FileLimit => {
                field::load(asm, dst, R6, ("task_struct", &["signal"]));
                field::load(asm, dst, dst, ("signal_struct", &["rlim", "7", "rlim_cur"]));
                clamp_to_signed(asm, dst);
            }
        }
    }
}

/// RLIM_INFINITY and other values above the largest signed number become it.
fn clamp_to_signed(asm: &mut Asm, dst: Reg) {
    let fits = asm.label();
    asm.jump_if_imm(Cond::Sge, dst, 0, fits);
    asm.load_imm(dst, i64::MAX);
    asm.bind(fits);
}

/// From a `struct pid` in `dst` to its number in its own namespace, the innermost.
fn inner_number(asm: &mut Asm, dst: Reg, unreadable: Label) {
    let end = asm.label();
    asm.jump_if_imm(Cond::Eq, dst, 0, unreadable);
    field::load(asm, R0, dst, ("pid", &["level"]));
    for (level, path) in (0..).zip(NAMESPACE_LEVELS) {
        let deeper = asm.label();
        asm.jump_if_imm(Cond::Ne, R0, level, deeper);
        field::load(asm, dst, dst, ("pid", path));
        asm.jump(end);
        asm.bind(deeper);
    }
    asm.jump(unreadable);
    asm.bind(end);
}

/// The name, padded with zeros. The kernel does so from Linux 5.17 on: before, what an earlier
/// and longer name has left stands behind a name's end (`__set_task_comm` in `fs/exec.c`), and
/// classic programs may run there.
fn comm(columns: &Columns, asm: &mut Asm, dst: Reg) {
    const HALVES: [Hop; 2] = [("task_struct", &["comm", "0"]), ("task_struct", &["comm", "8"])];
    for (hop, offset) in HALVES.into_iter().zip([0, 8]) {
        asm.load_field(Size::Dw, R0, R6, field::path(hop));
        if columns.is_classic() {
            // What the first half has left in `r3` are the bytes that still count, all or none.
            if offset > 0 {
                asm.alu_imm(AluOp::Arsh, R3, 63);
                asm.alu(AluOp::And, R0, R3);
            }
            cut_at_end(asm);
        }
        asm.store(Size::Dw, dst, offset, R0);
    }
}

/// Makes the bytes of `r0` from its first zero on, the lowest being the first, all zero; `r3 =`
/// the mask for that, negative if there is none. Loses `r2` and `r4`.
fn cut_at_end(asm: &mut Asm) {
    const LOWEST_BITS: i64 = 0x0101_0101_0101_0101;
    const HIGHEST_BITS: i64 = LOWEST_BITS << 7;
    // The lowest bit of `r2` is the highest of the first zero byte.
    asm.mov(R2, R0);
    asm.load_imm(R4, LOWEST_BITS);
    asm.alu(AluOp::Sub, R2, R4);
    asm.mov(R3, R0);
    asm.alu_imm(AluOp::Xor, R3, -1);
    asm.alu(AluOp::And, R2, R3);
    asm.load_imm(R4, HIGHEST_BITS);
    asm.alu(AluOp::And, R2, R4);
    asm.mov(R3, R2);
    asm.neg(R3);
    asm.alu(AluOp::And, R3, R2);
    asm.alu_imm(AluOp::Rsh, R3, 7);
    asm.alu_imm(AluOp::Sub, R3, 1);
    asm.alu(AluOp::And, R0, R3);
}

/// The number of the highest reported bit, as `task_state_index` computes it.
fn state(asm: &mut Asm, dst: Reg) {
    let (old, known) = (asm.label(), asm.label());
    field::exists(asm, R0, ("task_struct", &["__state"]));
    asm.jump_if_imm(Cond::Eq, R0, 0, old);
    field::load(asm, dst, R6, ("task_struct", &["__state"]));
    asm.jump(known);
    asm.bind(old);
    field::load(asm, dst, R6, ("task_struct___old", &["state"]));
    asm.bind(known);

    let (blocked, idle, narrow, lowest, end) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.jump_if_imm(Cond::Set, dst, REPORTED_BLOCKED, blocked);
    asm.mov(R0, dst);
    asm.alu_imm(AluOp::And, R0, IDLE);
    asm.jump_if_imm(Cond::Eq, R0, IDLE, idle);
    field::load(asm, R0, R6, ("task_struct", &["exit_state"]));
    asm.alu(AluOp::Or, R0, dst);
    asm.alu_imm(AluOp::And, R0, REPORTED);
    asm.load_imm(dst, 0);
    asm.jump_if_imm(Cond::Lt, R0, 1 << 4, narrow);
    asm.alu_imm(AluOp::Rsh, R0, 4);
    asm.alu_imm(AluOp::Add, dst, 4);
    asm.bind(narrow);
    asm.jump_if_imm(Cond::Lt, R0, 1 << 2, lowest);
    asm.alu_imm(AluOp::Rsh, R0, 2);
    asm.alu_imm(AluOp::Add, dst, 2);
    asm.bind(lowest);
    // What is left is 0 to 3, whose highest bits are number 0, 1, 2 and 2.
    asm.alu(AluOp::Add, dst, R0);
    asm.jump_if_imm(Cond::Lt, R0, 3, end);
    asm.alu_imm(AluOp::Sub, dst, 1);
    asm.jump(end);
    asm.bind(blocked);
    asm.load_imm(dst, STATE_DISK_SLEEP);
    asm.jump(end);
    asm.bind(idle);
    asm.load_imm(dst, STATE_IDLE);
    asm.bind(end);
}

fn processor(asm: &mut Asm, dst: Reg) {
    const IN_THREAD_INFO: Hop = ("task_struct", &["thread_info", "cpu"]);
    let (old, end) = (asm.label(), asm.label());
    field::exists(asm, R0, IN_THREAD_INFO);
    asm.jump_if_imm(Cond::Eq, R0, 0, old);
    field::load(asm, dst, R6, IN_THREAD_INFO);
    asm.jump(end);
    asm.bind(old);
    field::load(asm, dst, R6, ("task_struct___cpu", &["cpu"]));
    asm.bind(end);
}

/// Of a task that started during the sweep: 0.
fn age(columns: &Columns, asm: &mut Asm, dst: Reg) {
    let end = asm.label();
    asm.load_data(dst, ".bss", columns.place.stats + group::STATS_STARTED);
    asm.load(Size::Dw, dst, dst, 0);
    field::load(asm, R0, R6, ("task_struct", &["start_boottime"]));
    asm.alu(AluOp::Sub, dst, R0);
    asm.jump_if_imm(Cond::Sge, dst, 0, end);
    asm.load_imm(dst, 0);
    asm.bind(end);
}
