//! What may be said of a whole group: its keys, what they determine, and aggregates.

use super::scope::Scope;
use super::units::is_amount;
use crate::diagnostic::Diagnostic;
use crate::hir::{ExprId, ExprKind};
use kernel_vm::schema::Type;

impl ExprKind {
    /// The expressions that this one is computed from.
    pub(super) fn operands(&self) -> Vec<ExprId> {
        match self {
            Self::Const(_)
            | Self::ConstText(_)
            | Self::Param(_)
            | Self::Column(_)
            | Self::System(_)
            | Self::CountRows => Vec::new(),
            Self::Neg(a) | Self::Abs(a) | Self::Not(a) | Self::Aggregate(_, a) => vec![*a],
            Self::Binary(_, a, b)
            | Self::Compare(_, a, b)
            | Self::Text(_, a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Held(a, b) => vec![*a, *b],
            Self::MulDiv(a, b, c) | Self::If(a, b, c) => vec![*a, *b, *c],
            Self::History(history) => std::iter::once(history.arg).chain(history.window).collect(),
        }
    }
}

impl Scope<'_> {
    /// Reports every aggregate in `root`.
    pub(super) fn refuse_aggregates(&mut self, root: ExprId, why: &str) {
        let mut work = vec![root];
        let mut seen = vec![false; self.exprs.len()];
        while let Some(id) = work.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let expr = &self.exprs[id.0 as usize];
            if matches!(expr.kind, ExprKind::Aggregate(..) | ExprKind::CountRows) {
                let diagnostic = Diagnostic::error(
                    "K0026",
                    "a function of a whole group cannot stand here",
                    expr.span,
                    why,
                );
                self.report(diagnostic.help("move the condition to `having`"));
                continue;
            }
            work.extend(expr.kind.operands());
        }
    }

    /// Reports every column of `root` that neither is determined by the keys nor stands in
    /// an aggregate, and aggregates of aggregates.
    pub(super) fn check_grouped(&mut self, root: ExprId, keys: &[ExprId]) {
        let names: Vec<&str> =
            keys.iter().filter_map(|&key| self.column(key)).map(|column| column.name).collect();
        let by_pid = names.contains(&"pid") || names.contains(&"vpid");
        let by_object = names.contains(&"object")
            || (names.contains(&"object.device") && names.contains(&"object.inode"));
        let mut work = vec![root];
        let mut seen = vec![false; self.exprs.len()];
        while let Some(id) = work.pop() {
            if keys.contains(&id) || std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let expr = self.exprs[id.0 as usize].clone();
            if let ExprKind::Aggregate(_, arg) = expr.kind {
                self.refuse_aggregates(arg, "the argument is of a single row");
                continue;
            }
            let Some(column) = self.column(id) else {
                work.extend(expr.kind.operands());
                continue;
            };
            // The name of a process is not fixed, but one of its names is what a reader of a
            // group by pid wants.
            let of_process = column.of_process || column.name == "comm";
            if (of_process && by_pid) || (column.of_object && by_object) {
                continue;
            }
            let name = column.name;
            let message = format!("`{name}` differs within a group");
            let label = "neither a key nor determined by one";
            let help = if is_amount(column.ty) {
                format!("add it to `group by`, or say which: `max({name})`, `sum({name})`")
            } else if matches!(column.ty, Type::Text { .. }) {
                "add it to `group by`, or leave it out".to_owned()
            } else {
                format!("add it to `group by`, or count it: `count(distinct {name})`")
            };
            self.report(Diagnostic::error("K0027", message, expr.span, label).help(help));
        }
    }
}
