//! Characters, numbers and texts at the end of the line, and the padding of a cell.
//!
//! **Invariant**: every store goes through a mask as wide as the line.

use super::{AT, Lines, RECORD, START, leave};
use crate::asm::{
    AluOp, Asm, Cond, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size,
};
use crate::code::Code;

const WORD_BYTES: usize = 8;
/// Digits of a 64-bit number to the base of 8.
const DIGITS_MAX: i32 = 22;
/// Bits of an offset in the record and the shortest line behind it.
const RECORD_MASK: i32 = 511;
/// One more than the widest column that is padded.
const WIDTHS: i32 = 64;

/// Up to eight characters as a number, the first in the lowest byte.
pub(in super::super) fn text_word(bytes: &[u8]) -> i64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | i64::from(byte))
}

/// Appends a text that holds no zero. Loses `r0` to `r5`.
pub(super) fn put(lines: &Lines<'_>, asm: &mut Asm, text: &str) {
    for bytes in text.as_bytes().chunks(WORD_BYTES) {
        asm.load_imm(R1, text_word(bytes));
        lines.call(asm, "put");
    }
}

/// Stores the byte in `value` at `at` of the line, the area being in `r6`. Loses `r0`.
fn store(lines: &Lines<'_>, asm: &mut Asm, at: Reg, value: Reg) {
    asm.mov(R0, at);
    asm.alu_imm(AluOp::And, R0, lines.mask());
    asm.alu(AluOp::Add, R0, R6);
    asm.store(Size::B, R0, lines.line_offset(), value);
}

/// `u64 put(characters)`: appends the bytes of a word up to the first zero.
pub(super) fn put_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end) = (asm.label(), asm.label());
    lines.load_area(&mut asm, R6);
    asm.load(Size::Dw, R2, R6, AT);
    asm.load_imm(R3, WORD_BYTES as i64);
    asm.bind(next);
    asm.mov(R4, R1);
    asm.alu_imm(AluOp::And, R4, 0xff);
    asm.jump_if_imm(Cond::Eq, R4, 0, end);
    store(lines, &mut asm, R2, R4);
    asm.alu_imm(AluOp::Add, R2, 1);
    asm.alu_imm(AluOp::Rsh, R1, 8);
    asm.alu_imm(AluOp::Sub, R3, 1);
    asm.jump_if_imm(Cond::Ne, R3, 0, next);
    asm.bind(end);
    asm.store(Size::Dw, R6, AT, R2);
    leave(&mut asm);
    asm.finish()
}

/// `u64 number(value, base)`: appends a number, with its sign if the base is 10.
pub(super) fn number_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (unsigned, count, counted, write, decimal) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    lines.load_area(&mut asm, R6);
    asm.load(Size::Dw, R3, R6, AT);
    asm.jump_if_imm(Cond::Ne, R2, 10, unsigned);
    asm.jump_if_imm(Cond::Sge, R1, 0, unsigned);
    asm.load_imm(R4, i64::from(b'-'));
    store(lines, &mut asm, R3, R4);
    asm.alu_imm(AluOp::Add, R3, 1);
    asm.neg(R1);
    asm.bind(unsigned);
    // How many digits: r4.
    asm.mov(R5, R1);
    asm.load_imm(R4, 1);
    asm.bind(count);
    asm.alu(AluOp::Div, R5, R2);
    asm.jump_if_imm(Cond::Eq, R5, 0, counted);
    asm.alu_imm(AluOp::Add, R4, 1);
    asm.jump_if_imm(Cond::Lt, R4, DIGITS_MAX, count);
    asm.bind(counted);
    asm.alu(AluOp::Add, R3, R4);
    asm.store(Size::Dw, R6, AT, R3);
    // From the last to the first.
    asm.bind(write);
    asm.alu_imm(AluOp::Sub, R3, 1);
    asm.mov(R5, R1);
    asm.alu(AluOp::Mod, R5, R2);
    let shown = asm.label();
    asm.jump_if_imm(Cond::Lt, R5, 10, decimal);
    asm.alu_imm(AluOp::Add, R5, i32::from(b'a') - 10);
    asm.jump(shown);
    asm.bind(decimal);
    asm.alu_imm(AluOp::Add, R5, i32::from(b'0'));
    asm.bind(shown);
    store(lines, &mut asm, R3, R5);
    asm.alu(AluOp::Div, R1, R2);
    asm.alu_imm(AluOp::Sub, R4, 1);
    asm.jump_if_imm(Cond::Ne, R4, 0, write);
    leave(&mut asm);
    asm.finish()
}

/// `u64 text(offset, capacity)`: appends a text of the record. What is not printable ASCII
/// becomes `\xNN`, a backslash two.
pub(super) fn text_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (next, end, plain, escaped, stored) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    lines.load_area(&mut asm, R6);
    asm.load(Size::Dw, R3, R6, AT);
    asm.alu_imm(AluOp::And, R1, RECORD_MASK);
    asm.alu_imm(AluOp::And, R2, RECORD_MASK);
    asm.load_imm(R7, 0);
    asm.bind(next);
    asm.jump_if(Cond::Ge, R7, R2, end);
    asm.mov(R5, R1);
    asm.alu(AluOp::Add, R5, R7);
    asm.alu_imm(AluOp::And, R5, RECORD_MASK);
    asm.alu(AluOp::Add, R5, R6);
    asm.load(Size::B, R8, R5, RECORD);
    asm.jump_if_imm(Cond::Eq, R8, 0, end);
    asm.jump_if_imm(Cond::Lt, R8, i32::from(b' '), escaped);
    asm.jump_if_imm(Cond::Gt, R8, i32::from(b'~'), escaped);
    asm.jump_if_imm(Cond::Ne, R8, i32::from(b'\\'), plain);
    character(lines, &mut asm, b'\\');
    asm.jump(plain);
    asm.bind(escaped);
    character(lines, &mut asm, b'\\');
    character(lines, &mut asm, b'x');
    asm.mov(R9, R8);
    asm.alu_imm(AluOp::Rsh, R9, 4);
    digit(lines, &mut asm, R9);
    asm.mov(R9, R8);
    asm.alu_imm(AluOp::And, R9, 15);
    digit(lines, &mut asm, R9);
    asm.jump(stored);
    asm.bind(plain);
    store(lines, &mut asm, R3, R8);
    asm.alu_imm(AluOp::Add, R3, 1);
    asm.bind(stored);
    asm.alu_imm(AluOp::Add, R7, 1);
    asm.jump_if_imm(Cond::Le, R7, RECORD_MASK, next);
    asm.bind(end);
    asm.store(Size::Dw, R6, AT, R3);
    leave(&mut asm);
    asm.finish()
}

/// Appends one character, the end of the line being in `r3`.
fn character(lines: &Lines<'_>, asm: &mut Asm, character: u8) {
    asm.load_imm(R4, i64::from(character));
    store(lines, asm, R3, R4);
    asm.alu_imm(AluOp::Add, R3, 1);
}

/// Appends the hexadecimal digit for the number in `value`.
fn digit(lines: &Lines<'_>, asm: &mut Asm, value: Reg) {
    let decimal = asm.label();
    asm.jump_if_imm(Cond::Lt, value, 10, decimal);
    asm.alu_imm(AluOp::Add, value, i32::from(b'a') - i32::from(b'0') - 10);
    asm.bind(decimal);
    asm.alu_imm(AluOp::Add, value, i32::from(b'0'));
    store(lines, asm, R3, value);
    asm.alu_imm(AluOp::Add, R3, 1);
}

/// `u64 align(width, right)`: pads what has been written since `START` to the width.
pub(super) fn align_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (wide, move_on, pad) = (asm.label(), asm.label(), asm.label());
    lines.load_area(&mut asm, R6);
    asm.load(Size::Dw, R7, R6, START);
    asm.load(Size::Dw, R3, R6, AT);
    asm.mov(R4, R3);
    asm.alu(AluOp::Sub, R4, R7);
    asm.alu_imm(AluOp::And, R1, WIDTHS - 1);
    // r4: the cell's length, r5: what it lacks.
    asm.jump_if(Cond::Ge, R4, R1, wide);
    asm.mov(R5, R1);
    asm.alu(AluOp::Sub, R5, R4);
    asm.mov(R8, R7);
    asm.alu(AluOp::Add, R8, R1);
    asm.store(Size::Dw, R6, AT, R8);
    asm.jump_if_imm(Cond::Eq, R2, 0, pad);
    asm.bind(move_on);
    let moved = asm.label();
    asm.jump_if_imm(Cond::Eq, R4, 0, moved);
    asm.alu_imm(AluOp::Sub, R4, 1);
    asm.mov(R0, R7);
    asm.alu(AluOp::Add, R0, R4);
    asm.alu_imm(AluOp::And, R0, lines.mask());
    asm.alu(AluOp::Add, R0, R6);
    asm.load(Size::B, R9, R0, lines.line_offset());
    asm.mov(R8, R7);
    asm.alu(AluOp::Add, R8, R4);
    asm.alu(AluOp::Add, R8, R5);
    store(lines, &mut asm, R8, R9);
    jump_bounded(&mut asm, R4, move_on);
    asm.bind(moved);
    asm.mov(R3, R7);
    asm.bind(pad);
    asm.load_imm(R9, i64::from(b' '));
    asm.alu_imm(AluOp::And, R5, WIDTHS - 1);
    let fill = asm.label();
    asm.bind(fill);
    asm.jump_if_imm(Cond::Eq, R5, 0, wide);
    store(lines, &mut asm, R3, R9);
    asm.alu_imm(AluOp::Add, R3, 1);
    asm.alu_imm(AluOp::Sub, R5, 1);
    jump_bounded(&mut asm, R5, fill);
    asm.bind(wide);
    leave(&mut asm);
    asm.finish()
}

/// Goes back to `to`; the verifier sees that what counts down stays below its start.
fn jump_bounded(asm: &mut Asm, counter: Reg, to: Label) {
    asm.jump_if_imm(Cond::Lt, counter, WIDTHS, to);
}
