//! Comparisons of deviations and scores: a square answers them, no root is taken.
//!
//! `√v > k` is `v > k²`, in whole numbers as well, and a square takes a fifth of the time of a root.
//! A number that a filter asks for itself is computed by [`super::history`].
//!
//! **Invariant**: a comparison made here has the answer that the number itself would give. Where
//! 64 bits may not do for that, the number is computed.

use kernel_vm::abi::FIXED_ONE;

use super::history::Moments;
use super::{Lower, Unknown};
use crate::arith::{Range, Val};
use crate::hir::{CompareOp, ExprId, ExprKind, HistoryFn};
use crate::lir::{AluOp, Cond, Place, VReg};

/// Roots of up to so many bits are exact; those of larger variances have dropped low bits.
const WHOLE_BITS: i32 = 31;
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
#[derive(Clone, Copy, Debug)]
struct Ways {
    yes: Place,
    no: Place,
    /// Where the number itself is compared.
    slow: Place,
}

impl Ways {
    fn swapped(self) -> Self {
        Self { yes: self.no, no: self.yes, slow: self.slow }
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

    /// Goes to `yes` if `op` holds between the measure and `other`, else to `no`; to `slow`
    /// where the number itself must be compared.
    pub(super) fn compare_measure(
        &mut self,
        op: CompareOp,
        (measure, moments): (Measure, Moments),
        (id, other): (ExprId, ExprId),
        [yes, no, slow]: [Place; 3],
        unknown: Unknown,
    ) {
        let other_first = self.costs[other.0 as usize] > self.costs[id.0 as usize];
        let early = other_first.then(|| self.value(other, unknown));
        self.check(moments.status, unknown);
        let other = early.unwrap_or_else(|| self.value(other, unknown));
        // Every question becomes: is it `other + more` at least?
        let ways = Ways { yes, no, slow };
        let (more, ways) = match op {
            CompareOp::Ge => (0, ways),
            CompareOp::Gt => (1, ways),
            CompareOp::Lt => (0, ways.swapped()),
            CompareOp::Le => (1, ways.swapped()),
            CompareOp::Eq | CompareOp::Ne => return self.jump(slow),
        };
        match measure {
            Measure::Deviation => self.deviation_reaches(moments, other, more, ways),
            Measure::Score => self.score_reaches(moments, true, other, more, ways),
            Measure::ScoreSize => self.score_reaches(moments, false, other, more, ways),
        }
    }

    /// `⌊(r + half) ÷ 2^bits⌋ ≥ t` is `r ≥ t × 2^bits − half`.
    fn deviation_reaches(&mut self, moments: Moments, other: Val, more: i32, ways: Ways) {
        let (variance, bits) = self.variance_after(moments);
        let half = 1 << (bits - 1);
        let Some(other) = other.as_const() else {
            let other = other.in_reg(&mut self.f);
            self.branch(Cond::Sle, other, -more, ways.yes);
            let limit = self.f.constant(1 << (ROOT_BITS - bits));
            self.branch(Cond::Sgt, other, limit, ways.no);
            let least = self.f.alu(AluOp::Add, other, more);
            self.f.alu_into(least, AluOp::Lsh, least, bits);
            self.f.alu_into(least, AluOp::Sub, least, half);
            return self.root_reaches(variance, least, ways);
        };
        let least = i128::from(other) + i128::from(more);
        if least <= 0 {
            self.jump(ways.yes);
        } else if least > 1 << (ROOT_BITS - bits) {
            self.jump(ways.no);
        } else {
            let square = square_of_root((least << bits) - i128::from(half));
            self.variance_reaches(variance, square, ways);
        }
    }

    fn score_reaches(&mut self, moments: Moments, signed: bool, other: Val, more: i32, ways: Ways) {
        let difference = self.get(moments.difference, Range::ALL).in_reg(&mut self.f);
        let Some(other) = other.as_const() else {
            let other = other.in_reg(&mut self.f);
            self.branch(Cond::Sle, other, -more, ways.slow);
            let least = self.f.alu(AluOp::Add, other, more);
            let size = self.part_in_question(difference, signed, ways);
            return self.size_reaches(moments, size, least, ways);
        };
        let Some(least) = other.checked_add(more.into()) else { return self.jump(ways.no) };
        if least > 0 {
            let size = self.part_in_question(difference, signed, ways);
            let least = self.f.constant(least);
            return self.size_reaches(moments, size, least, ways);
        }
        match 1_i64.checked_sub(least) {
            // A score that is not below a negative number: its size does not go beyond.
            Some(beyond) if signed => {
                self.branch(Cond::Sge, difference, 0, ways.yes);
                let size = self.f.neg(difference);
                let beyond = self.f.constant(beyond);
                self.size_reaches(moments, size, beyond, ways.swapped());
            }
            None if signed && least > i64::MIN => self.jump(ways.slow),
            Some(_) | None => self.jump(ways.yes),
        }
    }

    /// The size of a difference whose score may reach a positive number.
    fn part_in_question(&mut self, difference: VReg, signed: bool, ways: Ways) -> VReg {
        if signed {
            self.branch(Cond::Sle, difference, 0, ways.no);
            return difference;
        }
        let sign = self.f.alu(AluOp::Arsh, difference, 63);
        let flipped = self.f.alu(AluOp::Xor, difference, sign);
        self.f.alu(AluOp::Sub, flipped, sign)
    }

    /// `⌊size × 10⁶ ÷ d⌋ ≥ least`, where `d` is the larger of `√v` and one unit, is `d ≤ q` for
    /// `q = ⌊size × 10⁶ ÷ least⌋`; and `√v ≤ q` is `v < (q + 1)²`.
    fn size_reaches(&mut self, moments: Moments, size: VReg, least: VReg, ways: Ways) {
        let Some((_, bits)) = moments.variance else { unreachable!("the plan keeps it") };
        let limit = self.f.constant(i64::MAX / FIXED_ONE);
        self.branch(Cond::Gt, size, limit, ways.slow);
        let [low, high] = moments.before.map(|word| self.get(word, Range::ALL).in_reg(&mut self.f));
        let quotient = self.f.alu(AluOp::Mul, size, FIXED_ONE as i32);
        self.f.alu_into(quotient, AluOp::Div, quotient, least);
        self.branch(Cond::Lt, quotient, 1 << bits, ways.no);
        let beyond = self.f.alu(AluOp::Add, quotient, 1);
        self.root_reaches((low, high), beyond, ways.swapped());
    }

    /// Whether a variance is a constant at least.
    fn variance_reaches(&mut self, (low, high): (VReg, VReg), square: u128, ways: Ways) {
        let [least_low, least_high] =
            [square, square >> 64].map(|word| self.f.constant(word as u64 as i64));
        self.branch(Cond::Lt, high, least_high, ways.no);
        self.branch(Cond::Gt, high, least_high, ways.yes);
        self.branch(Cond::Ge, low, least_low, ways.yes);
        self.jump(ways.no);
    }

    /// Whether the root of a variance is `least` at least, which is positive.
    fn root_reaches(&mut self, (low, high): (VReg, VReg), least: VReg, ways: Ways) {
        let wide = self.f.place();
        let above = self.f.alu(AluOp::Rsh, low, 2 * WHOLE_BITS);
        self.f.alu_into(above, AluOp::Or, above, high);
        let least_above = self.f.alu(AluOp::Rsh, least, WHOLE_BITS);
        self.branch(Cond::Ne, above, 0, wide);
        self.branch(Cond::Ne, least_above, 0, ways.no);
        let square = self.f.alu(AluOp::Mul, least, least);
        self.branch(Cond::Ge, low, square, ways.yes);
        self.jump(ways.no);

        // Without 16 bits of the one and 32 of the other: what is left decides nearly always.
        self.bind(wide);
        self.branch(Cond::Eq, least_above, 0, ways.yes);
        let part = self.f.alu(AluOp::Rsh, least, 16);
        let top = self.f.alu(AluOp::Rsh, part, WHOLE_BITS);
        self.branch(Cond::Ne, top, 0, ways.slow);
        let top = self.f.alu(AluOp::Rsh, high, 2 * WHOLE_BITS - 32);
        self.branch(Cond::Ne, top, 0, ways.slow);
        let left = self.f.alu(AluOp::Lsh, high, 32);
        let lower = self.f.alu(AluOp::Rsh, low, 32);
        self.f.alu_into(left, AluOp::Or, left, lower);
        let square = self.f.alu(AluOp::Mul, part, part);
        self.branch(Cond::Lt, left, square, ways.no);
        self.f.alu_into(part, AluOp::Add, part, 1);
        let square = self.f.alu(AluOp::Mul, part, part);
        self.branch(Cond::Ge, left, square, ways.yes);
        self.jump(ways.slow);
    }
}

/// The smallest variance whose root, of which low bits may be dropped, is `root` at least.
fn square_of_root(root: i128) -> u128 {
    let root = root.unsigned_abs();
    let dropped = (128 - root.leading_zeros()).saturating_sub(WHOLE_BITS as u32);
    let kept = root.div_ceil(1 << dropped) << dropped;
    kept * kept
}
