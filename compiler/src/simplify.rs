//! Folds constants and drops what changes nothing, from a checked filter to an equal one.
//!
//! **Invariant**: the result is unknown exactly where the original is, but that a condition
//! which is false whatever an unknown operand is worth no longer asks for it.

use std::collections::HashMap;

use crate::arith::fold;
use crate::hir::{BinaryOp, CompareOp, Expr, ExprId, ExprKind, Filter, History};

/// The filter, simplified.
#[must_use]
pub fn simplify(filter: &Filter) -> Filter {
    let mut rewriter = Rewriter { exprs: Vec::new(), known: HashMap::new() };
    let mut new_ids: Vec<ExprId> = Vec::with_capacity(filter.exprs.len());
    for expr in &filter.exprs {
        let kind = renamed(&expr.kind, |id| new_ids[id.0 as usize]);
        new_ids.push(rewriter.expr(Expr { kind, ..expr.clone() }));
    }
    let rename = |id: ExprId| new_ids[id.0 as usize];
    let mut simple = filter.clone();
    simple.condition = simple.condition.map(rename);
    if let Some(group) = &mut simple.group {
        group.keys.iter_mut().for_each(|key| *key = rename(*key));
        group.having = group.having.map(rename);
    }
    simple.emit.iter_mut().for_each(|emit| emit.expr = rename(emit.expr));
    if let Some(top) = &mut simple.top {
        top.by = rename(top.by);
    }
    if let Some(limit) = &mut simple.limit {
        limit.leave = limit.leave.map(rename);
    }
    simple.exprs = rewriter.exprs;
    simple
}

/// `kind` with its operands' ids replaced.
fn renamed(kind: &ExprKind, id: impl Fn(ExprId) -> ExprId) -> ExprKind {
    match kind.clone() {
        ExprKind::Neg(a) => ExprKind::Neg(id(a)),
        ExprKind::Abs(a) => ExprKind::Abs(id(a)),
        ExprKind::Not(a) => ExprKind::Not(id(a)),
        ExprKind::Aggregate(function, a) => ExprKind::Aggregate(function, id(a)),
        ExprKind::Binary(op, a, b) => ExprKind::Binary(op, id(a), id(b)),
        ExprKind::Compare(op, a, b) => ExprKind::Compare(op, id(a), id(b)),
        ExprKind::Text(op, a, b) => ExprKind::Text(op, id(a), id(b)),
        ExprKind::And(a, b) => ExprKind::And(id(a), id(b)),
        ExprKind::Or(a, b) => ExprKind::Or(id(a), id(b)),
        ExprKind::Held(a, b) => ExprKind::Held(id(a), id(b)),
        ExprKind::MulDiv(a, b, c) => ExprKind::MulDiv(id(a), id(b), id(c)),
        ExprKind::If(a, b, c) => ExprKind::If(id(a), id(b), id(c)),
        ExprKind::History(history) => ExprKind::History(History {
            arg: id(history.arg),
            window: history.window.map(&id),
            ..history
        }),
        other @ (ExprKind::Const(_)
        | ExprKind::ConstText(_)
        | ExprKind::Param(_)
        | ExprKind::Column(_)
        | ExprKind::System(_)
        | ExprKind::CountRows) => other,
    }
}

struct Rewriter {
    exprs: Vec<Expr>,
    known: HashMap<ExprKind, ExprId>,
}

impl Rewriter {
    fn constant(&self, id: ExprId) -> Option<i64> {
        let ExprKind::Const(value) = self.exprs[id.0 as usize].kind else { return None };
        Some(value)
    }

    fn expr(&mut self, expr: Expr) -> ExprId {
        let kind = match self.simpler(&expr.kind) {
            Simpler::Same => expr.kind,
            Simpler::Is(id) => return id,
            Simpler::Const(value) => ExprKind::Const(value),
        };
        if let Some(&id) = self.known.get(&kind)
            && self.exprs[id.0 as usize].ty == expr.ty
        {
            return id;
        }
        let id = ExprId(self.exprs.len() as u32);
        self.known.insert(kind.clone(), id);
        self.exprs.push(Expr { kind, ..expr });
        id
    }

    fn simpler(&self, kind: &ExprKind) -> Simpler {
        let value = |id: ExprId| self.constant(id);
        match *kind {
            ExprKind::Neg(a) => value(a).map_or(Simpler::Same, |a| Simpler::Const(fold::neg(a))),
            ExprKind::Abs(a) => value(a).map_or(Simpler::Same, |a| Simpler::Const(fold::abs(a))),
            ExprKind::Binary(op, a, b) => binary(op, (a, value(a)), (b, value(b))),
            ExprKind::MulDiv(a, b, c) => match (value(a), value(b), value(c)) {
                (Some(a), Some(b), Some(c)) => Simpler::Const(fold::mul_div(a, b, c)),
                (None, Some(b), Some(c)) if b == c && b > 0 => Simpler::Is(a),
                (Some(a), None, Some(c)) if a == c && a > 0 => Simpler::Is(b),
                _ => Simpler::Same,
            },
            ExprKind::Compare(op, a, b) => match (value(a), value(b)) {
                (Some(a), Some(b)) => Simpler::Const(i64::from(compare(op, a, b))),
                _ => Simpler::Same,
            },
            ExprKind::And(a, b) => match (value(a), value(b)) {
                (Some(0), _) => Simpler::Const(0),
                (Some(_), _) => Simpler::Is(b),
                // What is unknown on the left is unknown, whatever the right side says.
                (None, Some(0) | None) => Simpler::Same,
                (None, Some(_)) => Simpler::Is(a),
            },
            ExprKind::Or(a, b) => match (value(a), value(b)) {
                (Some(0), _) => Simpler::Is(b),
                (Some(_), _) => Simpler::Const(1),
                (None, Some(0)) => Simpler::Is(a),
                (None, _) => Simpler::Same,
            },
            ExprKind::Not(a) => match (value(a), &self.exprs[a.0 as usize].kind) {
                (Some(a), _) => Simpler::Const(i64::from(a == 0)),
                (None, ExprKind::Not(inner)) => Simpler::Is(*inner),
                (None, _) => Simpler::Same,
            },
            ExprKind::If(c, a, b) => match value(c) {
                Some(0) => Simpler::Is(b),
                Some(_) => Simpler::Is(a),
                None => Simpler::Same,
            },
            ExprKind::Const(_)
            | ExprKind::ConstText(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::System(_)
            | ExprKind::Text(..)
            | ExprKind::History(_)
            | ExprKind::Held(..)
            | ExprKind::Aggregate(..)
            | ExprKind::CountRows => Simpler::Same,
        }
    }
}

enum Simpler {
    Same,
    Is(ExprId),
    Const(i64),
}

fn binary(op: BinaryOp, (a, x): (ExprId, Option<i64>), (b, y): (ExprId, Option<i64>)) -> Simpler {
    if let (Some(x), Some(y)) = (x, y) {
        return Simpler::Const(apply(op, x, y));
    }
    match (op, x, y) {
        (BinaryOp::Add, Some(0), _) | (BinaryOp::Mul, Some(1), _) => Simpler::Is(b),
        (BinaryOp::Add | BinaryOp::Sub, _, Some(0))
        | (BinaryOp::Mul | BinaryOp::Div, _, Some(1)) => Simpler::Is(a),
        (BinaryOp::Min | BinaryOp::Max, _, _) if a == b => Simpler::Is(a),
        _ => Simpler::Same,
    }
}

/// The value of `a op b`.
#[must_use]
pub(crate) fn apply(op: BinaryOp, a: i64, b: i64) -> i64 {
    match op {
        BinaryOp::Add => fold::add(a, b),
        BinaryOp::Sub => fold::sub(a, b),
        BinaryOp::Mul => fold::mul(a, b),
        BinaryOp::Div => fold::div(a, b),
        BinaryOp::Mod => fold::rem(a, b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
    }
}

/// Whether `a op b`.
#[must_use]
pub(crate) fn compare(op: CompareOp, a: i64, b: i64) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}
