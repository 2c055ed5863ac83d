//! Conditions: code that goes one way or the other.

use super::{Lower, Unknown};
use crate::arith::{Range, Val};
use crate::hir::{CompareOp, ExprId, ExprKind};
use crate::lir::{Cond, Operand, Place};

/// `unreadable` in a register that remembers why a condition is not known.
const SEEN_UNREADABLE: i64 = 2;
/// `warming` there.
const SEEN_WARMING: i64 = 3;

impl CompareOp {
    fn negated(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
        }
    }

    fn swapped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::Ne => Self::Ne,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
        }
    }

    fn cond(self) -> Cond {
        match self {
            Self::Eq => Cond::Eq,
            Self::Ne => Cond::Ne,
            Self::Lt => Cond::Slt,
            Self::Le => Cond::Sle,
            Self::Gt => Cond::Sgt,
            Self::Ge => Cond::Sge,
        }
    }

    /// The answer, if the ranges alone give it.
    fn decided(self, a: Range, b: Range) -> Option<bool> {
        match self {
            Self::Lt if a.hi < b.lo => Some(true),
            Self::Lt if a.lo >= b.hi => Some(false),
            Self::Eq if a.hi < b.lo || b.hi < a.lo => Some(false),
            Self::Eq if a.lo == a.hi && a == b => Some(true),
            Self::Lt | Self::Eq => None,
            Self::Gt => Self::Lt.decided(b, a),
            Self::Le | Self::Ge | Self::Ne => self.negated().decided(a, b).map(|answer| !answer),
        }
    }
}

impl Lower<'_> {
    /// The parts of `id` of which all (`and`) or one (not `and`) must hold, with negations
    /// pushed inwards.
    pub(super) fn collect(
        &self,
        id: ExprId,
        positive: bool,
        and: bool,
        into: &mut Vec<(ExprId, bool)>,
    ) {
        match self.filter.expr(id).kind {
            ExprKind::Not(a) => self.collect(a, !positive, and, into),
            ExprKind::And(a, b) if positive == and => {
                self.collect(a, positive, and, into);
                self.collect(b, positive, and, into);
            }
            ExprKind::Or(a, b) if positive != and => {
                self.collect(a, positive, and, into);
                self.collect(b, positive, and, into);
            }
            ExprKind::And(..)
            | ExprKind::Or(..)
            | ExprKind::Const(_)
            | ExprKind::ConstText(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::System(_)
            | ExprKind::Neg(_)
            | ExprKind::Abs(_)
            | ExprKind::Binary(..)
            | ExprKind::MulDiv(..)
            | ExprKind::Compare(..)
            | ExprKind::Text(..)
            | ExprKind::If(..)
            | ExprKind::History(_)
            | ExprKind::Held(..)
            | ExprKind::Aggregate(..)
            | ExprKind::CountRows => into.push((id, positive)),
        }
    }

    /// Goes to `yes` if all `parts` hold, else to `no`.
    pub(super) fn all(
        &mut self,
        parts: &[(ExprId, bool)],
        yes: Place,
        no: Place,
        unknown: Unknown,
    ) {
        for &(id, positive) in parts {
            let next = self.f.place();
            self.cond(id, positive, next, no, unknown);
            self.bind(next);
        }
        self.jump(yes);
    }

    /// Goes to `yes` if `id` (or, not `positive`, its opposite) holds, else to `no`.
    pub(super) fn cond(
        &mut self,
        id: ExprId,
        positive: bool,
        yes: Place,
        no: Place,
        unknown: Unknown,
    ) {
        match self.filter.expr(id).kind {
            ExprKind::Not(a) => self.cond(a, !positive, yes, no, unknown),
            ExprKind::And(..) | ExprKind::Or(..) => {
                let and = matches!(self.filter.expr(id).kind, ExprKind::And(..)) == positive;
                let mut parts = Vec::new();
                self.collect(id, positive, and, &mut parts);
                if self.reorders {
                    parts.sort_by_key(|&(id, _)| self.costs[id.0 as usize]);
                }
                if and {
                    self.all(&parts, yes, no, unknown);
                } else {
                    self.any(&parts, yes, no, unknown);
                }
            }
            ExprKind::If(c, a, b) if !self.is_known(id) => {
                let (first, second) = (self.f.place(), self.f.place());
                self.as_written(|lower| lower.cond(c, true, first, second, unknown));
                self.bind(first);
                self.cond(a, positive, yes, no, unknown);
                self.bind(second);
                self.cond(b, positive, yes, no, unknown);
            }
            ExprKind::Compare(op, a, b) => {
                self.mark(id);
                let op = if positive { op } else { op.negated() };
                self.compare(op, a, b, yes, no, unknown);
            }
            ExprKind::Text(op, a, b) => {
                self.mark(id);
                let (yes, no) = if positive { (yes, no) } else { (no, yes) };
                self.text(op, a, b, yes, no, unknown);
            }
            ExprKind::Const(_)
            | ExprKind::ConstText(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::System(_)
            | ExprKind::Neg(_)
            | ExprKind::Abs(_)
            | ExprKind::Binary(..)
            | ExprKind::MulDiv(..)
            | ExprKind::If(..)
            | ExprKind::History(_)
            | ExprKind::Held(..)
            | ExprKind::Aggregate(..)
            | ExprKind::CountRows => {
                self.mark(id);
                let (yes, no) = if positive { (yes, no) } else { (no, yes) };
                let val = self.value(id, unknown);
                match val.as_const() {
                    Some(0) => self.jump(no),
                    Some(_) => self.jump(yes),
                    None => {
                        let reg = val.in_reg(&mut self.f);
                        self.branch(Cond::Ne, reg, 0, yes);
                        self.jump(no);
                    }
                }
            }
        }
    }

    /// Goes to `yes` if one of `parts` holds. A part that is not known does not hold, but
    /// if no other does, the whole is not known.
    fn any(&mut self, parts: &[(ExprId, bool)], yes: Place, no: Place, unknown: Unknown) {
        let Some((last, others)) = parts.split_last() else {
            self.jump(no);
            return;
        };
        let doubtful = others.iter().any(|&(id, _)| self.may_be_unknown(id));
        let seen = doubtful.then(|| self.kept());
        if let Some(seen) = seen {
            self.put(seen, Val::constant(0));
        }
        for &(id, positive) in others {
            let [next, unreadable, warming] = [self.f.place(), self.f.place(), self.f.place()];
            self.cond(id, positive, yes, next, Unknown { unreadable, warming });
            for (place, why) in [(unreadable, SEEN_UNREADABLE), (warming, SEEN_WARMING)] {
                self.bind(place);
                if let Some(seen) = seen {
                    self.put(seen, Val::constant(why));
                }
                self.jump(next);
            }
            self.bind(next);
        }
        let failed = self.f.place();
        self.cond(last.0, last.1, yes, failed, unknown);
        self.bind(failed);
        if let Some(seen) = seen {
            let seen = self.get(seen, Range::ALL).in_reg(&mut self.f);
            self.branch(Cond::Eq, seen, SEEN_UNREADABLE as i32, unknown.unreadable);
            self.branch(Cond::Eq, seen, SEEN_WARMING as i32, unknown.warming);
        }
        self.jump(no);
    }

    /// Writes code in which conditions keep the order of the source.
    pub(super) fn as_written<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let reorders = core::mem::replace(&mut self.reorders, false);
        let result = write(self);
        self.reorders = reorders;
        result
    }

    fn compare(
        &mut self,
        op: CompareOp,
        a: ExprId,
        b: ExprId,
        yes: Place,
        no: Place,
        unknown: Unknown,
    ) {
        for (op, id, other) in [(op, a, b), (op.swapped(), b, a)] {
            let has_order = !matches!(op, CompareOp::Eq | CompareOp::Ne);
            if let Some(measure) = self.measure(id).filter(|_| has_order) {
                return self.compare_measure(op, measure, (id, other), [yes, no], unknown);
            }
        }
        self.compare_numbers(op, (a, b), [yes, no], unknown);
    }

    pub(super) fn compare_numbers(
        &mut self,
        op: CompareOp,
        (a, b): (ExprId, ExprId),
        [yes, no]: [Place; 2],
        unknown: Unknown,
    ) {
        let (a, b) = self.pair(a, b, unknown);
        if let Some(answer) = op.decided(a.range, b.range) {
            self.jump(if answer { yes } else { no });
            return;
        }
        let (op, a, b) = if a.as_const().is_some() { (op.swapped(), b, a) } else { (op, a, b) };
        let lhs = a.in_reg(&mut self.f);
        let rhs: Operand = b.operand(&mut self.f);
        self.branch(op.cond(), lhs, rhs, yes);
        self.jump(no);
    }

    /// The condition of a `for`: how long it has held is kept in the row's state.
    pub(super) fn held(
        &mut self,
        parts: &[(ExprId, bool)],
        hold: ExprId,
        yes: Place,
        no: Place,
        unknown: Unknown,
    ) {
        let (Some(base), Some(offset)) = (self.past.base(), self.plan.held) else {
            unreachable!("a filter with a `for` keeps state");
        };
        let offset = offset as i32;
        let holds = self.f.place();
        let fails = [self.f.place(), self.f.place(), self.f.place()];
        let [pass, unreadable, warming] = fails;
        self.all(parts, holds, pass, Unknown { unreadable, warming });
        for (fails, to) in
            [(pass, no), (unreadable, unknown.unreadable), (warming, unknown.warming)]
        {
            self.bind(fails);
            self.f.store(base, offset, 0);
            self.jump(to);
        }
        self.bind(holds);
        let now = self.now();
        let since = self.f.load(base, offset);
        let known = self.f.place();
        self.branch(Cond::Ne, since, 0, known);
        self.f.mov(since, now);
        self.f.store(base, offset, now);
        self.bind(known);
        let hold = self.value(hold, unknown);
        let age = self.f.alu(crate::lir::AluOp::Sub, now, since);
        let hold = hold.operand(&mut self.f);
        self.branch(Cond::Sge, age, hold, yes);
        self.jump(no);
    }
}
