//! A sweep whose records go to whoever reads a file.
//!
//! The program is that of an iterator over a single thread: it may be called with that
//! thread, which does nothing, and then without one, whether or not the reader's pid
//! namespace has such a thread: that is the sweep.
//!
//! A switch in `.rodata` says what is written: 0 for records, followed by the first
//! [`SWEEP_END_BYTES`] of the sweep's statistics, so that a reader knows that it has all; 1
//! for lines, see [`lines`](super::lines). When another sweep is running there are no records
//! and no end, and a line that says so.
//!
//! **Invariant**: what is written fits the file's buffer, as one byte too many fails the
//! whole read; records that do not fit are counted. Addresses are written only for a reader
//! who may trace the kernel: for others they are unknown.

use kernel_vm::abi::SWEEP_END_BYTES;
use kernel_vm::schema::{Type, Unit};

use super::lines::{self, PRIVILEGED, USED};
use super::sweep::{Names, Way};
use crate::asm::{AluOp, Asm, Cond, FP, Label, R0, R1, R2, R3, R7, Size};
use crate::code::FieldPath;
use crate::object::{DataType, Scratch};
use crate::plan::Plan;
use crate::target::bpf::helper::{self, stack_address};

/// Bytes that one call may put into the file that is read, less one.
const OUTPUT_BYTES: u32 = (32 << 10) - 1;
/// CAP_SYS_ADMIN and CAP_PERFMON, the ones that let a task trace the kernel.
const TRACING: i64 = 1 << 21 | 1 << 38;

/// The switch between records and lines, as a variable of `.rodata`.
pub(super) fn switch(filter: &str, offset: u32) -> Scratch {
    Scratch { name: format!("{filter}_as_lines"), offset, ty: DataType::U64 }
}

/// Keeps the buffer of the file that is read, or goes to `passed` when it is not yet the
/// last call.
pub(super) fn open(asm: &mut Asm, names: &Names<'_>, passed: Label) {
    const META: i16 = 0;
    const ITERATED: i16 = 8;
    asm.load(Size::Dw, R2, R1, ITERATED);
    asm.jump_if_imm(Cond::Ne, R2, 0, passed);
    asm.load(Size::Dw, R1, R1, META);
    keep_buffer(asm, names);
}

/// Keeps the buffer of the file that is read; the call's `meta` is in `r1`.
pub(super) fn keep_buffer(asm: &mut Asm, names: &Names<'_>) {
    let path = FieldPath { root: "bpf_iter_meta", path: vec!["seq"] };
    asm.load_field(Size::Dw, R1, R1, path);
    asm.store(Size::Dw, FP, names.output, R1);
}

/// Once the sweep is this one's: nothing is written yet, and who reads is looked at.
pub(super) fn begin(asm: &mut Asm, names: &Names<'_>, plan: &Plan) {
    names.lines.load_area(asm, R7);
    asm.store_imm(Size::Dw, R7, USED, 0);
    if addresses(plan).next().is_none() {
        return;
    }
    let done = asm.label();
    asm.store_imm(Size::Dw, R7, PRIVILEGED, 0);
    asm.call_helper(helper::CURRENT_TASK);
    asm.mov(R1, R0);
    // Where there is no trust in pointers, there is none to lose.
    if names.way == Way::Read {
        super::columns::untrusted(asm, "task_struct");
    }
    let field = |path: &[&'static str], root| FieldPath { root, path: path.to_vec() };
    asm.load_field(Size::Dw, R1, R0, field(&["cred"], "task_struct"));
    asm.load_field(Size::Dw, R2, R1, field(&["user_ns"], "cred"));
    asm.load_field(Size::W, R2, R2, field(&["level"], "user_namespace"));
    asm.jump_if_imm(Cond::Ne, R2, 0, done);
    asm.load_field(Size::Dw, R2, R1, field(&["cap_effective", "val"], "cred"));
    asm.load_imm(R3, TRACING);
    asm.alu(AluOp::And, R2, R3);
    asm.store(Size::Dw, R7, PRIVILEGED, R2);
    asm.bind(done);
}

/// The fields that are addresses, with their bits.
fn addresses(plan: &Plan) -> impl Iterator<Item = (usize, u32)> {
    let fields = plan.fields.iter().enumerate();
    fields.filter(|(_, field)| field.ty == Type::Int(Unit::Address)).map(|(i, f)| (i, f.offset))
}

/// Writes the record at `record` on the stack; goes to `full` when it does not fit, and
/// leaves 0 in `r0` when it has been written.
pub(super) fn emit(asm: &mut Asm, names: &Names<'_>, plan: &Plan, record: i32, full: Label) {
    hide_addresses(asm, names, plan, record);
    let (as_lines, done) = (asm.label(), asm.label());
    load_switch(asm, names);
    asm.jump_if_imm(Cond::Ne, R0, 0, as_lines);
    let size = plan.record_size;
    asm.load_imm(R3, i64::from(size));
    take_room(asm, names, OUTPUT_BYTES - SWEEP_END_BYTES as u32, full);
    stack_address(asm, R2, record);
    write(asm, names);
    asm.jump(done);
    asm.bind(as_lines);
    names.lines.render(asm, record);
    take_room(asm, names, OUTPUT_BYTES - lines::TAIL_BYTES_MAX as u32, full);
    write(asm, names);
    asm.bind(done);
}

/// Makes addresses unknown to those who may not see them.
fn hide_addresses(asm: &mut Asm, names: &Names<'_>, plan: &Plan, record: i32) {
    if addresses(plan).next().is_none() {
        return;
    }
    let shown = asm.label();
    names.lines.load_area(asm, R1);
    asm.load(Size::Dw, R0, R1, PRIVILEGED);
    asm.jump_if_imm(Cond::Ne, R0, 0, shown);
    asm.load(Size::Dw, R0, FP, record as i16);
    for (bit, offset) in addresses(plan) {
        asm.load_imm(R1, (1_u64 << bit) as i64);
        asm.alu(AluOp::Or, R0, R1);
        asm.store_imm(Size::Dw, FP, (record + offset.cast_signed()) as i16, 0);
    }
    asm.store(Size::Dw, FP, record as i16, R0);
    asm.bind(shown);
}

/// Takes room for `r3` bytes out of `most`, or goes to `full`. Loses `r0` and `r1`.
fn take_room(asm: &mut Asm, names: &Names<'_>, most: u32, full: Label) {
    names.lines.load_area(asm, R1);
    asm.load(Size::Dw, R0, R1, USED);
    asm.alu(AluOp::Add, R0, R3);
    asm.jump_if_imm(Cond::Gt, R0, most.cast_signed(), full);
    asm.store(Size::Dw, R1, USED, R0);
}

/// Writes `r3` bytes at `r2`.
fn write(asm: &mut Asm, names: &Names<'_>) {
    asm.load(Size::Dw, R1, FP, names.output);
    asm.call_helper(helper::SEQ_WRITE);
}

/// `r0 =` whether lines are wanted. Loses `r1`.
fn load_switch(asm: &mut Asm, names: &Names<'_>) {
    asm.load_data(R1, ".rodata", names.switch);
    asm.load(Size::Dw, R0, R1, 0);
}

/// Ends what is read: with the statistics, or with what they say. Loses `r0` to `r5`.
pub(super) fn finish(asm: &mut Asm, names: &Names<'_>) {
    let (as_lines, done) = (asm.label(), asm.label());
    load_switch(asm, names);
    asm.jump_if_imm(Cond::Ne, R0, 0, as_lines);
    asm.load_data(R2, ".bss", names.stats);
    asm.load_imm(R3, SWEEP_END_BYTES as i64);
    write(asm, names);
    asm.jump(done);
    asm.bind(as_lines);
    names.lines.render_tail(asm);
    write(asm, names);
    asm.bind(done);
}

/// When another sweep is running: says so in lines. Loses `r0` to `r5`.
pub(super) fn busy(asm: &mut Asm, names: &Names<'_>) {
    const BUSY: &str = "# another sweep was running: read again\n";
    const AT: i16 = -48;
    const _: () = assert!(BUSY.len() == 40, "five words");
    let silent = asm.label();
    load_switch(asm, names);
    asm.jump_if_imm(Cond::Eq, R0, 0, silent);
    // On the stack: what is in the area is the other sweep's.
    asm.load(Size::Dw, R1, FP, names.output);
    for (bytes, offset) in BUSY.as_bytes().chunks(8).zip((AT..).step_by(8)) {
        asm.load_imm(R0, lines::text_word(bytes));
        asm.store(Size::Dw, FP, offset, R0);
    }
    stack_address(asm, R2, AT);
    asm.load_imm(R3, BUSY.len() as i64);
    asm.call_helper(helper::SEQ_WRITE);
    asm.bind(silent);
}
