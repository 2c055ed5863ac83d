//! Numbers with a unit: as `kfilter run` shows them in a table, digit for digit.

use kernel_vm::abi::FIXED_ONE;
use kernel_vm::schema::Unit;

use super::put::{put, text_word};
use super::{Lines, leave};
use crate::asm::{AluOp, Asm, Cond, JumpTooFar, R1, R2, R3, R4, R5, R7, R8, R9, Reg};
use crate::code::Code;

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The ratio in `r1` in percent. Loses `r0` to `r5`.
pub(super) fn percent(lines: &Lines<'_>, asm: &mut Asm) {
    tenths(lines, asm, FIXED_ONE / 100);
    put(lines, asm, "%");
}

/// `r1` of a unit with one decimal.
fn tenths(lines: &Lines<'_>, asm: &mut Asm, unit: i64) {
    asm.load_imm(R2, unit);
    lines.call(asm, "tenths");
}

/// The rate in `r1`, millionths of the unit a second. Loses `r0` to `r5`, `r7` and `r8`.
pub(super) fn per_second(lines: &Lines<'_>, asm: &mut Asm, unit: Unit) {
    asm.mov(R7, R1);
    match unit {
        Unit::Bytes => {
            let (few, done) = (asm.label(), asm.label());
            wholes(asm, R1, R7);
            asm.mov(R2, R1);
            asm.alu_imm(AluOp::Add, R2, 1023);
            asm.jump_if_imm(Cond::Lt, R2, 2047, few);
            lines.call(asm, "bytes");
            asm.jump(done);
            asm.bind(few);
            asm.mov(R1, R7);
            tenths(lines, asm, FIXED_ONE);
            put(lines, asm, "B");
            asm.bind(done);
        }
        Unit::Duration => {
            wholes(asm, R1, R7);
            lines.call(asm, "duration");
        }
        Unit::Ratio => {
            wholes(asm, R1, R7);
            percent(lines, asm);
        }
        Unit::Count | Unit::Instant | Unit::Id | Unit::Address | Unit::Device | Unit::Bits => {
            tenths(lines, asm, FIXED_ONE);
        }
    }
    put(lines, asm, "/s");
}

/// `dst = src / 1000000`, cut toward zero. Loses `r0`.
fn wholes(asm: &mut Asm, dst: Reg, src: Reg) {
    let (positive, done) = (asm.label(), asm.label());
    asm.mov(dst, src);
    asm.jump_if_imm(Cond::Sge, dst, 0, positive);
    asm.neg(dst);
    asm.alu_imm(AluOp::Div, dst, FIXED_ONE as i32);
    asm.neg(dst);
    asm.jump(done);
    asm.bind(positive);
    asm.alu_imm(AluOp::Div, dst, FIXED_ONE as i32);
    asm.bind(done);
}

/// `reg = |reg|` as an unsigned number.
fn magnitude(asm: &mut Asm, reg: Reg) {
    let positive = asm.label();
    asm.jump_if_imm(Cond::Sge, reg, 0, positive);
    asm.neg(reg);
    asm.bind(positive);
}

/// `dst =` the tenths of `unit` in `value`, rounded. Loses `work`.
fn rounded(asm: &mut Asm, dst: Reg, value: Reg, unit: Reg, work: Reg) {
    // The rest is less than 2^60, so that ten times it fits.
    asm.mov(dst, value);
    asm.alu(AluOp::Mod, dst, unit);
    asm.alu_imm(AluOp::Mul, dst, 10);
    asm.mov(work, unit);
    asm.alu_imm(AluOp::Rsh, work, 1);
    asm.alu(AluOp::Add, dst, work);
    asm.alu(AluOp::Div, dst, unit);
    asm.mov(work, value);
    asm.alu(AluOp::Div, work, unit);
    asm.alu_imm(AluOp::Mul, work, 10);
    asm.alu(AluOp::Add, dst, work);
}

/// `u64 tenths(value, unit)`: appends `value / unit` with one decimal, or none from 1000 on.
pub(super) fn tenths_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (unsigned, large, end) = (asm.label(), asm.label(), asm.label());
    asm.mov(R3, R1);
    magnitude(&mut asm, R3);
    rounded(&mut asm, R7, R3, R2, R4);
    asm.jump_if_imm(Cond::Sge, R1, 0, unsigned);
    asm.jump_if_imm(Cond::Eq, R7, 0, unsigned);
    put(lines, &mut asm, "-");
    asm.bind(unsigned);
    asm.jump_if_imm(Cond::Ge, R7, 10_000, large);
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Div, R1, 10);
    lines.number(&mut asm, 10);
    put(lines, &mut asm, ".");
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Mod, R1, 10);
    lines.number(&mut asm, 10);
    asm.jump(end);
    asm.bind(large);
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Add, R1, 5);
    asm.alu_imm(AluOp::Div, R1, 10);
    lines.number(&mut asm, 10);
    asm.bind(end);
    leave(&mut asm);
    asm.finish()
}

/// `u64 bytes(value)`: appends bytes with a binary prefix.
pub(super) fn bytes_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    const LARGEST: i32 = 6;
    let mut asm = Asm::new();
    let (found, plain, fits) = (asm.label(), asm.label(), asm.label());
    asm.mov(R7, R1);
    asm.mov(R3, R1);
    magnitude(&mut asm, R3);
    // r8: ten times the power.
    asm.load_imm(R8, 0);
    for power in 1..=LARGEST {
        asm.mov(R4, R3);
        asm.alu_imm(AluOp::Rsh, R4, 10 * power);
        asm.jump_if_imm(Cond::Eq, R4, 0, found);
        asm.load_imm(R8, i64::from(10 * power));
    }
    asm.bind(found);
    asm.jump_if_imm(Cond::Eq, R8, 0, plain);
    asm.load_imm(R9, 1);
    asm.alu(AluOp::Lsh, R9, R8);
    // What would round to 1024.0 of a prefix is 1.0 of the next.
    asm.jump_if_imm(Cond::Eq, R8, 10 * LARGEST, fits);
    rounded(&mut asm, R5, R3, R9, R4);
    asm.jump_if_imm(Cond::Lt, R5, 10_240, fits);
    asm.alu_imm(AluOp::Lsh, R9, 10);
    asm.alu_imm(AluOp::Add, R8, 10);
    asm.bind(fits);
    asm.mov(R1, R7);
    asm.mov(R2, R9);
    lines.call(&mut asm, "tenths");
    // The prefix's letter is the byte of that number, then "iB".
    asm.load_imm(R1, text_word(b"KMGTPE"));
    asm.alu_imm(AluOp::Sub, R8, 10);
    asm.alu_imm(AluOp::Div, R8, 10);
    asm.alu_imm(AluOp::Mul, R8, 8);
    asm.alu(AluOp::Rsh, R1, R8);
    asm.alu_imm(AluOp::And, R1, 0xff);
    asm.alu_imm(AluOp::Or, R1, text_word(b"\0iB") as i32);
    lines.call(&mut asm, "put");
    leave(&mut asm);
    asm.bind(plain);
    asm.mov(R1, R7);
    lines.number(&mut asm, 10);
    put(lines, &mut asm, "B");
    leave(&mut asm);
    asm.finish()
}

/// `u64 duration(ns)`: appends a time as the two largest units that say enough.
pub(super) fn duration_function(lines: &Lines<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (positive, nothing, end) = (asm.label(), asm.label(), asm.label());
    asm.mov(R7, R1);
    asm.jump_if_imm(Cond::Eq, R7, 0, nothing);
    asm.jump_if_imm(Cond::Sgt, R7, 0, positive);
    put(lines, &mut asm, "-");
    asm.neg(R7);
    asm.jump_if_imm(Cond::Sgt, R7, 0, positive);
    asm.load_imm(R7, i64::MAX);
    asm.bind(positive);
    // A limit is a little below its unit where rounding to tenths would reach the next.
    let short: [(i64, Option<i64>, &str); 4] = [
        (MICROSECOND, None, "ns"),
        (999_950, Some(MICROSECOND), "us"),
        (999_950_000, Some(MILLISECOND), "ms"),
        (59_950_000_000, Some(SECOND), "s"),
    ];
    for (below, unit, name) in short {
        let longer = asm.label();
        asm.load_imm(R2, below);
        asm.jump_if(Cond::Ge, R7, R2, longer);
        asm.mov(R1, R7);
        match unit {
            Some(unit) => tenths(lines, &mut asm, unit),
            None => lines.number(&mut asm, 10),
        }
        put(lines, &mut asm, name);
        asm.jump(end);
        asm.bind(longer);
    }
    let (hours, days, rounded) = (asm.label(), asm.label(), asm.label());
    asm.load_imm(R2, HOUR);
    asm.jump_if(Cond::Ge, R7, R2, hours);
    asm.alu_imm(AluOp::Add, R7, (SECOND / 2) as i32);
    asm.alu_imm(AluOp::Div, R7, SECOND as i32);
    asm.jump_if_imm(Cond::Lt, R7, 3_600, rounded);
    asm.load_imm(R7, 3_599);
    asm.bind(rounded);
    two_units(lines, &mut asm, 60, 1, ["m", "s"]);
    asm.jump(end);
    asm.bind(hours);
    asm.load_imm(R2, DAY);
    asm.jump_if(Cond::Ge, R7, R2, days);
    two_units(lines, &mut asm, HOUR, MINUTE, ["h", "m"]);
    asm.jump(end);
    asm.bind(days);
    two_units(lines, &mut asm, DAY, HOUR, ["d", "h"]);
    asm.jump(end);
    asm.bind(nothing);
    put(lines, &mut asm, "0s");
    asm.bind(end);
    leave(&mut asm);
    asm.finish()
}

/// The amount in `r7` as a number of the larger unit and two digits of the smaller one.
fn two_units(lines: &Lines<'_>, asm: &mut Asm, large: i64, small: i64, names: [&str; 2]) {
    let two = asm.label();
    asm.load_imm(R8, large);
    asm.mov(R1, R7);
    asm.alu(AluOp::Div, R1, R8);
    lines.number(asm, 10);
    put(lines, asm, names[0]);
    asm.alu(AluOp::Mod, R7, R8);
    asm.load_imm(R8, small);
    asm.alu(AluOp::Div, R7, R8);
    asm.jump_if_imm(Cond::Ge, R7, 10, two);
    put(lines, asm, "0");
    asm.bind(two);
    asm.mov(R1, R7);
    lines.number(asm, 10);
    put(lines, asm, names[1]);
}
