//! A sweep where the kernel has no iterators to call (before 6.7): a program of a classic
//! iterator, which the kernel calls for each row when a file is read.
//!
//! The first call begins the sweep, the last one, which comes with no row, ends it. Records go
//! to the ring buffer; nothing is written to the file, so that no row is shown twice.
//!
//! **Invariant**: it uses no kernel function and no atomic operation: what is in it works as
//! far back as the columns that a filter reads do. The file has one reader, the session that
//! made it.

use kernel_vm::schema::Table;

use super::columns::{CONTEXT, Columns, TASK};
use super::sweep::{self, BpfHooks, Names, VISITED};
use crate::asm::{Asm, Cond, FP, JumpTooFar, R1, R2, R6, Size};
use crate::code::{Code, FieldPath};
use crate::lower::Body;
use crate::object::ProgramSection;
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

/// The program's code and the bytes of stack that it needs.
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
    let (begun, last, passed) = (asm.label(), asm.label(), asm.label());
    asm.store(Size::Dw, FP, CONTEXT, R1);
    asm.load(Size::Dw, R2, R1, META);
    let number = FieldPath { root: "bpf_iter_meta", path: vec!["seq_num"] };
    asm.load_field(Size::Dw, R2, R2, number);
    asm.jump_if_imm(Cond::Ne, R2, 0, begun);
    asm.load_data(R6, ".bss", names.stats);
    sweep::start(&mut asm);
    columns.sweep_start(&mut asm);
    asm.load(Size::Dw, R1, FP, CONTEXT);
    asm.bind(begun);
    asm.load(Size::Dw, R6, R1, CALLED_FOR);
    asm.jump_if_imm(Cond::Eq, R6, 0, last);
    // Threads that are not their process.
    if table != Table::Thread {
        for (register, member) in [(R1, "pid"), (R2, "tgid")] {
            let path = FieldPath { root: "task_struct", path: vec![member] };
            asm.load_field(Size::W, register, R6, path);
        }
        asm.jump_if(Cond::Ne, R1, R2, passed);
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
