//! Calls: `min`, `max`, `abs`, history, aggregates and `cycle`.

use super::scope::Scope;
use super::units::{describe, is_amount};
use crate::diagnostic::{Diagnostic, Span};
use crate::hir::{
    Aggregate, BinaryOp, ColumnRef, CompareOp, ExprId, ExprKind, History, HistoryFn, Value,
};
use crate::suggest::suggest;
use crate::syntax::ast;
use crate::syntax::ast::Name;
use kernel_vm::schema::{self, EnumKind, Table, Type, Unit};

const FUNCTIONS: &[&str] = &[
    "min",
    "max",
    "abs",
    "rate",
    "delta",
    "mean",
    "deviation",
    "zscore",
    "peak",
    "slope",
    "sum",
    "count",
    "cycle",
];

impl Scope<'_> {
    pub(super) fn call(
        &mut self,
        function: &Name,
        distinct: bool,
        args: &[ast::Expr],
        span: Span,
    ) -> Option<ExprId> {
        if distinct && function.text != "count" {
            self.report(Diagnostic::error(
                "K0020",
                "`distinct` goes with `count` only",
                function.span,
                "this function",
            ));
            return None;
        }
        match (function.text.as_str(), args) {
            ("min" | "max", [one]) => self.aggregate(function, one, span),
            ("min", [_, ..]) => self.extreme(BinaryOp::Min, args, span),
            ("max", [_, ..]) => self.extreme(BinaryOp::Max, args, span),
            ("abs", [one]) => {
                let id = self.amount(one)?;
                Some(self.make(ExprKind::Abs(id), self.ty(id), span))
            }
            ("rate", [one]) => self.history(HistoryFn::Rate, one, None, span),
            ("delta", [one]) => self.history(HistoryFn::Delta, one, None, span),
            ("mean", [one, window]) => self.history(HistoryFn::Mean, one, Some(window), span),
            ("deviation", [one, window]) => {
                self.history(HistoryFn::Deviation, one, Some(window), span)
            }
            ("zscore", [one, window]) => self.history(HistoryFn::Zscore, one, Some(window), span),
            ("peak", [one, window]) => self.history(HistoryFn::Peak, one, Some(window), span),
            ("slope", [one, window]) => self.history(HistoryFn::Slope, one, Some(window), span),
            ("sum", [one]) => self.aggregate(function, one, span),
            ("count", []) if !distinct => {
                self.grouped_only(function)?;
                Some(self.make(ExprKind::CountRows, Type::Int(Unit::Count), span))
            }
            ("count", [one]) if distinct => self.aggregate(function, one, span),
            ("cycle", [one]) => self.cycle(one, span),
            (name, args) if FUNCTIONS.contains(&name) => {
                let found = args.len();
                self.report(
                    Diagnostic::error(
                        "K0020",
                        format!("`{name}` takes {}, found {found}", arity(name)),
                        span,
                        "this call",
                    )
                    .help(usage(name)),
                );
                None
            }
            (name, _) => {
                let diagnostic = Diagnostic::error(
                    "K0021",
                    format!("unknown function `{name}`"),
                    function.span,
                    "not known",
                );
                let diagnostic = match suggest(name, FUNCTIONS.iter().copied()) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic.help(format!("functions are {}", FUNCTIONS.join(", "))),
                };
                self.report(diagnostic);
                None
            }
        }
    }

    /// An argument that is computed with.
    fn amount(&mut self, tree: &ast::Expr) -> Option<ExprId> {
        let id = self.expr(tree)?;
        let ty = self.ty(id);
        if is_amount(ty) {
            return Some(id);
        }
        self.report(Diagnostic::error(
            "K0038",
            format!("expected an amount, found {}", describe(ty)),
            tree.span,
            describe(ty),
        ));
        None
    }

    fn extreme(&mut self, op: BinaryOp, args: &[ast::Expr], span: Span) -> Option<ExprId> {
        let ids: Vec<Option<ExprId>> = args.iter().map(|arg| self.amount(arg)).collect();
        let ids: Vec<ExprId> = ids.into_iter().collect::<Option<_>>()?;
        let first = *ids.first()?;
        for (&id, arg) in ids.iter().zip(args) {
            if self.unify(first, id, span).is_none() {
                let (ty, other) = (describe(self.ty(id)), describe(self.ty(first)));
                self.report(
                    Diagnostic::error("K0017", format!("{ty} next to {other}"), arg.span, ty)
                        .label(args[0].span, other)
                        .help("all values must have the same unit"),
                );
                return None;
            }
        }
        self.balanced(ids, |scope, left, right| scope.arithmetic(op, left, right, span))
    }

    fn history(
        &mut self,
        function: HistoryFn,
        arg: &ast::Expr,
        window: Option<&ast::Expr>,
        span: Span,
    ) -> Option<ExprId> {
        let arg_id = self.amount(arg);
        let window_id = match window {
            Some(tree) => Some(self.fixed_duration(tree, "a window")?),
            None => None,
        };
        let arg_id = arg_id?;
        if !matches!(self.table, Table::Process | Table::Thread) {
            let table = self.table.name();
            self.report(
                Diagnostic::error("K0025", format!("a {table} has no history"), span, "here")
                    .help("history is kept for processes and threads"),
            );
            return None;
        }
        if self.grouped {
            self.report(
                Diagnostic::error("K0025", "groups have no history", span, "here")
                    .help("leave out `group by`, or compare the groups' present values"),
            );
            return None;
        }
        let ty = match (function, self.ty(arg_id)) {
            (HistoryFn::Zscore, _) => Type::Int(Unit::Ratio),
            (HistoryFn::Rate | HistoryFn::Slope, Type::Int(Unit::Duration)) => {
                Type::Int(Unit::Ratio)
            }
            (HistoryFn::Delta | HistoryFn::Deviation, Type::Int(Unit::Instant)) => {
                Type::Int(Unit::Duration)
            }
            (HistoryFn::Rate | HistoryFn::Slope, Type::Int(unit))
                if !matches!(unit, Unit::Ratio | Unit::Instant) =>
            {
                Type::PerSecond(unit)
            }
            (HistoryFn::Rate | HistoryFn::Slope, ty) => {
                self.report(
                    Diagnostic::error(
                        "K0025",
                        format!("the growth of {} a second has no unit", describe(ty)),
                        arg.span,
                        describe(ty),
                    )
                    .help("`delta` gives the change since the previous sweep"),
                );
                return None;
            }
            (_, ty) => ty,
        };
        let history = History { function, arg: arg_id, window: window_id };
        Some(self.make(ExprKind::History(history), ty, span))
    }

    /// A duration that is the same for all rows: a literal or a parameter, more than zero.
    pub(super) fn fixed_duration(&mut self, tree: &ast::Expr, what: &str) -> Option<ExprId> {
        let id = self.expr(tree)?;
        let ty = self.ty(id);
        let default = |index: &usize| self.params.get(*index).map(|param| &param.default);
        let constant = if let ExprKind::Param(index) = self.kind(id) {
            default(index).and_then(|value| match value {
                Value::Int(value) => Some(*value),
                Value::Text(_) => None,
            })
        } else {
            self.constant(id)
        };
        let diagnostic = match (ty, constant) {
            (Type::Int(Unit::Duration), Some(value)) if value > 0 => return Some(id),
            (Type::Int(Unit::Duration), Some(_)) => Diagnostic::error(
                "K0024",
                format!("{what} must be longer than nothing"),
                tree.span,
                "here",
            ),
            (Type::Int(Unit::Duration), None) => Diagnostic::error(
                "K0024",
                format!("{what} must be the same for all rows"),
                tree.span,
                "computed",
            )
            .help("write a duration such as `10s`, or name a parameter"),
            (ty, _) => Diagnostic::error(
                "K0024",
                format!("{what} is a duration, this is {}", describe(ty)),
                tree.span,
                describe(ty),
            )
            .help("write a duration such as `10s` or `5min`"),
        };
        self.report(diagnostic);
        None
    }

    fn grouped_only(&mut self, function: &Name) -> Option<()> {
        if self.grouped {
            return Some(());
        }
        let name = &function.text;
        let help = if matches!(name.as_str(), "min" | "max") {
            format!("give `{name}` two values, or add `group by`")
        } else {
            "add `group by` with the keys of a group".to_owned()
        };
        self.report(
            Diagnostic::error(
                "K0026",
                format!("`{name}` is of a whole group, and there is none"),
                function.span,
                "needs `group by`",
            )
            .help(help),
        );
        None
    }

    fn aggregate(&mut self, function: &Name, arg: &ast::Expr, span: Span) -> Option<ExprId> {
        self.grouped_only(function)?;
        let aggregate = match function.text.as_str() {
            "sum" => Aggregate::Sum,
            "max" => Aggregate::Max,
            "min" => Aggregate::Min,
            _ => Aggregate::CountDistinct,
        };
        if aggregate == Aggregate::CountDistinct {
            let id = self.expr(arg)?;
            if let Type::Text { .. } = self.ty(id) {
                self.report(
                    Diagnostic::error("K0038", "texts are not counted", arg.span, "a text")
                        .help("count something that identifies it, such as `object` or `pid`"),
                );
                return None;
            }
            let kind = ExprKind::Aggregate(aggregate, id);
            return Some(self.make(kind, Type::Int(Unit::Count), span));
        }
        let id = self.amount(arg)?;
        if aggregate == Aggregate::Sum && self.ty(id) == Type::Int(Unit::Instant) {
            self.report(Diagnostic::error("K0017", "instants have no sum", arg.span, "an instant"));
            return None;
        }
        Some(self.make(ExprKind::Aggregate(aggregate, id), self.ty(id), span))
    }

    /// Following "waits for" from this thread comes back to it.
    fn cycle(&mut self, arg: &ast::Expr, span: Span) -> Option<ExprId> {
        let followed = matches!(&arg.kind, ast::ExprKind::Name(name) if name == "waits_for");
        if !followed || self.table != Table::Thread {
            self.report(
                Diagnostic::error("K0020", "only `waits_for` can be followed", arg.span, "here")
                    .help("write `cycle(waits_for)` in a filter on thread"),
            );
            return None;
        }
        let kind = EnumKind::WaitClass;
        let class = schema::column(Table::Thread, "wait_class")?;
        let class = self.make(ExprKind::Column(ColumnRef(class)), class.ty, span);
        let mut is = |name: &str| {
            let index = kind.values().iter().position(|value| *value == name)?;
            let value = ExprKind::Const(i64::try_from(index).ok()?);
            let value = self.make(value, Type::Enum(kind), span);
            Some(self.make(ExprKind::Compare(CompareOp::Eq, class, value), Type::Bool, span))
        };
        let (ring, own) = (is("cycle")?, is("self")?);
        Some(self.make(ExprKind::Or(ring, own), Type::Bool, span))
    }
}

fn arity(name: &str) -> &'static str {
    match name {
        "min" | "max" => "two or more values",
        "mean" | "deviation" | "zscore" | "peak" | "slope" => "a value and a window",
        "count" => "nothing, or `distinct` and a value",
        _ => "one value",
    }
}

fn usage(name: &str) -> String {
    match name {
        "mean" | "deviation" | "zscore" | "peak" | "slope" => {
            format!("write `{name}(rss, 5min)`")
        }
        "min" | "max" => format!("write `{name}(a, b)`"),
        "count" => "write `count()` or `count(distinct pid)`".to_owned(),
        "cycle" => "write `cycle(waits_for)`".to_owned(),
        _ => format!("write `{name}(…)` with one value"),
    }
}
