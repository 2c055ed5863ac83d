//! A sweep where the kernel has no iterators to call (before 6.7): programs of classic
//! iterators, which the kernel calls for each row when a file is read.
//!
//! Most filters are one program; columns that take more than their own row have
//! [passes](Columns::passes) before it. The first call of the first begins the sweep, the last
//! call of the last, which comes with no row, ends it. Records go to the ring buffer; nothing is
//! written to the files, so that no row is shown twice.
//!
//! **Invariant**: they use no kernel function and no atomic operation: what is in them works as
//! far back as the columns that a filter reads do. The files have one reader at a time, which
//! reads them in their order.
//!
//! The program for consumers that [read](super::reader) is another one: its records are what is
//! read, and anybody may read at any time. The number of the first reader's file stands in
//! `busy` until its sweep has ended; the calls for others do nothing. Of a reader that ended
//! half-way nobody tells the program: after a while another one takes its place, and it would
//! notice that if it went on.

use kernel_vm::schema::Table;

use super::Pass;
use super::columns::{self, CONTEXT, Columns, Moment, TASK};
use super::lines::TAKEN;
use super::reader;
use super::row::Row;
use super::sweep::{self, BUSY_FLAG, Names, VISITED, Way};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R6, R7, Size};
use crate::code::{Code, FieldPath};
use crate::object::{Program, ProgramSection};
use crate::target::bpf::helper;

/// Of every context: `meta` and `task`.
const META: i16 = 0;
const CALLED_FOR: i16 = 8;

/// The iterator that goes over the rows of `table`.
pub(super) const fn section(table: Table) -> ProgramSection {
    match table {
        Table::Process | Table::Thread => ProgramSection::IterTask,
        Table::File => ProgramSection::IterTaskFile,
        Table::Mapping => ProgramSection::IterTaskVma,
    }
}

/// The programs that are read before that of the rows.
pub(super) fn passes(
    filter: &str,
    columns: &Columns,
    names: &Names<'_>,
) -> Result<Vec<Pass>, JumpTooFar> {
    let mut all = Vec::new();
    for pass in columns.passes() {
        let mut asm = Asm::new();
        let last = asm.label();
        enter(&mut asm, names, last, |asm| {
            if all.is_empty() {
                begin_sweep(asm, names);
            }
            (pass.code)(columns, asm, Moment::Begin);
        });
        (pass.code)(columns, &mut asm, Moment::Row);
        sweep::leave(&mut asm);
        asm.bind(last);
        (pass.code)(columns, &mut asm, Moment::End);
        sweep::leave(&mut asm);
        let name = format!("{}_{filter}", pass.name);
        let program = Program { name, section: pass.section, code: asm.finish()? };
        all.push(Pass { program, needed: pass.needed });
    }
    Ok(all)
}

fn begin_sweep(asm: &mut Asm, names: &Names<'_>) {
    asm.load_data(R6, ".bss", names.stats);
    sweep::start(asm);
}

/// How long a reader is waited for that may have ended half-way.
const PATIENCE_NS: i64 = 5_000_000_000;

/// The start of each program: keeps the context, runs `begin` in the first call, leaves the task
/// in `r6` and goes to `last` when there is none.
fn enter(asm: &mut Asm, names: &Names<'_>, last: Label, begin: impl FnOnce(&mut Asm)) {
    let begun = asm.label();
    let reads = names.way == Way::ClassicRead;
    asm.store(Size::Dw, FP, CONTEXT, R1);
    if reads {
        asm.load(Size::Dw, R1, R1, META);
        reader::keep_buffer(asm, names);
    }
    load_meta(asm, "seq_num");
    asm.jump_if_imm(Cond::Ne, R1, 0, begun);
    if reads {
        take_turn(asm, names, begun);
    }
    begin(asm);
    asm.bind(begun);
    if reads {
        leave_to_others(asm, names);
    }
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.load(Size::Dw, R6, R1, CALLED_FOR);
    asm.jump_if_imm(Cond::Eq, R6, 0, last);
}

/// `r1 =` a number of the call's `meta`.
fn load_meta(asm: &mut Asm, member: &'static str) {
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.load(Size::Dw, R1, R1, META);
    let path = FieldPath { root: "bpf_iter_meta", path: vec![member] };
    asm.load_field(Size::Dw, R1, R1, path);
}

/// Takes the sweep for this reader, or goes to `taken` when another one has it.
fn take_turn(asm: &mut Asm, names: &Names<'_>, taken: Label) {
    let ours = asm.label();
    load_meta(asm, "session_id");
    asm.mov(R7, R1);
    asm.load_data(R6, ".bss", names.stats);
    asm.load_imm(R0, 0);
    asm.atomic_cmpxchg(R6, BUSY_FLAG, R1);
    asm.jump_if_imm(Cond::Eq, R0, 0, ours);
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    names.lines.load_area(asm, R1);
    asm.load(Size::Dw, R1, R1, TAKEN);
    // It has only just been taken.
    asm.jump_if_imm(Cond::Eq, R1, 0, taken);
    asm.alu(AluOp::Sub, R0, R1);
    asm.load_imm(R1, PATIENCE_NS);
    asm.jump_if(Cond::Sle, R0, R1, taken);
    asm.atomic_xchg(R6, BUSY_FLAG, R7);
    asm.bind(ours);
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    names.lines.load_area(asm, R1);
    asm.store(Size::Dw, R1, TAKEN, R0);
}

/// Ends the call if the sweep is another reader's, and says so in the last one.
fn leave_to_others(asm: &mut Asm, names: &Names<'_>) {
    let (ours, silent) = (asm.label(), asm.label());
    load_meta(asm, "session_id");
    asm.load_data(R2, ".bss", names.stats);
    asm.load(Size::Dw, R2, R2, BUSY_FLAG);
    asm.jump_if(Cond::Eq, R1, R2, ours);
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.load(Size::Dw, R1, R1, CALLED_FOR);
    asm.jump_if_imm(Cond::Ne, R1, 0, silent);
    reader::busy(asm, names);
    asm.bind(silent);
    sweep::leave(asm);
    asm.bind(ours);
}

/// The code of the program that reads the rows.
pub(super) fn program(
    mut asm: Asm,
    row: &Row<'_>,
    columns: &Columns,
    names: &Names<'_>,
) -> Result<Code, JumpTooFar> {
    let mut hooks = row.hooks(columns, names);
    let (last, passed) = (asm.label(), asm.label());
    enter(&mut asm, names, last, |asm| {
        if columns.passes().is_empty() {
            begin_sweep(asm, names);
        }
        if names.way == Way::ClassicRead {
            reader::begin(asm, names, row.plan);
        }
        columns.sweep_start(asm);
    });
    // Threads that are not their process.
    if row.table != Table::Thread {
        columns::skip_threads(&mut asm, passed);
    }
    asm.store(Size::Dw, FP, TASK, R6);
    columns.walk(&mut asm, |asm, next| {
        sweep::count(asm, names.stats, VISITED);
        hooks.next = Some(next);
        row.encode(asm, &mut hooks);
    });
    asm.bind(passed);
    sweep::leave(&mut asm);
    asm.bind(last);
    if let Some(groups) = names.groups {
        groups.finish(&mut asm, names);
    }
    sweep::finish(&mut asm, names);
    asm.finish()
}
