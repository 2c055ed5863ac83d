//! Saturating arithmetic: on constants, and as code that checks only what can happen.
//!
//! A [`Val`] carries the range that its value is known to be in. Checks for overflow, signs
//! and zero divisors are left out where the ranges exclude them.
//!
//! **Invariant**: code and constants agree: the functions of [`fold`] say what every
//! operation means, and each `emit_*` leaves exactly that in a register.

pub mod fold;
mod range;
pub(crate) mod routines;

pub use range::Range;

use crate::lir::{AluOp, Cond, Function, Op, Operand, Routine, VReg};

/// A value of which the code under construction knows something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Val {
    kind: Kind,
    /// What it may be.
    pub(crate) range: Range,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Const(i64),
    Reg(VReg),
}

impl Val {
    pub(crate) fn constant(value: i64) -> Self {
        Self { kind: Kind::Const(value), range: Range::exactly(value) }
    }

    pub(crate) fn reg(reg: VReg, range: Range) -> Self {
        Self { kind: Kind::Reg(reg), range }
    }

    pub(crate) fn as_const(self) -> Option<i64> {
        match self.kind {
            Kind::Const(value) => Some(value),
            Kind::Reg(_) => None,
        }
    }

    /// A register that holds it.
    pub(crate) fn in_reg(self, f: &mut Function) -> VReg {
        match self.kind {
            Kind::Const(value) => f.constant(value),
            Kind::Reg(reg) => reg,
        }
    }

    /// It as the right side of an operation.
    pub(crate) fn operand(self, f: &mut Function) -> Operand {
        match self.kind {
            Kind::Const(value) => match i32::try_from(value) {
                Ok(imm) => Operand::Imm(imm),
                Err(_) => Operand::Reg(f.constant(value)),
            },
            Kind::Reg(reg) => Operand::Reg(reg),
        }
    }
}

/// `if place is not reached by the check: dst = value`, the pattern of every saturation.
fn saturate_unless(
    f: &mut Function,
    cond: Cond,
    lhs: VReg,
    rhs: impl Into<Operand>,
    saturate: impl FnOnce(&mut Function),
) {
    let fine = f.place();
    f.branch(cond, lhs, rhs, fine);
    saturate(f);
    f.bind(fine);
}

/// `dst = i64::MAX` if `sign` is not negative, else `i64::MIN`.
fn saturated_by_sign(f: &mut Function, dst: VReg, sign: VReg) {
    let mask = f.alu(AluOp::Arsh, sign, 63);
    let max = f.constant(i64::MAX);
    f.alu_into(dst, AluOp::Xor, mask, max);
}

/// `a + b`
pub(crate) fn emit_add(f: &mut Function, a: Val, b: Val) -> Val {
    let (a, b) = if a.as_const().is_some() { (b, a) } else { (a, b) };
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => return Val::constant(fold::add(a, b)),
        (None, Some(0)) => return a,
        _ => {}
    }
    let range = a.range.sum(b.range);
    let (lhs, rhs) = (a.in_reg(f), b.operand(f));
    let sum = f.alu(AluOp::Add, lhs, rhs);
    if a.range.sum_fits(b.range) {
        return Val::reg(sum, range);
    }
    if a.range.lo >= 0 && b.range.lo >= 0 {
        saturate_unless(f, Cond::Sge, sum, 0, |f| f.push(Op::Const { dst: sum, value: i64::MAX }));
        return Val::reg(sum, range);
    }
    // Both operands' signs differ from the sum's exactly when it wrapped.
    let x = f.alu(AluOp::Xor, sum, lhs);
    let y = f.alu(AluOp::Xor, sum, rhs);
    let wrapped = f.alu(AluOp::And, x, y);
    saturate_unless(f, Cond::Sge, wrapped, 0, |f| saturated_by_sign(f, sum, lhs));
    Val::reg(sum, range)
}

/// `a - b`
pub(crate) fn emit_sub(f: &mut Function, a: Val, b: Val) -> Val {
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => return Val::constant(fold::sub(a, b)),
        (None, Some(0)) => return a,
        _ => {}
    }
    let range = a.range.difference(b.range);
    let (lhs, rhs) = (a.in_reg(f), b.operand(f));
    let difference = f.alu(AluOp::Sub, lhs, rhs);
    if a.range.difference_fits(b.range) {
        return Val::reg(difference, range);
    }
    // It wrapped exactly when the operands' signs differ and the result's is not the left's.
    let x = f.alu(AluOp::Xor, lhs, rhs);
    let y = f.alu(AluOp::Xor, difference, lhs);
    let wrapped = f.alu(AluOp::And, x, y);
    saturate_unless(f, Cond::Sge, wrapped, 0, |f| saturated_by_sign(f, difference, lhs));
    Val::reg(difference, range)
}

/// `-a`
pub(crate) fn emit_neg(f: &mut Function, a: Val) -> Val {
    if let Some(value) = a.as_const() {
        return Val::constant(fold::neg(value));
    }
    let reg = a.in_reg(f);
    let negated = f.neg(reg);
    if a.range.lo == i64::MIN {
        let min = f.constant(i64::MIN);
        saturate_unless(f, Cond::Ne, reg, min, |f| {
            f.push(Op::Const { dst: negated, value: i64::MAX });
        });
    }
    Val::reg(negated, a.range.negated())
}

/// `abs(a)`
pub(crate) fn emit_abs(f: &mut Function, a: Val) -> Val {
    if let Some(value) = a.as_const() {
        return Val::constant(fold::abs(value));
    }
    if a.range.lo >= 0 {
        return a;
    }
    let reg = a.in_reg(f);
    let result = f.reg();
    let done = f.place();
    f.mov(result, reg);
    f.branch(Cond::Sge, reg, 0, done);
    let negated = emit_neg(f, Val::reg(reg, Range::new(a.range.lo, -1)));
    let negated = negated.in_reg(f);
    f.mov(result, negated);
    f.bind(done);
    Val::reg(result, a.range.abs())
}

/// The smaller (`Cond::Slt`) or the larger (`Cond::Sgt`) of two.
pub(crate) fn emit_pick(f: &mut Function, keep: Cond, a: Val, b: Val) -> Val {
    let smaller = keep == Cond::Slt;
    if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
        return Val::constant(if smaller { x.min(y) } else { x.max(y) });
    }
    let range = if smaller { a.range.min(b.range) } else { a.range.max(b.range) };
    let lhs = a.in_reg(f);
    let rhs = b.operand(f);
    let result = f.reg();
    let done = f.place();
    f.mov(result, lhs);
    f.branch(keep, lhs, rhs, done);
    match rhs {
        Operand::Reg(reg) => f.mov(result, reg),
        Operand::Imm(imm) => f.push(Op::Const { dst: result, value: i64::from(imm) }),
    }
    f.bind(done);
    Val::reg(result, range)
}

/// `a * b`
pub(crate) fn emit_mul(f: &mut Function, a: Val, b: Val) -> Val {
    let (a, b) = if a.as_const().is_some() { (b, a) } else { (a, b) };
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => return Val::constant(fold::mul(a, b)),
        (None, Some(1)) => return a,
        _ => {}
    }
    let range = a.range.product(b.range);
    let lhs = a.in_reg(f);
    if a.range.product_fits(b.range) {
        let rhs = b.operand(f);
        return Val::reg(f.alu(AluOp::Mul, lhs, rhs), range);
    }
    match b.as_const() {
        Some(factor) if factor > 0 => Val::reg(mul_by_constant(f, a, lhs, factor), range),
        Some(_) | None => general_mul_div(f, a, b, Val::constant(1)),
    }
}

fn mul_by_constant(f: &mut Function, a: Val, lhs: VReg, factor: i64) -> VReg {
    let (highest, lowest) = (i64::MAX / factor, i64::MIN / factor);
    let result = f.reg();
    let done = f.place();
    if a.range.hi > highest {
        f.push(Op::Const { dst: result, value: i64::MAX });
        let limit = Val::constant(highest).operand(f);
        f.branch(Cond::Sgt, lhs, limit, done);
    }
    if a.range.lo < lowest {
        f.push(Op::Const { dst: result, value: i64::MIN });
        let limit = Val::constant(lowest).operand(f);
        f.branch(Cond::Slt, lhs, limit, done);
    }
    let rhs = Val::constant(factor).operand(f);
    f.alu_into(result, AluOp::Mul, lhs, rhs);
    f.bind(done);
    result
}

/// `a / b`, toward zero, 0 when `b` is 0.
pub(crate) fn emit_div(f: &mut Function, a: Val, b: Val) -> Val {
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => return Val::constant(fold::div(a, b)),
        (_, Some(0)) => return Val::constant(0),
        (None, Some(1)) => return a,
        _ => {}
    }
    let range = a.range.quotient(b.range);
    if a.range.lo >= 0 && b.range.lo >= 0 {
        let lhs = a.in_reg(f);
        let rhs = b.operand(f);
        return Val::reg(f.alu(AluOp::Div, lhs, rhs), range);
    }
    let (lhs, rhs) = (a.in_reg(f), b.in_reg(f));
    let (x, y) = (magnitude(f, a, lhs), magnitude(f, b, rhs));
    let quotient = f.alu(AluOp::Div, x, y);
    let sign = f.alu(AluOp::Xor, lhs, rhs);
    // Only MIN / -1 leaves a quotient that is too large for its sign.
    let (negative, done) = (f.place(), f.place());
    f.branch(Cond::Slt, sign, 0, negative);
    f.branch(Cond::Sge, quotient, 0, done);
    f.push(Op::Const { dst: quotient, value: i64::MAX });
    f.jump(done);
    f.bind(negative);
    f.push(Op::Neg { dst: quotient, src: quotient });
    f.bind(done);
    Val::reg(quotient, range)
}

/// `a mod b` with the sign of `a`; `a` when `b` is 0.
pub(crate) fn emit_mod(f: &mut Function, a: Val, b: Val) -> Val {
    match (a.as_const(), b.as_const()) {
        (Some(a), Some(b)) => return Val::constant(fold::rem(a, b)),
        (_, Some(0)) => return a,
        (_, Some(1 | -1)) => return Val::constant(0),
        _ => {}
    }
    let range = a.range.remainder(b.range);
    let lhs = a.in_reg(f);
    if a.range.lo >= 0 && b.range.lo >= 0 {
        let rhs = b.operand(f);
        return Val::reg(f.alu(AluOp::Mod, lhs, rhs), range);
    }
    let rhs = b.in_reg(f);
    let (x, y) = (magnitude(f, a, lhs), magnitude(f, b, rhs));
    let rest = f.alu(AluOp::Mod, x, y);
    if a.range.lo < 0 {
        saturate_unless(f, Cond::Sge, lhs, 0, |f| f.push(Op::Neg { dst: rest, src: rest }));
    }
    Val::reg(rest, range)
}

/// `|reg|` as an unsigned number, exact for `MIN` too.
fn magnitude(f: &mut Function, val: Val, reg: VReg) -> VReg {
    if val.range.lo >= 0 {
        return reg;
    }
    let result = f.reg();
    f.mov(result, reg);
    saturate_unless(f, Cond::Sge, reg, 0, |f| f.push(Op::Neg { dst: result, src: reg }));
    result
}

/// `a * b / c` on the exact product, toward zero, saturated; 0 when `c` is 0.
pub(crate) fn emit_mul_div(f: &mut Function, a: Val, b: Val, c: Val) -> Val {
    let (a, b) = if a.as_const().is_some() { (b, a) } else { (a, b) };
    if c.as_const() == Some(0) || b.as_const() == Some(0) {
        return Val::constant(0);
    }
    if let (Some(x), Some(y), Some(z)) = (a.as_const(), b.as_const(), c.as_const()) {
        return Val::constant(fold::mul_div(x, y, z));
    }
    let (b, c) = match (b.as_const(), c.as_const()) {
        (Some(x), Some(y)) if x > 0 && y > 0 => {
            let common = gcd(x, y);
            (Val::constant(x / common), Val::constant(y / common))
        }
        _ => (b, c),
    };
    if c.as_const() == Some(1) {
        return emit_mul(f, a, b);
    }
    if a.range.product_fits(b.range) {
        let product = emit_mul(f, a, b);
        return emit_div(f, product, c);
    }
    general_mul_div(f, a, b, c)
}

/// The same where `a` is as often below 0 as above, and `b` a positive constant.
pub(crate) fn emit_mul_div_of_both_signs(f: &mut Function, a: VReg, b: i64, c: Val) -> VReg {
    let (slow, done) = (f.place(), f.place());
    let result = f.reg();
    let sign = f.alu(AluOp::Arsh, a, 63);
    let size = f.alu(AluOp::Xor, a, sign);
    f.alu_into(size, AluOp::Sub, size, sign);
    // Unsigned, as the size of `MIN` is itself.
    let limit = Val::constant(i64::MAX / b).operand(f);
    f.branch(Cond::Gt, size, limit, slow);
    let factor = Val::constant(b).operand(f);
    f.alu_into(result, AluOp::Mul, size, factor);
    let divisor = c.in_reg(f);
    f.alu_into(result, AluOp::Div, result, divisor);
    f.alu_into(result, AluOp::Xor, result, sign);
    f.alu_into(result, AluOp::Sub, result, sign);
    f.jump(done);
    f.bind(slow);
    let factor = f.constant(b);
    let exact = f.call(Routine::MulDiv, &[a, factor, divisor]);
    f.mov(result, exact);
    f.bind(done);
    result
}

/// The product in 64 bits when a quick look says that it fits, else the routine.
fn general_mul_div(f: &mut Function, a: Val, b: Val, c: Val) -> Val {
    let range = a.range.mul_div(b.range, c.range);
    // All three before the paths part, as both need them.
    let (x, y, divisor) = (a.in_reg(f), b.in_reg(f), c.in_reg(f));
    let (slow, done) = (f.place(), f.place());
    let result = f.reg();
    match b.as_const() {
        // One unsigned comparison sends negative values the slow way as well.
        Some(factor) if factor > 0 => {
            let limit = Val::constant(i64::MAX / factor).operand(f);
            f.branch(Cond::Gt, x, limit, slow);
        }
        _ => {
            let both = f.alu(AluOp::Or, x, y);
            let high = f.alu(AluOp::Rsh, both, 31);
            f.branch(Cond::Ne, high, 0, slow);
        }
    }
    if c.range.lo < 0 {
        f.branch(Cond::Slt, divisor, 0, slow);
    }
    let product = f.alu(AluOp::Mul, x, Operand::Reg(y));
    match c.operand(f) {
        Operand::Imm(1) => f.mov(result, product),
        rhs @ (Operand::Imm(_) | Operand::Reg(_)) => f.alu_into(result, AluOp::Div, product, rhs),
    }
    f.jump(done);
    f.bind(slow);
    let exact = f.call(Routine::MulDiv, &[x, y, divisor]);
    f.mov(result, exact);
    f.bind(done);
    Val::reg(result, range)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `value * weight / 2^32` rounded down, for a `weight` of 0 to 2^32: exact.
pub(crate) fn emit_scale(f: &mut Function, value: VReg, weight: VReg) -> VReg {
    let high = f.alu(AluOp::Arsh, value, 32);
    let high = f.alu(AluOp::Mul, high, weight);
    let low = f.alu(AluOp::Lsh, value, 32);
    let low = f.alu(AluOp::Rsh, low, 32);
    let low = f.alu(AluOp::Mul, low, weight);
    let low = f.alu(AluOp::Rsh, low, 32);
    f.alu(AluOp::Add, high, low)
}
