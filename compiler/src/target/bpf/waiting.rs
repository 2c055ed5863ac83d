//! Whether a filter can match only threads that wait for a lock.
//!
//! If it can, its sweep looks at those alone: the phase before the sweep has found them,
//! out of all threads. The condition is evaluated with the columns of a thread that waits
//! for nothing, and everything else unknown; if it is false then, the rest need no look.
//!
//! **Invariant**: a filter with history is never restricted, as its history has to see
//! every row in every sweep.

use kernel_vm::schema::Table;

use crate::hir::{BinaryOp, CompareOp, ExprId, ExprKind, Filter};

/// The columns that are 0 for a thread that waits for no lock.
const COLUMNS: [&str; 5] = ["waits_on", "waits_for", "wait_class", "cycle.id", "cycle.length"];

/// Whether `filter` matches only threads that wait for a lock.
pub(super) fn implies_waiting(filter: &Filter) -> bool {
    let keeps_history = filter
        .exprs
        .iter()
        .any(|expr| matches!(expr.kind, ExprKind::History(_) | ExprKind::Held(..)));
    filter.table == Table::Thread
        && !keeps_history
        && filter.condition.is_some_and(|condition| value(filter, condition) == Some(0))
}

/// The value for a thread that waits for nothing, where that decides it.
fn value(filter: &Filter, id: ExprId) -> Option<i64> {
    let of = |id: ExprId| value(filter, id);
    match filter.expr(id).kind {
        ExprKind::Const(number) => Some(number),
        ExprKind::Column(column) => COLUMNS.contains(&column.0.name).then_some(0),
        ExprKind::Compare(op, a, b) => Some(compare(op, of(a)?, of(b)?).into()),
        ExprKind::And(a, b) => match (of(a), of(b)) {
            (Some(0), _) | (_, Some(0)) => Some(0),
            (Some(_), Some(_)) => Some(1),
            _ => None,
        },
        ExprKind::Or(a, b) => match (of(a)?, of(b)?) {
            (0, 0) => Some(0),
            _ => Some(1),
        },
        ExprKind::Not(a) => Some((of(a)? == 0).into()),
        ExprKind::If(condition, then, otherwise) => match of(condition)? {
            0 => of(otherwise),
            _ => of(then),
        },
        ExprKind::Binary(BinaryOp::Min, a, b) => Some(of(a)?.min(of(b)?)),
        ExprKind::Binary(BinaryOp::Max, a, b) => Some(of(a)?.max(of(b)?)),
        ExprKind::Binary(
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod,
            ..,
        )
        | ExprKind::ConstText(_)
        | ExprKind::Param(_)
        | ExprKind::System(_)
        | ExprKind::Neg(_)
        | ExprKind::Abs(_)
        | ExprKind::MulDiv(..)
        | ExprKind::Text(..)
        | ExprKind::History(_)
        | ExprKind::Held(..)
        | ExprKind::Aggregate(..)
        | ExprKind::CountRows => None,
    }
}

const fn compare(op: CompareOp, a: i64, b: i64) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

#[cfg(test)]
mod tests {
    use super::implies_waiting;

    fn restricted(condition: &str) -> bool {
        let source = format!("filter f on thread {{ where {condition} emit tid }}");
        let analysis = crate::parse_and_check(&source);
        assert!(!analysis.has_errors(), "{:?}", analysis.diagnostics);
        implies_waiting(&crate::simplify::simplify(&analysis.filters[0]))
    }

    #[test]
    fn conditions_that_only_waiting_threads_meet() {
        for condition in [
            "cycle(waits_for)",
            "wait_class == abandoned",
            "wait_class != none and comm == \"x\"",
            "cycle.length > 2",
            "pid == 1 and cycle.id != 0",
            "wait_class == cycle or wait_class == self",
            "not (wait_class == none)",
            "(if wait_class == none then 0 else 1) == 1",
        ] {
            assert!(restricted(condition), "{condition}");
        }
    }

    #[test]
    fn conditions_that_others_meet_too() {
        for condition in [
            "wait_class == none",
            "cycle(waits_for) or pid == 1",
            "not cycle(waits_for)",
            "pid == 1",
            "cycle.length >= 0",
            "cycle(waits_for) for 1s",
            "cycle(waits_for) and rate(cpu_time) > 1%",
        ] {
            assert!(!restricted(condition), "{condition}");
        }
    }
}
