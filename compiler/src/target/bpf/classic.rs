//! A sweep where the kernel has no iterators to call (before 6.7): programs of classic
//! iterators, which the kernel calls for each row when a file is read.
//!
//! Most filters are one program; columns that take more than their own row have
//! [passes](Columns::passes) before it. The first call of the first begins the sweep, the last
//! call of the last, which comes with no row, ends it. Records go to the ring buffer; nothing is
//! written to the files, so that no row is shown twice.
//!
//! **Invariant**: they use no kernel function and no atomic operation: what is in them works as
//! far back as the columns that a filter reads do. The files have one reader, the session that
//! made them, which reads them in their order.

use kernel_vm::schema::Table;

use super::Pass;
use super::columns::{self, CONTEXT, Columns, Moment, TASK};
use super::sweep::{self, BpfHooks, Names, VISITED};
use crate::asm::{Asm, Cond, FP, JumpTooFar, Label, R1, R2, R6, Size};
use crate::code::{Code, FieldPath};
use crate::lower::Body;
use crate::object::{Program, ProgramSection};
use crate::plan::Plan;
use crate::regalloc::allocate;
use crate::target::encode::{Hooks as _, encode};

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
        enter(&mut asm, last, |asm| {
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

/// The start of each program: keeps the context, runs `begin` in the first call, leaves the task
/// in `r6` and goes to `last` when there is none.
fn enter(asm: &mut Asm, last: Label, begin: impl FnOnce(&mut Asm)) {
    let begun = asm.label();
    asm.store(Size::Dw, FP, CONTEXT, R1);
    asm.load(Size::Dw, R2, R1, META);
    let number = FieldPath { root: "bpf_iter_meta", path: vec!["seq_num"] };
    asm.load_field(Size::Dw, R2, R2, number);
    asm.jump_if_imm(Cond::Ne, R2, 0, begun);
    begin(asm);
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.bind(begun);
    asm.load(Size::Dw, R6, R1, CALLED_FOR);
    asm.jump_if_imm(Cond::Eq, R6, 0, last);
}

/// The code of the program that reads the rows, and the bytes of stack that it needs.
pub(super) fn program(
    mut asm: Asm,
    table: Table,
    plan: &Plan,
    body: &Body,
    columns: &Columns,
    names: &Names<'_>,
) -> Result<(Code, u32), JumpTooFar> {
    let mut hooks = BpfHooks { table, plan, columns, names, record: body.record, next: None };
    let allocation = allocate(&body.function, body.frame, |op| hooks.loses(op));
    if !allocation.fits() {
        return Ok((Code::default(), allocation.frame_bytes()));
    }
    let (last, passed) = (asm.label(), asm.label());
    enter(&mut asm, last, |asm| {
        if columns.passes().is_empty() {
            begin_sweep(asm, names);
        }
        columns.sweep_start(asm);
    });
    // Threads that are not their process.
    if table != Table::Thread {
        columns::skip_threads(&mut asm, passed);
    }
    asm.store(Size::Dw, FP, TASK, R6);
    columns.walk(&mut asm, |asm, next| {
        sweep::count(asm, names.stats, VISITED);
        hooks.next = Some(next);
        encode(&body.function, &allocation, asm, &mut hooks);
    });
    asm.bind(passed);
    sweep::leave(&mut asm);
    asm.bind(last);
    if let Some(groups) = names.groups {
        groups.finish(&mut asm, names);
    }
    sweep::finish(&mut asm, names);
    Ok((asm.finish()?, allocation.frame_bytes()))
}
