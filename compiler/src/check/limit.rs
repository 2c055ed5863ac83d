//! What follows a match: `severity` and `limit`.

use super::clauses::Clauses;
use crate::diagnostic::{Diagnostic, Span};
use crate::hir::{Emit, ExprKind, Limit};
use crate::suggest::suggest;
use crate::syntax::ast;
use kernel_vm::abi::FIXED_ONE;
use kernel_vm::object::{LimitAction, RungMeta, Severity};
use kernel_vm::schema::{EnumKind, Table, Type, Unit};

impl Clauses<'_> {
    pub(super) fn limit(&mut self, rungs: &[ast::Rung], leave: Option<&ast::Expr>, span: Span) {
        let mut checked: Vec<RungMeta> = Vec::new();
        for rung in rungs {
            let Some(after_ns) = self.after(&rung.after) else { continue };
            let Some(action) = self.action(rung) else { continue };
            if checked.last().is_some_and(|last| last.after_ns > after_ns) {
                self.scope.report(
                    Diagnostic::error(
                        "K0046",
                        "the rungs are not in the order of time",
                        rung.after.span,
                        "earlier than the one above",
                    )
                    .help("write the mildest and earliest first"),
                );
            }
            checked.push(RungMeta { after_ns, action });
        }
        if rungs.is_empty() {
            self.scope.report(
                Diagnostic::error("K0046", "the limit does nothing", span, "no rung")
                    .help("write `after 10s nice 10` or another rung"),
            );
        }
        if self.scope.grouped || self.scope.table != Table::Process {
            self.scope.report(Diagnostic::error(
                "K0046",
                "only processes can be limited",
                span,
                "this clause",
            ));
        }
        let leave = leave.and_then(|leave| self.scope.condition(leave));
        self.limit = Some(Limit { rungs: checked, leave });
    }

    fn after(&mut self, tree: &ast::Expr) -> Option<i64> {
        let after = tree
            .literal()
            .filter(|literal| literal.ty == Type::Int(Unit::Duration) && literal.value >= 0)
            .map(|literal| literal.value);
        if after.is_none() && !tree.is_wrong() {
            self.scope.report(
                Diagnostic::error("K0024", "`after` takes a duration", tree.span, "here")
                    .help("write `after 10s`, or `after 0s` for at once"),
            );
        }
        after
    }

    fn action(&mut self, rung: &ast::Rung) -> Option<LimitAction> {
        let mut amount = |unit: Unit, least: i64, most: i64, usage: &str| {
            let argument = rung.argument.as_ref()?;
            let value = argument
                .literal()
                .filter(|literal| literal.ty == Type::Int(unit))
                .map(|literal| literal.value)
                .filter(|value| (least..=most).contains(value));
            if value.is_none() {
                let message = format!("`{}` takes another argument", rung.action.text);
                self.scope
                    .report(Diagnostic::error("K0046", message, argument.span, "here").help(usage));
            }
            value
        };
        match rung.action.text.as_str() {
            "notify" => Some(LimitAction::Notify),
            "freeze" => Some(LimitAction::Freeze),
            "term" => Some(LimitAction::Term),
            "kill" => Some(LimitAction::Kill),
            "nice" => amount(Unit::Count, -20, 19, "write `nice 10`, from -20 to 19")
                .and_then(|value| i32::try_from(value).ok())
                .map(LimitAction::Nice),
            "cpu" => amount(Unit::Ratio, FIXED_ONE / 100, i64::MAX, "write `cpu 50%`, of one CPU")
                .map(LimitAction::CpuRatio),
            "memory" => amount(Unit::Bytes, 4096, i64::MAX, "write `memory 512MiB`")
                .map(LimitAction::MemoryBytes),
            "files" => {
                amount(Unit::Count, 0, i64::MAX, "write `files 1024`").map(LimitAction::Files)
            }
            name => {
                const ACTIONS: [&str; 8] =
                    ["notify", "nice", "cpu", "memory", "files", "freeze", "term", "kill"];
                let diagnostic = Diagnostic::error(
                    "K0046",
                    format!("`{name}` is not an action"),
                    rung.action.span,
                    "unknown",
                );
                let diagnostic = match suggest(name, ACTIONS.into_iter()) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic.help(format!("actions are {}", ACTIONS.join(", "))),
                };
                self.scope.report(diagnostic);
                None
            }
        }
    }

    /// One severity for all is metadata; rules with `when` become a field of the record.
    pub(super) fn severity(&mut self, span: Span) -> Option<Severity> {
        let base = self.severity.iter().find(|rule| rule.1.is_none()).map(|rule| rule.0);
        if self.severity.iter().all(|rule| rule.1.is_none()) {
            return base;
        }
        let ty = Type::Enum(EnumKind::Severity);
        let number = |level: Option<Severity>| match level {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Critical) => 2,
        };
        let mut value = self.scope.make(ExprKind::Const(number(base)), ty, span);
        let mut rules = self.severity.clone();
        rules.sort_by_key(|rule| rule.0);
        for (level, when) in rules {
            if let Some(when) = when {
                let this = self.scope.make(ExprKind::Const(number(Some(level))), ty, span);
                value = self.scope.make(ExprKind::If(when, this, value), ty, span);
            }
        }
        if self.emit.iter().any(|(emit, _)| emit.name == "severity") {
            self.scope.report(
                Diagnostic::error(
                    "K0014",
                    "the rules give a field `severity` already",
                    span,
                    "this filter",
                )
                .help("give the emitted field another name with `as`"),
            );
        }
        self.emit.push((Emit { name: "severity".to_owned(), expr: value }, span));
        base
    }

    /// Whoever is limited must be told apart from a later process with the same pid.
    pub(super) fn limit_fields(&mut self, span: Span) {
        if self.limit.is_none() || self.scope.table != Table::Process {
            return;
        }
        for name in ["pid", "start_time"] {
            let Some(expr) = self.scope.resolve(name, span) else { continue };
            let Some((emit, place)) = self.emit.iter().find(|(emit, _)| emit.name == name) else {
                self.emit.push((Emit { name: name.to_owned(), expr }, span));
                continue;
            };
            if emit.expr != expr {
                let message = format!("`{name}` must be the column when there is a `limit`");
                let diagnostic = Diagnostic::error("K0046", message, *place, "something else")
                    .help("give the field another name with `as`");
                self.scope.report(diagnostic);
            }
        }
    }
}
