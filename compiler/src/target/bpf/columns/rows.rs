//! Rows below a process: its open files and its mappings.
//!
//! The walk leaves what it finds of a row in `.bss`, where the row's columns read it: so
//! the body may use every register but `r6`, and call what it likes.
//!
//! A process that exits meanwhile is noticed by its pointers, which the kernel clears
//! before it frees what they point to; the walk then ends. What could not be looked at
//! counts as unreadable in the sweep's statistics.

use std::mem::offset_of;

use kernel_vm::abi::SweepStats;
use kernel_vm::schema::Table;

use super::field::{self, Hop};
use super::group::{self, Group};
use super::object::Filler;
use super::paths::Found;
use super::values::RowValue;
use super::{CONTEXT, Columns, TASK, WALK, object, untrusted};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Size,
};
use crate::object::Subprogram;
use crate::target::bpf::helper::{PROBE_READ_KERNEL, stack_address};

/// Words of the row's block, after its status: first what the walk leaves.
pub(super) const FILE: u32 = 0;
/// A descriptor's number, or where a mapping starts.
pub(super) const FIRST: u32 = 1;
/// One past the end of a mapping.
pub(super) const END: u32 = 2;
/// A mapping's `vm_flags`.
pub(super) const FLAGS: u32 = 3;
/// A descriptor table's owner, its array, and its bitmap of those closed on exec.
const TABLE: u32 = 4;
const ARRAY: u32 = 5;
pub(super) const CLOSE_ON_EXEC: u32 = 6;
/// The next pointers of the array.
const AHEAD: u32 = 7;
const AHEAD_COUNT: i32 = 8;
/// Then what the object's function finds out.
pub(super) const OBJECT: u32 = AHEAD + AHEAD_COUNT as u32;
/// Words of results that the group needs.
pub(super) const WORDS: u32 = OBJECT + object::WORDS;

const FILES: Hop = ("task_struct", &["files"]);

/// Code that runs `body` for each row of the table that belongs to the task in `r6`.
pub(super) fn walk(columns: &Columns, asm: &mut Asm, body: impl FnOnce(&mut Asm, Label)) {
    let next_task = asm.label();
    group::forget(columns, asm);
    match columns.table {
        Table::Process | Table::Thread => body(asm, next_task),
        Table::File if columns.is_classic() => open_file(columns, asm, next_task, body),
        Table::File => open_files(columns, asm, WALK, next_task, body),
        Table::Mapping if columns.is_classic() => mapping(columns, asm, next_task, body),
        Table::Mapping => mappings(columns, asm, WALK, next_task, body),
    }
    asm.bind(next_task);
}

/// Where a classic program finds what belongs to the task, in its context: a descriptor's
/// number and its file, or a mapping (`bpf_iter__task_file` and `bpf_iter__task_vma`).
const CALL_FIRST: i16 = 16;
const CALL_FILE: i16 = 24;

/// The one descriptor that a classic program is called for.
fn open_file(columns: &Columns, asm: &mut Asm, next: Label, body: impl FnOnce(&mut Asm, Label)) {
    if columns.found.contains(&Found::Row(RowValue::OpenFlags)) {
        asm.mov(R1, R6);
        asm.call_subprog(&columns.function("fd_table"));
        asm.jump_if_imm(Cond::Sle, R0, 0, next);
    }
    asm.load(Size::Dw, R2, FP, CONTEXT);
    asm.load(Size::Dw, R1, R2, CALL_FILE);
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    asm.store(Size::Dw, FP, WALK, R1);
    asm.load(Size::W, R1, R2, CALL_FIRST);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
    asm.store(Size::Dw, R7, group::result(FIRST), R1);
    asm.store_imm(Size::Dw, R7, 0, 0);
    body(asm, next);
}

/// The one mapping that a classic program is called for.
fn mapping(columns: &Columns, asm: &mut Asm, next: Label, body: impl FnOnce(&mut Asm, Label)) {
    asm.load(Size::Dw, R2, FP, CONTEXT);
    asm.load(Size::Dw, R0, R2, CALL_FIRST);
    asm.jump_if_imm(Cond::Eq, R0, 0, next);
    field::load(asm, R1, R0, MAPPED_FILE);
    asm.store(Size::Dw, FP, WALK, R1);
    keep_mapping(columns, asm);
    body(asm, next);
}

const MAPPED_FILE: Hop = ("vm_area_struct", &["vm_file"]);

/// Keeps what there is to know of the mapping in `r0`. Loses `r1`; the row's block is in `r7`.
fn keep_mapping(columns: &Columns, asm: &mut Asm) {
    let members: [(u32, Hop); 4] = [
        (FIRST, ("vm_area_struct", &["vm_start"])),
        (END, ("vm_area_struct", &["vm_end"])),
        (FLAGS, ("vm_area_struct", &["vm_flags"])),
        (FILE, MAPPED_FILE),
    ];
    asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
    for (word, hop) in members {
        field::load(asm, R1, R0, hop);
        asm.store(Size::Dw, R7, group::result(word), R1);
    }
    asm.store_imm(Size::Dw, R7, 0, 0);
}

fn open_files(
    columns: &Columns,
    asm: &mut Asm,
    iterator: i16,
    next_task: Label,
    body: impl FnOnce(&mut Asm, Label),
) {
    let (next, end, unreadable) = (asm.label(), asm.label(), asm.label());
    let block = columns.layout().group(Group::Row);
    asm.mov(R1, R6);
    asm.call_subprog(&columns.function("fd_table"));
    asm.jump_if_imm(Cond::Eq, R0, 0, next_task);
    asm.jump_if_imm(Cond::Slt, R0, 0, unreadable);
    stack_address(asm, R1, iterator);
    asm.load_imm(R2, 0);
    asm.mov(R3, R0);
    asm.call_kfunc("bpf_iter_num_new");

    asm.bind(next);
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_num_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.load(Size::W, R8, R0, 0);
    asm.load_data(R7, ".bss", block);
    field::load(asm, R1, R6, FILES);
    asm.load(Size::Dw, R2, R7, group::result(TABLE));
    asm.jump_if(Cond::Ne, R1, R2, end);
    read_ahead(asm, end);
    // The place in what was read ahead is the number's low bits.
    asm.mov(R1, R8);
    asm.alu_imm(AluOp::And, R1, AHEAD_COUNT - 1);
    asm.alu_imm(AluOp::Lsh, R1, 3);
    asm.mov(R2, R7);
    asm.alu(AluOp::Add, R2, R1);
    asm.load(Size::Dw, R1, R2, group::result(AHEAD));
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    asm.store(Size::Dw, R7, group::result(FILE), R1);
    asm.store(Size::Dw, R7, group::result(FIRST), R8);
    asm.store_imm(Size::Dw, R7, 0, 0);
    body(asm, next);
    asm.jump(next);

    asm.bind(unreadable);
    count_unreadable(columns, asm);
    asm.jump(next_task);
    asm.bind(end);
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_num_destroy");
}

/// At each eighth descriptor, with its number in `r8` and the block in `r7`, reads the
/// pointers of the next eight.
fn read_ahead(asm: &mut Asm, failed: Label) {
    let there = asm.label();
    asm.jump_if_imm(Cond::Set, R8, AHEAD_COUNT - 1, there);
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Add, R1, group::result(AHEAD).into());
    asm.load_imm(R2, i64::from(AHEAD_COUNT) * 8);
    asm.mov(R3, R8);
    asm.alu_imm(AluOp::Lsh, R3, 3);
    asm.load(Size::Dw, R4, R7, group::result(ARRAY));
    asm.alu(AluOp::Add, R3, R4);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    asm.bind(there);
}

fn mappings(
    columns: &Columns,
    asm: &mut Asm,
    iterator: i16,
    next_task: Label,
    body: impl FnOnce(&mut Asm, Label),
) {
    let (next, end, held) = (asm.label(), asm.label(), asm.label());
    field::load(asm, R0, R6, ("task_struct", &["mm"]));
    asm.jump_if_imm(Cond::Eq, R0, 0, next_task);
    asm.load(Size::Dw, R2, FP, TASK);
    start_mappings(asm, iterator);
    // The lock of a busy address space is not waited for.
    asm.jump_if_imm(Cond::Eq, R0, 0, held);
    count_unreadable(columns, asm);
    asm.bind(held);

    asm.bind(next);
    next_mapping(asm, iterator, end);
    keep_mapping(columns, asm);
    body(asm, next);
    asm.jump(next);
    asm.bind(end);
    end_mappings(asm, iterator);
}

/// Begins to walk the mappings of the task in `r2`; `r0` is 0 when there is something to
/// walk. Has to be ended in any case.
pub(super) fn start_mappings(asm: &mut Asm, iterator: i16) {
    asm.load_imm(R3, 0);
    start_mappings_at_r3(asm, iterator);
}

/// The same from the mapping on that ends behind the address in `r3`.
pub(super) fn start_mappings_at_r3(asm: &mut Asm, iterator: i16) {
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_task_vma_new");
    asm.sign_extend(R0, 32);
}

/// `r0 =` the next mapping, or goes to `end`. Loses `r1` to `r5`.
pub(super) fn next_mapping(asm: &mut Asm, iterator: i16, end: Label) {
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_task_vma_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.mov(R1, R0);
    untrusted(asm, "vm_area_struct");
}

/// Ends the walk of mappings.
pub(super) fn end_mappings(asm: &mut Asm, iterator: i16) {
    stack_address(asm, R1, iterator);
    asm.call_kfunc("bpf_iter_task_vma_destroy");
}

fn count_unreadable(columns: &Columns, asm: &mut Asm) {
    let offset = offset_of!(SweepStats, unreadable) as u32;
    asm.load_data(R1, ".bss", columns.place.stats + offset);
    asm.load(Size::Dw, R2, R1, 0);
    asm.alu_imm(AluOp::Add, R2, 1);
    asm.store(Size::Dw, R1, 0, R2);
}

/// The row's functions; for the tables above only the one that the sums over mappings use.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    let mut all = vec![object::subprogram(columns)?];
    match columns.table {
        Table::Process | Table::Thread => return Ok(all),
        Table::File => all.push(fd_table(columns)?),
        Table::Mapping => (),
    }
    all.push(row(columns)?);
    for filler in Filler::ALL {
        if columns.found.contains(&Found::Fill(filler)) {
            all.push(filler.subprogram(columns)?);
        }
    }
    Ok(all)
}

/// `u64 row()`: 0 when what the row's file is stands in `.bss`. A classic one takes the file.
fn row(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let failed = asm.label();
    asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
    if !columns.is_classic() {
        asm.load(Size::Dw, R1, R7, group::result(FILE));
    }
    asm.call_subprog(&columns.function("object"));
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    group::finish(&mut asm, R7, failed);
    Ok(Subprogram { name: columns.function("row"), code: asm.finish()? })
}

/// `s64 fd_table(task)`: how many descriptors there may be; below 0 when the table cannot
/// be read.
fn fd_table(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (none, gone) = (asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Row));
    field::load(&mut asm, R8, R6, FILES);
    asm.jump_if_imm(Cond::Eq, R8, 0, none);
    asm.store(Size::Dw, R7, group::result(TABLE), R8);
    field::load(&mut asm, R9, R8, ("files_struct", &["fdt"]));
    asm.jump_if_imm(Cond::Eq, R9, 0, gone);
    let pointers: [(u32, Hop); 2] =
        [(ARRAY, ("fdtable", &["fd"])), (CLOSE_ON_EXEC, ("fdtable", &["close_on_exec"]))];
    for (word, hop) in pointers {
        asm.mov(R1, R7);
        asm.alu_imm(AluOp::Add, R1, group::result(word).into());
        asm.load_imm(R2, 8);
        field::address(&mut asm, R3, R9, hop);
        asm.call_helper(PROBE_READ_KERNEL);
        asm.jump_if_imm(Cond::Ne, R0, 0, gone);
    }
    field::load(&mut asm, R0, R9, ("fdtable", &["max_fds"]));
    field::load(&mut asm, R1, R6, FILES);
    asm.jump_if(Cond::Ne, R1, R8, gone);
    asm.exit();
    asm.bind(none);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(gone);
    asm.load_imm(R0, -1);
    asm.exit();
    Ok(Subprogram { name: columns.function("fd_table"), code: asm.finish()? })
}
