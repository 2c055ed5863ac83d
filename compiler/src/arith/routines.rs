//! The routines that an object brings along when a filter needs them.
//!
//! Straight-line code with forward jumps only: every host verifies it quickly.
//!
//! **Invariant**: a routine's arguments and result are plain numbers but for the pointers
//! into the row's state that `spread` takes.

use super::saturate_unless;
use crate::lir::{AluOp, Cond, Function, Op, Operand, Routine, VReg};

/// Low half of a word, as two shifts: the mask does not fit an immediate.
fn low_half(f: &mut Function, reg: VReg) -> VReg {
    let shifted = f.alu(AluOp::Lsh, reg, 32);
    f.alu(AluOp::Rsh, shifted, 32)
}

/// The code of `routine`.
pub(crate) fn build(routine: Routine) -> Function {
    match routine {
        Routine::MulDiv => mul_div(),
        Routine::Decay => crate::history::decay(),
        Routine::Average => unreachable!("only programs for the machine that has it call it"),
        Routine::Spread => crate::history::spread(),
        Routine::Root => crate::history::root(),
    }
}

/// 1 if `reg`, which is less than 2^63, is not zero, else 0.
pub(crate) fn not_zero(f: &mut Function, reg: VReg) -> VReg {
    let negated = f.neg(reg);
    f.alu(AluOp::Rsh, negated, 63)
}

/// The 128-bit product of two unsigned words: (high, low).
pub(crate) fn wide_product(f: &mut Function, a: VReg, b: VReg) -> (VReg, VReg) {
    let (al, ah) = (low_half(f, a), f.alu(AluOp::Rsh, a, 32));
    let (bl, bh) = (low_half(f, b), f.alu(AluOp::Rsh, b, 32));
    let ll = f.alu(AluOp::Mul, al, bl);
    let lh = f.alu(AluOp::Mul, al, bh);
    let hl = f.alu(AluOp::Mul, ah, bl);
    let high = f.alu(AluOp::Mul, ah, bh);
    let carry = f.alu(AluOp::Rsh, ll, 32);
    let part = low_half(f, lh);
    let middle = f.alu(AluOp::Add, carry, part);
    let part = low_half(f, hl);
    let middle = f.alu(AluOp::Add, middle, part);
    for cross in [lh, hl, middle] {
        let part = f.alu(AluOp::Rsh, cross, 32);
        f.alu_into(high, AluOp::Add, high, part);
    }
    let low = low_half(f, ll);
    let shifted = f.alu(AluOp::Lsh, middle, 32);
    f.alu_into(low, AluOp::Or, low, shifted);
    (high, low)
}

fn magnitude(f: &mut Function, reg: VReg) -> VReg {
    let result = f.reg();
    f.mov(result, reg);
    saturate_unless(f, Cond::Sge, reg, 0, |f| f.push(Op::Neg { dst: result, src: reg }));
    result
}

/// `a * b / c`: the magnitudes' product in 128 bits, divided in base 2^32 (two digits of
/// quotient, each guessed from the divisor's upper half and corrected at most twice).
fn mul_div() -> Function {
    let mut function = Function::default();
    let f = &mut function;
    let [a, b, c] = f.entry();
    let (zero, saturate, narrow, finish) = (f.place(), f.place(), f.place(), f.place());
    f.branch(Cond::Eq, c, 0, zero);
    let sign = f.alu(AluOp::Xor, a, b);
    f.alu_into(sign, AluOp::Xor, sign, c);
    let (a, b, c) = (magnitude(f, a), magnitude(f, b), magnitude(f, c));
    let (high, low) = wide_product(f, a, b);
    let quotient = f.reg();
    f.branch(Cond::Ge, high, c, saturate);
    f.branch(Cond::Eq, high, 0, narrow);

    // Shift so that the divisor's top bit is set; `high < c`, so nothing is lost. Without
    // branches: a verifier would follow each of 64 paths.
    let divisor = f.reg();
    f.mov(divisor, c);
    let shift = f.constant(0);
    for (bits, log) in [(32, 5), (16, 4), (8, 3), (4, 2), (2, 1), (1, 0)] {
        let top = f.alu(AluOp::Rsh, divisor, 64 - bits);
        let some = not_zero(f, top);
        let none = f.alu(AluOp::Xor, some, 1);
        let step = f.alu(AluOp::Lsh, none, log);
        f.alu_into(divisor, AluOp::Lsh, divisor, Operand::Reg(step));
        f.alu_into(shift, AluOp::Add, shift, Operand::Reg(step));
    }
    f.alu_into(high, AluOp::Lsh, high, Operand::Reg(shift));
    let moved = f.alu(AluOp::Rsh, low, 1);
    let back = f.alu(AluOp::Xor, shift, 63);
    f.alu_into(moved, AluOp::Rsh, moved, Operand::Reg(back));
    f.alu_into(high, AluOp::Or, high, moved);
    f.alu_into(low, AluOp::Lsh, low, Operand::Reg(shift));
    let upper = f.alu(AluOp::Rsh, divisor, 32);
    let lower = low_half(f, divisor);
    let next = f.alu(AluOp::Rsh, low, 32);
    let first = digit(f, high, next, upper, lower);
    // The rest after the first digit, modulo 2^64.
    let rest = f.alu(AluOp::Lsh, high, 32);
    f.alu_into(rest, AluOp::Or, rest, next);
    let taken = f.alu(AluOp::Mul, first, divisor);
    f.alu_into(rest, AluOp::Sub, rest, taken);
    let next = low_half(f, low);
    let second = digit(f, rest, next, upper, lower);
    f.alu_into(quotient, AluOp::Lsh, first, 32);
    f.alu_into(quotient, AluOp::Or, quotient, second);
    f.jump(finish);

    f.bind(narrow);
    f.alu_into(quotient, AluOp::Div, low, c);
    f.bind(finish);
    let (negative, done) = (f.place(), f.place());
    f.branch(Cond::Slt, quotient, 0, saturate);
    f.branch(Cond::Sge, sign, 0, done);
    f.push(Op::Neg { dst: quotient, src: quotient });
    f.bind(done);
    f.push(Op::Return(quotient));

    // A magnitude of 2^63 or more: `MIN` happens to be its own saturation.
    f.bind(saturate);
    let extreme = f.constant(i64::MAX);
    f.branch(Cond::Slt, sign, 0, negative);
    f.push(Op::Return(extreme));
    f.bind(negative);
    let extreme = f.constant(i64::MIN);
    f.push(Op::Return(extreme));
    f.bind(zero);
    let nothing = f.constant(0);
    f.push(Op::Return(nothing));
    function
}

/// One digit of the quotient of `high:next` (96 bits) by `upper:lower`, whose top bit is
/// set.
fn digit(f: &mut Function, high: VReg, next: VReg, upper: VReg, lower: VReg) -> VReg {
    let guess = f.alu(AluOp::Div, high, upper);
    let taken = f.alu(AluOp::Mul, guess, upper);
    let rest = f.alu(AluOp::Sub, high, taken);
    let done = f.place();
    for _ in 0..2 {
        let (lower_it, fine) = (f.place(), f.place());
        let beyond = f.alu(AluOp::Rsh, guess, 32);
        f.branch(Cond::Ne, beyond, 0, lower_it);
        let product = f.alu(AluOp::Mul, guess, lower);
        let limit = f.alu(AluOp::Lsh, rest, 32);
        f.alu_into(limit, AluOp::Or, limit, next);
        f.branch(Cond::Le, product, limit, fine);
        f.bind(lower_it);
        f.alu_into(guess, AluOp::Sub, guess, 1);
        f.alu_into(rest, AluOp::Add, rest, upper);
        // A rest of 2^32 or more means that the guess can no longer be too large.
        let beyond = f.alu(AluOp::Rsh, rest, 32);
        f.branch(Cond::Ne, beyond, 0, done);
        f.bind(fine);
    }
    f.bind(done);
    guess
}
