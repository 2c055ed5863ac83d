//! Sums over the mappings of a process: how much it shares, of what kind, in how many
//! objects.
//!
//! Objects are told apart by a table of those seen, keyed by the row as well, so that it
//! never has to be emptied: it forgets the oldest by itself.

use kernel_vm::schema::EnumKind;

use super::field::{self, Hop};
use super::group::{self, Group};
use super::helper::{MAP_UPDATE, UPDATE_IF_ABSENT, stack_address};
use super::{Columns, untrusted};
use super::{object, rows};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, R0, R1, R2, R3, R4, R6, R7, R8, R9, Reg, Size};
use crate::object::{DataType, Map, MapKind, Subprogram};

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
/// Words of results that the group needs.
pub(super) const WORDS: u32 = 6;

/// Objects that one process may map without any being counted twice.
const SEEN_MAX: u32 = 16_384;

// The function's stack: the iterator, then an object's key and its value.
const ITERATOR: i16 = -8;
const KEY: i16 = -32;
const VALUE: i16 = -40;

/// `dst =` a sum, once the group is there.
pub(super) fn sum(columns: &Columns, asm: &mut Asm, dst: Reg, word: u32) {
    asm.load_data(R0, ".bss", columns.layout().group(Group::Mappings));
    asm.load(Size::Dw, dst, R0, group::result(word));
}

/// The objects seen.
pub(super) fn map(filter: &str) -> Map {
    Map {
        name: format!("objects_{filter}"),
        kind: MapKind::LruHash,
        flags: 0,
        max_entries: SEEN_MAX,
        key: Some(DataType::words(3)),
        value: Some(DataType::U64),
    }
}

/// `u64 mappings(task)`: 0 when the sums stand in `.bss`.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    const MM: Hop = ("task_struct", &["mm"]);
    let layout = columns.layout();
    let mut asm = Asm::new();
    let (next, end, refused, done, failed) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.mov(R6, R1);
    asm.load_data(R7, ".bss", layout.group(Group::Mappings));
    for word in 0..SUMS {
        asm.store_imm(Size::Dw, R7, group::result(word), 0);
    }
    add(&mut asm, ROW, 1);
    for offset in [0, 8, 16] {
        asm.store_imm(Size::Dw, FP, KEY + offset, 0);
    }
    asm.mov(R1, R6);
    untrusted(&mut asm, "task_struct");
    field::load(&mut asm, R0, R0, MM);
    asm.jump_if_imm(Cond::Eq, R0, 0, done);
    asm.mov(R2, R6);
    rows::start_mappings(&mut asm, ITERATOR);
    asm.jump_if_imm(Cond::Ne, R0, 0, refused);

    asm.bind(next);
    rows::next_mapping(&mut asm, ITERATOR, end);
    field::load(&mut asm, R1, R0, ("vm_area_struct", &["vm_flags"]));
    asm.alu_imm(AluOp::And, R1, MAY_SHARE);
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    field::load(&mut asm, R8, R0, ("vm_area_struct", &["vm_end"]));
    field::load(&mut asm, R1, R0, ("vm_area_struct", &["vm_start"]));
    asm.alu(AluOp::Sub, R8, R1);
    add_r8(&mut asm, SHARED);
    field::load(&mut asm, R1, R0, ("vm_area_struct", &["vm_file"]));
    asm.jump_if_imm(Cond::Eq, R1, 0, next);
    asm.call_subprog(&columns.function("object"));
    asm.jump_if_imm(Cond::Ne, R0, 0, next);
    asm.load_data(R9, ".bss", layout.group(Group::Row));
    let (known, kinds) = (asm.label(), ["tmpfs", "memfd", "sysv", "shared_anon"]);
    for (kind, word) in kinds.into_iter().zip([TMPFS, TMPFS, SYSV, ANON]) {
        let other = asm.label();
        let number = object::value(EnumKind::ObjectKind, kind) as i32;
        asm.load(Size::Dw, R1, R9, object::word(object::KIND));
        asm.jump_if_imm(Cond::Ne, R1, number, other);
        add_r8(&mut asm, word);
        asm.jump(known);
        asm.bind(other);
    }
    asm.jump(next);
    asm.bind(known);
    count_object(columns, &mut asm);
    asm.jump(next);

    asm.bind(end);
    rows::end_mappings(&mut asm, ITERATOR);
    asm.jump(done);
    asm.bind(refused);
    rows::end_mappings(&mut asm, ITERATOR);
    asm.jump(failed);
    asm.bind(done);
    group::finish(&mut asm, R7, failed);
    Ok(vec![Subprogram { name: columns.function("mappings"), code: asm.finish()? }])
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
