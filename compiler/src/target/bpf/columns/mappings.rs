//! Sums over the mappings of a process: how much it shares, of what kind, in how many
//! objects.
//!
//! Objects are told apart by a table of those seen, keyed by the row as well, so that it
//! never has to be emptied: it forgets the oldest by itself.
//!
//! A classic program is called for each mapping: a [pass](Pass) over all of them leaves the sums
//! of each process in a map, from where its rows take them. Those of one process come one after
//! another, so that they are added up in `.bss`.

use kernel_vm::schema::EnumKind;

use super::field::{self, Hop};
use super::group::{self, Group};
use super::{CONTEXT, Columns, Moment, Pass, skip_threads};
use super::{object, rows};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Reg, Size,
};
use crate::object::{DataType, Map, MapKind, ProgramSection, Subprogram};
use crate::target::bpf::helper::{
    FOR_EACH_MAP_ELEM, MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, UPDATE_IF_ABSENT, stack_address,
};

// Bits of `vm_flags`.
pub(super) const READ: i32 = 1;
pub(super) const WRITE: i32 = 2;
pub(super) const EXECUTE: i32 = 4;
/// `VM_MAYSHARE`: what /proc shows as shared, written to or not.
pub(super) const MAY_SHARE: i32 = 0x80;

// Words of the group's results.
pub(super) const SHARED: u32 = 0;
pub(super) const OBJECTS: u32 = 1;
pub(super) const TMPFS: u32 = 2;
pub(super) const SYSV: u32 = 3;
pub(super) const ANON: u32 = 4;
const SUMS: u32 = 5;
/// Counts the rows for which the sums were made.
const ROW: u32 = 5;
/// The process whose sums a pass is making.
const PROCESS: u32 = 6;
/// Words of results that the group needs.
pub(super) const WORDS: u32 = 7;

/// Objects that one process may map without any being counted twice.
const SEEN_MAX: u32 = 16_384;
/// Processes whose sums a pass keeps.
const PROCESSES_MAX: u32 = 65_536;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;

// The function's stack: the iterator, then an object's key and its value.
const ITERATOR: i16 = -8;
const KEY: i16 = -32;
const VALUE: i16 = -40;

/// `dst =` a sum, once the group is there.
pub(super) fn sum(columns: &Columns, asm: &mut Asm, dst: Reg, word: u32) {
    asm.load_data(R0, ".bss", columns.layout().group(Group::Mappings));
    asm.load(Size::Dw, dst, R0, group::result(word));
}

/// The objects seen, and the processes' sums.
pub(super) fn maps(filter: &str) -> Vec<Map> {
    vec![
        Map {
            name: format!("objects_{filter}"),
            kind: MapKind::LruHash,
            flags: 0,
            max_entries: SEEN_MAX,
            key: Some(DataType::words(3)),
            value: Some(DataType::U64),
        },
        Map {
            name: format!("mapped_{filter}"),
            kind: MapKind::Hash,
            flags: NO_PREALLOC,
            max_entries: PROCESSES_MAX,
            key: Some(DataType::U64),
            value: Some(DataType::words(SUMS)),
        },
    ]
}

/// The group's functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    if columns.is_classic() {
        return Ok(vec![kept(columns)?, add_mapping(columns)?, forget(columns)?]);
    }
    Ok(vec![walked(columns)?])
}

const MM: Hop = ("task_struct", &["mm"]);

/// `u64 mappings(task)`: 0 when the sums stand in `.bss`.
fn walked(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end, refused, done, failed) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Mappings));
    clear(&mut asm);
    add(&mut asm, ROW, 1);
    no_key(&mut asm);
    asm.mov(R1, R6);
    columns.untrusted(&mut asm, "task_struct");
    field::load(&mut asm, R0, R0, MM);
    asm.jump_if_imm(Cond::Eq, R0, 0, done);
    asm.mov(R2, R6);
    rows::start_mappings(&mut asm, ITERATOR);
    asm.jump_if_imm(Cond::Ne, R0, 0, refused);

    asm.bind(next);
    rows::next_mapping(&mut asm, ITERATOR, end);
    add_shared(columns, &mut asm, next);
    asm.jump(next);

    asm.bind(end);
    rows::end_mappings(&mut asm, ITERATOR);
    asm.jump(done);
    asm.bind(refused);
    rows::end_mappings(&mut asm, ITERATOR);
    asm.jump(failed);
    asm.bind(done);
    group::finish(&mut asm, R7, failed);
    Ok(Subprogram { name: columns.function("mappings"), code: asm.finish()? })
}

/// The sums at `r7` are 0.
fn clear(asm: &mut Asm) {
    for word in 0..SUMS {
        asm.store_imm(Size::Dw, R7, group::result(word), 0);
    }
}

/// There has been no object yet.
fn no_key(asm: &mut Asm) {
    for offset in [0, 8, 16] {
        asm.store_imm(Size::Dw, FP, KEY + offset, 0);
    }
}

/// Adds the mapping in `r0` to the sums at `r7`; goes to `next` when it adds nothing more.
/// Loses `r0` to `r5`, `r8` and `r9`.
fn add_shared(columns: &Columns, asm: &mut Asm, next: Label) {
    field::load(asm, R1, R0, ("vm_area_struct", &["vm_flags"]));
    asm.alu_imm(AluOp::And, R1, MAY_SHARE);
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    field::load(asm, R8, R0, ("vm_area_struct", &["vm_end"]));
    field::load(asm, R1, R0, ("vm_area_struct", &["vm_start"]));
    asm.alu(AluOp::Sub, R8, R1);
    add_r8(asm, SHARED);
    field::load(asm, R1, R0, ("vm_area_struct", &["vm_file"]));
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    asm.call_subprog(&columns.function("object"));
    asm.jump_if_imm(Cond::Ne, R0, 0, next);
    asm.load_data(R9, ".bss", columns.layout().group(Group::Row));
    let (known, kinds) = (asm.label(), ["tmpfs", "memfd", "sysv", "shared_anon"]);
    for (kind, word) in kinds.into_iter().zip([TMPFS, TMPFS, SYSV, ANON]) {
        let other = asm.label();
        let number = object::value(EnumKind::ObjectKind, kind) as i32;
        asm.load(Size::Dw, R1, R9, object::word(object::KIND));
        asm.jump_if_imm(Cond::Ne, R1, number, other);
        add_r8(asm, word);
        asm.jump(known);
        asm.bind(other);
    }
    asm.jump(next);
    asm.bind(known);
    count_object(columns, asm);
}

/// The pass over all mappings.
pub(super) const PASS: Pass =
    Pass { name: "shares", section: ProgramSection::IterTaskVma, needed: None, code: pass };

fn pass(columns: &Columns, asm: &mut Asm, moment: Moment) {
    /// Where the mapping is in the context (`bpf_iter__task_vma`).
    const CALL_MAPPING: i16 = 16;
    let end = asm.label();
    asm.load_data(R7, ".bss", columns.layout().group(Group::Mappings));
    match moment {
        Moment::Begin => {
            asm.load_map(R1, &columns.symbol("mapped"));
            asm.load_subprog(R2, &columns.function("unmap"));
            asm.load_imm(R3, 0);
            asm.load_imm(R4, 0);
            asm.call_helper(FOR_EACH_MAP_ELEM);
            asm.store_imm(Size::Dw, R7, group::result(PROCESS), 0);
        }
        // A thread whose process has none left brings the same mappings as the next one.
        Moment::Row => {
            skip_threads(asm, end);
            asm.load(Size::Dw, R1, FP, CONTEXT);
            asm.load(Size::Dw, R2, R1, CALL_MAPPING);
            asm.jump_if_imm(Cond::Eq, R2, 0, end);
            asm.mov(R1, R6);
            asm.call_subprog(&columns.function("add_mapping"));
        }
        Moment::End => keep(columns, asm),
    }
    asm.bind(end);
}

/// Keeps the sums at `r7`, if they are of a process. One that finds no room stays unreadable.
fn keep(columns: &Columns, asm: &mut Asm) {
    let nobody = asm.label();
    asm.load(Size::Dw, R1, R7, group::result(PROCESS));
    asm.jump_if_imm(Cond::Eq, R1, 0, nobody);
    asm.load_map(R1, &columns.symbol("mapped"));
    for (argument, word) in [(R2, PROCESS), (R3, SHARED)] {
        asm.mov(argument, R7);
        asm.alu_imm(AluOp::Add, argument, group::result(word).into());
    }
    asm.load_imm(R4, 0);
    asm.call_helper(MAP_UPDATE);
    asm.bind(nobody);
}

/// `u64 add_mapping(task, mapping)`: adds a mapping to its process's sums.
fn add_mapping(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (same, end) = (asm.label(), asm.label());
    asm.mov(R8, R2);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Mappings));
    field::load(&mut asm, R6, R1, ("task_struct", &["tgid"]));
    asm.load(Size::Dw, R1, R7, group::result(PROCESS));
    asm.jump_if(Cond::Eq, R1, R6, same);
    keep(columns, &mut asm);
    clear(&mut asm);
    asm.store(Size::Dw, R7, group::result(PROCESS), R6);
    add(&mut asm, ROW, 1);
    asm.bind(same);
    no_key(&mut asm);
    asm.mov(R0, R8);
    add_shared(columns, &mut asm, end);
    asm.bind(end);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("add_mapping"), code: asm.finish()? })
}

/// `u64 unmap(map, key)`: forgets a process of the sweep before.
fn forget(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    asm.load_map(R1, &columns.symbol("mapped"));
    asm.call_helper(MAP_DELETE);
    asm.load_imm(R0, 0);
    asm.exit();
    Ok(Subprogram { name: columns.function("unmap"), code: asm.finish()? })
}

/// `u64 mappings(task)`: 0 when the sums that the pass has made stand in `.bss`. A process that
/// has come since has none.
fn kept(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (done, failed) = (asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Mappings));
    clear(&mut asm);
    field::load(&mut asm, R1, R6, MM);
    asm.jump_if_imm(Cond::Eq, R1, 0, done);
    field::load(&mut asm, R1, R6, ("task_struct", &["tgid"]));
    asm.store(Size::Dw, FP, KEY, R1);
    asm.load_map(R1, &columns.symbol("mapped"));
    stack_address(&mut asm, R2, KEY);
    asm.call_helper(MAP_LOOKUP);
    asm.jump_if_imm(Cond::Eq, R0, 0, failed);
    for word in 0..SUMS {
        asm.load(Size::Dw, R1, R0, 8 * word as i16);
        asm.store(Size::Dw, R7, group::result(word), R1);
    }
    asm.bind(done);
    group::finish(&mut asm, R7, failed);
    Ok(Subprogram { name: columns.function("mappings"), code: asm.finish()? })
}

/// Counts the object of the row's block at `r9` unless this row has it already. Often it is
/// the object of the mapping before, whose key is still on the stack.
fn count_object(columns: &Columns, asm: &mut Asm) {
    let (seen, other) = (asm.label(), asm.label());
    for (offset, word, register) in [(8, object::DEVICE, R2), (16, object::INODE, R3)] {
        asm.load(Size::Dw, register, R9, object::word(word));
        asm.load(Size::Dw, R1, FP, KEY + offset);
        asm.store(Size::Dw, FP, KEY + offset, register);
        asm.alu(AluOp::Xor, register, R1);
    }
    asm.alu(AluOp::Or, R2, R3);
    asm.load(Size::Dw, R3, R7, group::result(ROW));
    asm.load(Size::Dw, R1, FP, KEY);
    asm.store(Size::Dw, FP, KEY, R3);
    asm.jump_if(Cond::Ne, R1, R3, other);
    asm.jump_if_imm(Cond::Eq, R2, 0, seen);
    asm.bind(other);
    asm.store_imm(Size::Dw, FP, VALUE, 0);
    asm.load_map(R1, &columns.symbol("objects"));
    stack_address(asm, R2, KEY);
    stack_address(asm, R3, VALUE);
    asm.load_imm(R4, UPDATE_IF_ABSENT);
    asm.call_helper(MAP_UPDATE);
    asm.jump_if_imm(Cond::Ne, R0, 0, seen);
    add(asm, OBJECTS, 1);
    asm.bind(seen);
}

/// Adds a number to one of the words at `r7`. Loses `r1`.
fn add(asm: &mut Asm, word: u32, number: i32) {
    asm.load(Size::Dw, R1, R7, group::result(word));
    asm.alu_imm(AluOp::Add, R1, number);
    asm.store(Size::Dw, R7, group::result(word), R1);
}

/// Adds `r8` to one of the words at `r7`. Loses `r1`.
fn add_r8(asm: &mut Asm, word: u32) {
    asm.load(Size::Dw, R1, R7, group::result(word));
    asm.alu(AluOp::Add, R1, R8);
    asm.store(Size::Dw, R7, group::result(word), R1);
}
