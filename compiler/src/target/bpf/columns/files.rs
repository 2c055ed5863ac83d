//! Open descriptors, counted from the bitmap of those that are in use.
//!
//! The count is kept in `.bss`: in a register or on the stack it would keep the kernel's
//! verifier from seeing that one turn of the loop is like the next.

use super::Columns;
use super::field::{self, Hop};
use super::group::{self, Group};
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size,
};
use crate::object::Subprogram;
use crate::target::bpf::helper::{PROBE_READ_KERNEL, call_loop_of_r1, stack_address};

// Words of the group's results.
const COUNT: u32 = 0;
const BITMAP: u32 = 1;
const BITMAP_WORDS: u32 = 2;
/// Words of results that the group needs.
pub(super) const WORDS: u32 = 3;

/// Words of the bitmap that one turn of the loop reads.
const CHUNK_WORDS: i32 = 8;
const FILES: Hop = ("task_struct", &["files"]);

/// `dst =` the count, once the group is there.
pub(super) fn count(columns: &Columns, asm: &mut Asm, dst: Reg) {
    asm.load_data(R0, ".bss", columns.layout().group(Group::Files));
    asm.load(Size::Dw, dst, R0, group::result(COUNT));
}

/// The group's functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    Ok(vec![files(columns)?, bitmap_words(columns)?])
}

/// `u64 files()`: 0 when the count stands in `.bss`.
fn files(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (done, gone) = (asm.label(), asm.label());
    group::begin(columns, &mut asm, Group::Files);
    asm.store_imm(Size::Dw, R7, group::result(COUNT), 0);
    field::load(&mut asm, R8, R6, FILES);
    asm.jump_if_imm(Cond::Eq, R8, 0, done);
    open_bitmap(&mut asm, R8, gone);
    asm.store(Size::Dw, R7, group::result(BITMAP), R1);
    asm.store(Size::Dw, R7, group::result(BITMAP_WORDS), R9);
    asm.mov(R1, R9);
    asm.alu_imm(AluOp::Add, R1, CHUNK_WORDS - 1);
    asm.alu_imm(AluOp::Div, R1, CHUNK_WORDS);
    call_loop_of_r1(&mut asm, &columns.function("fd_words"));
    field::load(&mut asm, R0, R6, FILES);
    asm.jump_if(Cond::Ne, R0, R8, gone);
    asm.bind(done);
    group::finish(&mut asm, R7, gone);
    Ok(Subprogram { name: columns.function("files"), code: asm.finish()? })
}

/// From a `struct files_struct` in `files`: `r1` becomes the bitmap's address and `r9` its
/// length in words. Loses `r0` to `r5` and 8 bytes below the frame pointer.
pub(super) fn open_bitmap(asm: &mut Asm, files: Reg, gone: Label) {
    field::load(asm, R3, files, ("files_struct", &["fdt"]));
    asm.jump_if_imm(Cond::Eq, R3, 0, gone);
    field::load(asm, R9, R3, ("fdtable", &["max_fds"]));
    asm.alu_imm(AluOp::Rsh, R9, 6);
    asm.add_field_offset(R3, field::path(("fdtable", &["open_fds"])));
    stack_address(asm, R1, -8);
    asm.load_imm(R2, 8);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, gone);
    asm.load(Size::Dw, R1, FP, -8);
}

/// `u64 fd_words(chunk)`: adds the bits of one chunk of the bitmap.
fn bitmap_words(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let buffer = |word: i32| (word - CHUNK_WORDS) as i16 * 8;
    let mut asm = Asm::new();
    let (last, whole) = (asm.label(), asm.label());
    asm.mov32(R8, R1);
    asm.alu_imm(AluOp::Mul, R8, CHUNK_WORDS);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Files));
    asm.load(Size::Dw, R2, R7, group::result(BITMAP_WORDS));
    asm.jump_if(Cond::Ge, R8, R2, last);
    asm.alu(AluOp::Sub, R2, R8);
    for word in 0..CHUNK_WORDS {
        asm.store_imm(Size::Dw, FP, buffer(word), 0);
    }
    asm.jump_if_imm(Cond::Le, R2, CHUNK_WORDS, whole);
    asm.load_imm(R2, CHUNK_WORDS.into());
    asm.bind(whole);
    asm.alu_imm(AluOp::Lsh, R2, 3);
    asm.load(Size::Dw, R3, R7, group::result(BITMAP));
    asm.alu_imm(AluOp::Lsh, R8, 3);
    asm.alu(AluOp::Add, R3, R8);
    stack_address(&mut asm, R1, buffer(0));
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, last);

    // Bits of each word, added first in pairs, then in fours, then in bytes.
    asm.load_imm(R3, 0x5555_5555_5555_5555);
    asm.load_imm(R4, 0x3333_3333_3333_3333);
    asm.load_imm(R5, 0x0f0f_0f0f_0f0f_0f0f);
    asm.load_imm(R9, 0x0101_0101_0101_0101);
    asm.load(Size::Dw, R0, R7, group::result(COUNT));
    for word in 0..CHUNK_WORDS {
        let empty = asm.label();
        asm.load(Size::Dw, R1, FP, buffer(word));
        asm.jump_if_imm(Cond::Eq, R1, 0, empty);
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Rsh, R2, 1);
        asm.alu(AluOp::And, R2, R3);
        asm.alu(AluOp::Sub, R1, R2);
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Rsh, R2, 2);
        asm.alu(AluOp::And, R1, R4);
        asm.alu(AluOp::And, R2, R4);
        asm.alu(AluOp::Add, R1, R2);
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::Rsh, R2, 4);
        asm.alu(AluOp::Add, R1, R2);
        asm.alu(AluOp::And, R1, R5);
        asm.alu(AluOp::Mul, R1, R9);
        asm.alu_imm(AluOp::Rsh, R1, 56);
        asm.alu(AluOp::Add, R0, R1);
        asm.bind(empty);
    }
    asm.store(Size::Dw, R7, group::result(COUNT), R0);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(last);
    asm.load_imm(R0, 1);
    asm.exit();
    Ok(Subprogram { name: columns.function("fd_words"), code: asm.finish()? })
}
