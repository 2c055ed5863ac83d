//! Comparisons of deviations and scores: a square answers them, no root is taken.
//!
//! `√v > k` is `v > k²`, in whole numbers as well, and a square takes a fraction of a root's time.
//! A number that a filter asks for itself is computed by [`super::history`].
//!
//! **Invariant**: a comparison made here has the answer that the number itself would give. Where
//! 64 bits may not do for that, the number is computed.

use kernel_vm::abi::FIXED_ONE;

use super::history::Moments;
use super::{Lower, Unknown};
use crate::arith::{Range, Val};
use crate::hir::{CompareOp, ExprId, ExprKind, HistoryFn};
use crate::history::{above_word, root_shift, shifted};
use crate::lir::{AluOp, Cond, Op, Place, VReg};

/// The root of what is left of a variance has no more bits.
const WORD_ROOT_BITS: i32 = 31;
/// No root has more bits.
const ROOT_BITS: i32 = 63;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    Deviation,
    Score,
    /// A score without its sign.
    ScoreSize,
}

/// Where a comparison goes on.
#[derive(Clone, Debug)]
struct Ways {
    reached: Place,
    missed: Place,
    /// Where the number itself is compared.
    slow: Place,
}

impl Ways {
    fn swap(&mut self) {
        core::mem::swap(&mut self.reached, &mut self.missed);
    }
}

impl Lower<'_> {
    /// The measure that `id` is, if its number is not known yet.
    pub(super) fn measure(&self, id: ExprId) -> Option<(Measure, Moments)> {
        if self.is_known(id) || self.leaves.contains_key(&id) {
            return None;
        }
        if let ExprKind::Abs(inner) = self.filter.expr(id).kind {
            let (measure, moments) = self.measure(inner)?;
            return matches!(measure, Measure::Score).then_some((Measure::ScoreSize, moments));
        }
        let ExprKind::History(history) = self.filter.expr(id).kind else { return None };
        let measure = match history.function {
            HistoryFn::Deviation => Measure::Deviation,
            HistoryFn::Zscore => Measure::Score,
            HistoryFn::Mean
            | HistoryFn::Peak
            | HistoryFn::Slope
            | HistoryFn::Rate
            | HistoryFn::Delta => return None,
        };
        Some((measure, self.moments(history.arg, history.window?)?))
    }

    /// Goes to `yes` if `op` holds between the measure `id` and `other`, else to `no`.
    ///
    /// Most rows are decided by their first few bits. All ways out leave the registers alike,
    /// as the kernel's verifier would follow each of them further.
    pub(super) fn compare_measure(
        &mut self,
        op: CompareOp,
        (measure, moments): (Measure, Moments),
        (id, other): (ExprId, ExprId),
        [yes, no]: [Place; 2],
        unknown: Unknown,
    ) {
        let other_first = self.costs[other.0 as usize] > self.costs[id.0 as usize];
        let early = other_first.then(|| self.value(other, unknown));
        self.check(moments.status, unknown);
        let bound = early.unwrap_or_else(|| self.value(other, unknown));
        // Every question becomes: is it `bound + more` at least?
        let more = i32::from(matches!(op, CompareOp::Gt | CompareOp::Le));
        let negated = matches!(op, CompareOp::Lt | CompareOp::Le);
        let ends = if negated { [no, yes] } else { [yes, no] };
        let mut ways =
            Ways { reached: self.f.place(), missed: self.f.place(), slow: self.f.place() };
        match measure {
            Measure::Deviation => self.deviation_reaches(moments, bound, more, &mut ways),
            Measure::Score => self.score_reaches(moments, bound, more, &mut ways),
            Measure::ScoreSize => self.score_size_reaches(moments, bound, more, &mut ways),
        }
        for (place, end) in [ways.reached, ways.missed].into_iter().zip(ends) {
            self.bind(place);
            self.f.push(Op::Meet(end));
            self.jump(end);
        }
        if matches!(measure, Measure::Deviation) {
            return;
        }
        self.bind(ways.slow);
        let numbers = [self.f.place(), self.f.place()];
        self.compare_numbers(op, (id, other), numbers, unknown);
        for (place, end) in numbers.into_iter().zip([yes, no]) {
            self.bind(place);
            self.f.push(Op::Meet(end));
            self.jump(end);
        }
    }

    /// `⌊(r + half) ÷ 2^bits⌋ ≥ t` is `r ≥ t × 2^bits − half`.
    fn deviation_reaches(&mut self, moments: Moments, bound: Val, more: i32, ways: &mut Ways) {
        let (variance, bits) = self.variance_after(moments);
        let half = 1 << (bits - 1);
        let Some(bound) = bound.as_const() else {
            let bound = self.apart(bound);
            self.branch(Cond::Sle, bound, -more, ways.reached);
            let least = self.f.alu(AluOp::Add, bound, more);
            let beyond = self.f.alu(AluOp::Rsh, least, ROOT_BITS - bits);
            self.branch(Cond::Ne, beyond, 0, ways.missed);
            self.f.alu_into(least, AluOp::Lsh, least, bits);
            self.f.alu_into(least, AluOp::Sub, least, half);
            return self.root_reaches(variance, least, ways);
        };
        let least = i128::from(bound) + i128::from(more);
        if least <= 0 {
            self.jump(ways.reached);
        } else if least > 1 << (ROOT_BITS - bits) {
            self.jump(ways.missed);
        } else {
            let square = square_of_root((least << bits) - i128::from(half));
            self.variance_reaches(variance, square, ways);
        }
    }

    /// A value of its own, of which comparisons tell nothing about `val`.
    fn apart(&mut self, val: Val) -> VReg {
        let reg = val.in_reg(&mut self.f);
        self.f.alu(AluOp::Or, reg, 0)
    }

    /// Whether a variance is a constant at least.
    fn variance_reaches(&mut self, (low, high): (VReg, VReg), square: u128, ways: &mut Ways) {
        let [least_low, least_high] =
            [square, square >> 64].map(|word| self.f.constant(word as u64 as i64));
        self.branch(Cond::Lt, high, least_high, ways.missed);
        self.branch(Cond::Gt, high, least_high, ways.reached);
        self.branch(Cond::Ge, low, least_low, ways.reached);
        self.jump(ways.missed);
    }

    /// A score reaches a positive number if it is positive and its size does, and any other unless
    /// it is negative and its size goes beyond.
    fn score_reaches(&mut self, moments: Moments, bound: Val, more: i32, ways: &mut Ways) {
        let difference = self.get(moments.difference, Range::ALL).in_reg(&mut self.f);
        let Some(bound) = bound.as_const() else {
            let bound = self.apart(bound);
            self.branch(Cond::Sle, bound, -more, ways.slow);
            self.branch(Cond::Sle, difference, 0, ways.missed);
            let least = self.f.alu(AluOp::Add, bound, more);
            return self.size_reaches(moments, difference, least, ways);
        };
        let least = i128::from(bound) + i128::from(more);
        if least > 0 {
            self.branch(Cond::Sle, difference, 0, ways.missed);
            let least = self.f.constant(least as u64 as i64);
            return self.size_reaches(moments, difference, least, ways);
        }
        self.branch(Cond::Sge, difference, 0, ways.reached);
        let size = self.f.neg(difference);
        let beyond = self.f.constant((1 - least) as u64 as i64);
        ways.swap();
        self.size_reaches(moments, size, beyond, ways);
        ways.swap();
    }

    fn score_size_reaches(&mut self, moments: Moments, bound: Val, more: i32, ways: &mut Ways) {
        let difference = self.get(moments.difference, Range::ALL).in_reg(&mut self.f);
        let least = if let Some(bound) = bound.as_const() {
            let least = i128::from(bound) + i128::from(more);
            if least <= 0 {
                return self.jump(ways.reached);
            }
            self.f.constant(least as u64 as i64)
        } else {
            let bound = self.apart(bound);
            self.branch(Cond::Sle, bound, -more, ways.reached);
            self.f.alu(AluOp::Add, bound, more)
        };
        let sign = self.f.alu(AluOp::Arsh, difference, 63);
        let size = self.f.alu(AluOp::Xor, difference, sign);
        self.f.alu_into(size, AluOp::Sub, size, sign);
        self.size_reaches(moments, size, least, ways);
    }

    /// `⌊size × 10⁶ ÷ d⌋ ≥ least`, where `d` is the larger of `√v` and one unit, is `d ≤ q` for
    /// `q = ⌊size × 10⁶ ÷ least⌋`, all without signs.
    fn size_reaches(&mut self, moments: Moments, size: VReg, least: VReg, ways: &mut Ways) {
        let Some((_, bits)) = moments.variance else { unreachable!("the plan keeps it") };
        let limit = self.f.constant(i64::MAX / FIXED_ONE);
        self.branch(Cond::Gt, size, limit, ways.slow);
        let quotient = self.f.alu(AluOp::Mul, size, FIXED_ONE as i32);
        self.f.alu_into(quotient, AluOp::Div, quotient, least);
        self.branch(Cond::Lt, quotient, 1 << bits, ways.missed);
        self.f.alu_into(quotient, AluOp::Add, quotient, 1);
        let [low, high] = moments.before.map(|word| self.get(word, Range::ALL).in_reg(&mut self.f));
        ways.swap();
        self.root_reaches((low, high), quotient, ways);
        ways.swap();
    }

    /// Whether the root of a variance is `least` at least, which is positive: what the root
    /// leaves out of the variance is left out of both, and then a square is compared.
    fn root_reaches(&mut self, (low, high): (VReg, VReg), least: VReg, ways: &mut Ways) {
        let wide = self.f.place();
        let above = above_word(&mut self.f, (low, high));
        let rest = self.f.alu(AluOp::Rsh, least, WORD_ROOT_BITS);
        self.branch(Cond::Ne, above, 0, wide);
        self.branch(Cond::Ne, rest, 0, ways.missed);
        let square = self.f.alu(AluOp::Mul, least, least);
        self.branch(Cond::Ge, low, square, ways.reached);
        self.jump(ways.missed);

        self.bind(wide);
        self.branch(Cond::Eq, rest, 0, ways.reached);
        let f = &mut self.f;
        let shift = root_shift(f, (low, high));
        let part = shifted(f, (low, high), shift);
        let unit = f.constant(1);
        f.alu_into(unit, AluOp::Lsh, unit, shift);
        let least = f.alu(AluOp::Add, least, unit);
        f.alu_into(least, AluOp::Sub, least, 1);
        f.alu_into(least, AluOp::Rsh, least, shift);
        let missed = f.alu(AluOp::Rsh, least, WORD_ROOT_BITS);
        f.alu_into(least, AluOp::Mul, least, least);
        let left = f.alu(AluOp::Sub, part, least);
        f.alu_into(left, AluOp::Rsh, left, 63);
        f.alu_into(missed, AluOp::Or, missed, left);
        self.branch(Cond::Eq, missed, 0, ways.reached);
        self.jump(ways.missed);
    }
}

/// The smallest variance whose root, which leaves low bits out, is `root` at least.
fn square_of_root(root: i128) -> u128 {
    let whole = (1 << WORD_ROOT_BITS) - 1;
    let shift = [0, 16, 32].into_iter().find(|&shift| root <= whole << shift).unwrap_or(32);
    let part = root.unsigned_abs().div_ceil(1 << shift);
    (part * part) << (2 * shift)
}
