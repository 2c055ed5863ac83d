//! The routines behind `mean`, `deviation`, `zscore`, `peak` and `slope`.
//!
//! Weights are fixed-point numbers with 32 bits after the point, from 0 to 2^32. The exact
//! integer formulas stand in the section "History" of `docs/language.md`. The `vm` target calls
//! what the machine has of them (`kernel_vm::arith::history`), which is to give the same.
//!
//! **Invariant**: nothing here can overflow: a value has at most 62 bits, its fraction
//! included, so that a difference has 63 and a variance 126.

pub(crate) use kernel_vm::arith::history::ONE;
use kernel_vm::arith::history::{DECAY_COEFFICIENTS, PART_BITS, ROOT_COEFFICIENTS};

use crate::arith::emit_scale;
use crate::arith::routines::{not_zero, wide_product};
use crate::lir::{AluOp, Base, Cond, Function, Op, Routine, VReg};

/// `1 << log` if `reg` has a bit at or above `bit` (1 to 63), else 0. Without a branch, as a
/// verifier would follow every combination of them.
fn step_if_beyond(f: &mut Function, reg: VReg, bit: i32, log: i32) -> VReg {
    let top = f.alu(AluOp::Rsh, reg, bit);
    let some = not_zero(f, top);
    f.alu(AluOp::Lsh, some, log)
}

/// `decay(dt, half_life)`: the weight `2^(-dt / half_life)`.
pub(crate) fn decay() -> Function {
    let mut function = Function::default();
    let f = &mut function;
    let [dt, half_life] = f.entry();
    let (all, nothing) = (f.place(), f.place());
    f.branch(Cond::Sle, dt, 0, all);
    f.branch(Cond::Sle, half_life, 0, nothing);
    let halvings = f.alu(AluOp::Div, dt, half_life);
    f.branch(Cond::Gt, halvings, 32, nothing);
    let rest = f.alu(AluOp::Mod, dt, half_life);
    let unit = f.reg();
    f.mov(unit, half_life);
    for (step, log) in [(16, 4), (8, 3), (4, 2), (2, 1), (1, 0)] {
        let shift = step_if_beyond(f, unit, 31 + step, log);
        f.alu_into(unit, AluOp::Rsh, unit, shift);
        f.alu_into(rest, AluOp::Rsh, rest, shift);
    }
    let fraction = f.alu(AluOp::Lsh, rest, 32);
    f.alu_into(fraction, AluOp::Div, fraction, unit);
    let mut sum = f.constant(DECAY_COEFFICIENTS[6]);
    let rest = DECAY_COEFFICIENTS[..6].iter().rev().copied();
    for coefficient in rest.chain([ONE]) {
        let part = f.alu(AluOp::Mul, sum, fraction);
        let part = f.alu(AluOp::Rsh, part, 32);
        let constant = f.constant(coefficient);
        sum = f.alu(AluOp::Sub, constant, part);
    }
    let weight = f.alu(AluOp::Rsh, sum, halvings);
    f.push(Op::Return(weight));
    f.bind(all);
    let one = f.constant(ONE);
    f.push(Op::Return(one));
    f.bind(nothing);
    let zero = f.constant(0);
    f.push(Op::Return(zero));
    function
}

/// `spread(variance, difference, kept)`: the variance after a value that differs so much from the
/// mean: `(variance + difference * step) * kept`, where the step is `difference * (1 - kept)`.
pub(crate) fn spread() -> Function {
    let mut function = Function::default();
    let f = &mut function;
    let [variance, difference, kept] = f.entry();
    let weight = f.constant(ONE);
    f.alu_into(weight, AluOp::Sub, weight, kept);
    let step = emit_scale(f, difference, weight);
    let (difference, step) = sizes(f, difference, step);
    let (old_low, old_high) = (f.load(Base::Reg(variance), 0), f.load(Base::Reg(variance), 8));
    let zero = f.constant(0);

    let wide = f.place();
    let large = is_wide(f, difference, step, (old_low, old_high));
    f.branch(Cond::Ne, large, 0, wide);
    narrow_spread(f, variance, old_low, (difference, step, kept));
    f.push(Op::Return(zero));

    f.bind(wide);
    let (high, low) = wide_product(f, difference, step);
    let (low, carry) = add(f, low, old_low);
    f.alu_into(high, AluOp::Add, high, old_high);
    f.alu_into(high, AluOp::Add, high, carry);
    let digit = |f: &mut Function, word: VReg| {
        let low = f.alu(AluOp::Lsh, word, 32);
        let low = f.alu(AluOp::Rsh, low, 32);
        let high = f.alu(AluOp::Rsh, word, 32);
        (f.alu(AluOp::Mul, low, kept), f.alu(AluOp::Mul, high, kept))
    };
    let (d0, d1) = digit(f, low);
    let part = f.alu(AluOp::Rsh, d0, 32);
    let (new_low, carry) = add(f, d1, part);
    let (d2, new_high) = digit(f, high);
    f.alu_into(new_high, AluOp::Add, new_high, carry);
    let part = f.alu(AluOp::Lsh, d2, 32);
    let (new_low, carry) = add(f, new_low, part);
    f.alu_into(new_high, AluOp::Add, new_high, carry);
    let part = f.alu(AluOp::Rsh, d2, 32);
    f.alu_into(new_high, AluOp::Add, new_high, part);
    f.store(Base::Reg(variance), 0, new_low);
    f.store(Base::Reg(variance), 8, new_high);
    f.push(Op::Return(zero));
    function
}

/// Not 0 if [`narrow_spread`] is not enough.
fn is_wide(f: &mut Function, difference: VReg, step: VReg, (low, high): (VReg, VReg)) -> VReg {
    let large = f.alu(AluOp::Or, difference, step);
    f.alu_into(large, AluOp::Rsh, large, 31);
    f.alu_into(large, AluOp::Or, large, high);
    let top = f.alu(AluOp::Rsh, low, 63);
    f.alu_into(large, AluOp::Or, large, top);
    large
}

/// [`spread`] where all of it has 64 bits.
fn narrow_spread(
    f: &mut Function,
    variance: VReg,
    old: VReg,
    (difference, step, kept): (VReg, VReg, VReg),
) {
    let sum = f.alu(AluOp::Mul, difference, step);
    f.alu_into(sum, AluOp::Add, sum, old);
    let above = f.alu(AluOp::Rsh, sum, 32);
    f.alu_into(above, AluOp::Mul, above, kept);
    f.alu_into(sum, AluOp::Lsh, sum, 32);
    f.alu_into(sum, AluOp::Rsh, sum, 32);
    f.alu_into(sum, AluOp::Mul, sum, kept);
    f.alu_into(sum, AluOp::Rsh, sum, 32);
    f.alu_into(sum, AluOp::Add, sum, above);
    f.store(Base::Reg(variance), 0, sum);
}

/// [`spread`] without a call where all of it has 64 bits, as mostly it does.
pub(crate) fn quick_spread(f: &mut Function, variance: VReg, [difference, step, kept]: [VReg; 3]) {
    let (wide, done) = (f.place(), f.place());
    let old = (f.load(Base::Reg(variance), 0), f.load(Base::Reg(variance), 8));
    let sizes = sizes(f, difference, step);
    let large = is_wide(f, sizes.0, sizes.1, old);
    f.branch(Cond::Ne, large, 0, wide);
    narrow_spread(f, variance, old.0, (sizes.0, sizes.1, kept));
    f.jump(done);
    f.bind(wide);
    f.call(Routine::Spread, &[variance, difference, kept]);
    f.bind(done);
}

/// The magnitudes of a difference and its step, which have the same sign or the step is 0.
fn sizes(f: &mut Function, difference: VReg, step: VReg) -> (VReg, VReg) {
    let sign = f.alu(AluOp::Arsh, difference, 63);
    let mut size = |reg: VReg| {
        let flipped = f.alu(AluOp::Xor, reg, sign);
        f.alu(AluOp::Sub, flipped, sign)
    };
    (size(difference), size(step))
}

/// The sum of two words and what it carries into the next.
fn add(f: &mut Function, a: VReg, b: VReg) -> (VReg, VReg) {
    let sum = f.alu(AluOp::Add, a, b);
    let both = f.alu(AluOp::And, a, b);
    let carry = f.alu(AluOp::Or, a, b);
    let lost = f.alu(AluOp::Xor, sum, -1);
    f.alu_into(carry, AluOp::And, carry, lost);
    f.alu_into(carry, AluOp::Or, carry, both);
    f.alu_into(carry, AluOp::Rsh, carry, 63);
    (sum, carry)
}

/// Half of how many low bits of a variance its root leaves out: 0, 16 or 32, so that 62 are
/// left. Without a branch, as a verifier would follow every combination of them.
pub(crate) fn root_shift(f: &mut Function, (low, high): (VReg, VReg)) -> VReg {
    let above = above_word(f, (low, high));
    let some = not_zero(f, above);
    let top = f.alu(AluOp::Rsh, high, 30);
    let more = not_zero(f, top);
    let count = f.alu(AluOp::Add, some, more);
    f.alu(AluOp::Lsh, count, 4)
}

/// A variance without twice `shift` of its low bits, which [`root_shift`] has said.
pub(crate) fn shifted(f: &mut Function, (low, high): (VReg, VReg), shift: VReg) -> VReg {
    let part = f.alu(AluOp::Rsh, low, shift);
    f.alu_into(part, AluOp::Rsh, part, shift);
    // Twice half of it: 64 at once would be none.
    let left = f.constant(32);
    f.alu_into(left, AluOp::Sub, left, shift);
    let moved = f.alu(AluOp::Lsh, high, left);
    f.alu_into(moved, AluOp::Lsh, moved, left);
    f.alu(AluOp::Or, part, moved)
}

/// Not 0 if a variance has more than 62 bits.
pub(crate) fn above_word(f: &mut Function, (low, high): (VReg, VReg)) -> VReg {
    let above = f.alu(AluOp::Rsh, low, 62);
    f.alu(AluOp::Or, above, high)
}

/// `root(low, high)`: the square root of a variance, rounded down after its lowest 32 or 64 bits
/// were dropped if it has more than 62 or 94.
pub(crate) fn root() -> Function {
    let mut function = Function::default();
    let f = &mut function;
    let [low, high] = f.entry();
    // What has never changed has no variance, and most values are such.
    let nothing = f.place();
    let any = f.alu(AluOp::Or, low, high);
    f.branch(Cond::Eq, any, 0, nothing);
    let shift = root_shift(f, (low, high));
    let word = shifted(f, (low, high), shift);
    let root = root_of_word(f, word);
    f.alu_into(root, AluOp::Lsh, root, shift);
    f.push(Op::Return(root));
    f.bind(nothing);
    f.push(Op::Return(any));
    function
}

/// [`root`] without a call where the variance has 62 bits, as mostly it has: leaves it to
/// `put`, on two paths.
pub(crate) fn quick_root(
    f: &mut Function,
    (low, high): (VReg, VReg),
    mut put: impl FnMut(&mut Function, VReg),
) {
    let (wide, done) = (f.place(), f.place());
    let above = above_word(f, (low, high));
    f.branch(Cond::Ne, above, 0, wide);
    let root = root_of_word(f, low);
    put(f, root);
    f.jump(done);
    f.bind(wide);
    let root = f.call(Routine::Root, &[low, high]);
    put(f, root);
    f.bind(done);
}

/// The root of a number of 62 bits, rounded down. Without a branch, as a verifier would follow
/// every combination of them.
fn root_of_word(f: &mut Function, low: VReg) -> VReg {
    // The root of the number's part in [1, 4), by a parabola that is off by at most 0.5 %; then
    // two of Newton's steps, which come down to it: each squares the error and halves it.
    let bits = f.constant(0);
    let left = f.reg();
    f.mov(left, low);
    for step in [32, 16, 8, 4, 2] {
        let beyond = f.constant((1 << step) - 1);
        f.alu_into(beyond, AluOp::Sub, beyond, left);
        f.alu_into(beyond, AluOp::Arsh, beyond, 63);
        f.alu_into(beyond, AluOp::And, beyond, step);
        f.alu_into(left, AluOp::Rsh, left, beyond);
        f.alu_into(bits, AluOp::Add, bits, beyond);
    }
    let places = f.constant(2 * i64::from(PART_BITS));
    f.alu_into(places, AluOp::Sub, places, bits);
    let part = f.alu(AluOp::Lsh, low, places);
    f.alu_into(part, AluOp::Rsh, part, PART_BITS);
    f.alu_into(places, AluOp::Rsh, places, 1);
    let [constant, linear, square] = ROOT_COEFFICIENTS;
    let bend = f.alu(AluOp::Mul, part, square);
    f.alu_into(bend, AluOp::Rsh, bend, PART_BITS);
    let rise = f.constant(linear.into());
    f.alu_into(rise, AluOp::Sub, rise, bend);
    f.alu_into(rise, AluOp::Mul, rise, part);
    let guess = f.alu(AluOp::Rsh, rise, PART_BITS);
    f.alu_into(guess, AluOp::Add, guess, constant);
    f.alu_into(guess, AluOp::Rsh, guess, places);
    f.alu_into(guess, AluOp::Add, guess, 1);
    for _ in 0..2 {
        let other = f.alu(AluOp::Div, low, guess);
        f.alu_into(guess, AluOp::Add, guess, other);
        f.alu_into(guess, AluOp::Rsh, guess, 1);
    }
    // A guess that is one too large has a square that is larger.
    let square = f.alu(AluOp::Mul, guess, guess);
    let beyond = f.alu(AluOp::Sub, low, square);
    f.alu_into(beyond, AluOp::Arsh, beyond, 63);
    f.alu_into(guess, AluOp::Add, guess, beyond);
    guess
}
