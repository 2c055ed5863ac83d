//! The rules of a filter's clauses.

use super::scope::Scope;
use super::units::{describe, is_amount};
use crate::diagnostic::{Diagnostic, Severity as Level, Span};
use crate::hir::{Emit, ExprId, ExprKind, Filter, Group, Limit, Param, Top, Value};
use crate::suggest::suggest;
use crate::syntax::ast::{self, Clause, ClauseKind, EmitItem, Name};
use kernel_vm::abi::{
    FIXED_ONE, RECORD_BYTES_MAX, RECORD_FIELDS_MAX, RECORD_HEADER_BYTES, ROW_COLUMNS_MAX,
};
use kernel_vm::object::{LimitAction, RungMeta, Severity};
use kernel_vm::schema::{EnumKind, Table, Type, Unit};

/// Most records that `top` may ask for.
const TOP_MAX: i64 = 10_000;
/// Bytes that a text parameter holds.
const TEXT_PARAM_BYTES: u16 = 64;

/// The checked filter, or `None` when anything was wrong with it.
pub(super) fn check(tree: &ast::Filter, diagnostics: &mut Vec<Diagnostic>) -> Option<Filter> {
    let before = diagnostics.len();
    let Some(table) = Table::from_name(&tree.table.text) else {
        let message = format!("there is no table `{}`", tree.table.text);
        let diagnostic = Diagnostic::error("K0012", message, tree.table.span, "unknown table");
        diagnostics.push(
            match suggest(&tree.table.text, Table::ALL.iter().map(|table| table.name())) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help("tables are process, thread, file and mapping"),
            },
        );
        return None;
    };
    let grouped = tree.clauses.iter().any(|clause| matches!(clause.kind, ClauseKind::Group { .. }));
    let mut checker = Clauses {
        scope: Scope::new(table, grouped, diagnostics),
        condition: None,
        group: None,
        having: None,
        emit: Vec::new(),
        top: None,
        severity: Vec::new(),
        limit: None,
    };
    checker.all(tree);
    let filter = checker.finish(tree, table);
    let wrong = diagnostics[before..].iter().any(|diagnostic| diagnostic.severity == Level::Error);
    if wrong { None } else { filter }
}

struct Clauses<'a> {
    scope: Scope<'a>,
    condition: Option<ExprId>,
    group: Option<Vec<ExprId>>,
    having: Option<ExprId>,
    emit: Vec<(Emit, Span)>,
    top: Option<Top>,
    severity: Vec<(Severity, Option<ExprId>)>,
    limit: Option<Limit>,
}

impl Clauses<'_> {
    fn all(&mut self, tree: &ast::Filter) {
        for (index, clause) in tree.clauses.iter().enumerate() {
            let again = tree.clauses[..index].iter().find(|first| is_single(first, clause));
            if let Some(first) = again {
                let diagnostic =
                    Diagnostic::error("K0031", "the clause stands twice", clause.span, "again")
                        .label(first.span, "the first one");
                self.scope.report(
                    diagnostic.help("join the two: conditions with `and`, fields with commas"),
                );
            }
            self.one(clause);
        }
    }

    fn one(&mut self, clause: &Clause) {
        match &clause.kind {
            ClauseKind::Param { doc, name, value } => self.param(doc, name, value),
            ClauseKind::Let { name, value } => {
                let value = self.scope.expr(value);
                self.scope.define(&name.text, name.span, "value", value);
            }
            ClauseKind::Where { condition, hold } => {
                let id = self.scope.condition(condition);
                let hold = hold.as_ref().map(|hold| self.scope.fixed_duration(hold, "`for`"));
                self.condition = match (id, hold) {
                    (Some(id), None) => Some(id),
                    (Some(id), Some(Some(hold))) => {
                        self.check_hold(clause.span);
                        Some(self.scope.make(ExprKind::Held(id, hold), Type::Bool, clause.span))
                    }
                    _ => None,
                };
                if let Some(id) = id
                    && let Some(value) = self.scope.constant(id)
                {
                    let what = if value == 0 { "no row matches" } else { "every row matches" };
                    self.scope.report(Diagnostic::warning(
                        "K0041",
                        format!("{what}: the condition is constant"),
                        condition.span,
                        "always the same",
                    ));
                }
            }
            ClauseKind::Group { keys } => {
                let keys: Vec<Option<ExprId>> =
                    keys.iter().map(|key| self.scope.expr(key)).collect();
                self.group = Some(keys.into_iter().flatten().collect());
            }
            ClauseKind::Having { condition } => {
                self.having = self.scope.condition(condition);
                if !self.scope.grouped {
                    self.scope.report(
                        Diagnostic::error(
                            "K0028",
                            "`having` without `group by`",
                            clause.span,
                            "here",
                        )
                        .help("a condition on single rows goes into `where`"),
                    );
                }
            }
            ClauseKind::Emit { items } => items.iter().for_each(|item| self.emit_item(item)),
            ClauseKind::Top { n, by } => self.top(n, by),
            ClauseKind::Severity { level, when } => {
                let rule = match when {
                    Some(when) => self.scope.condition(when).map(|when| (*level, Some(when))),
                    None => Some((*level, None)),
                };
                self.severity.extend(rule);
            }
            ClauseKind::Limit { rungs, leave } => self.limit(rungs, leave.as_ref(), clause.span),
        }
    }

    fn check_hold(&mut self, span: Span) {
        if self.scope.grouped || !matches!(self.scope.table, Table::Process | Table::Thread) {
            self.scope.report(
                Diagnostic::error("K0025", "`for` needs a row's history", span, "this clause")
                    .help("history is kept for processes and threads that are not grouped"),
            );
        }
    }

    fn param(&mut self, doc: &str, name: &Name, value: &ast::Expr) {
        if value.is_wrong() {
            self.scope.define(&name.text, name.span, "parameter", None);
            return;
        }
        let literal = if let Some(literal) = value.literal() {
            Some((Value::Int(literal.value), literal.ty, literal.text))
        } else if let ast::ExprKind::Bool(on) = &value.kind {
            Some((Value::Int(i64::from(*on)), Type::Bool, on.to_string()))
        } else if let ast::ExprKind::Text(text) = &value.kind
            && text.len() < usize::from(TEXT_PARAM_BYTES)
        {
            let ty = Type::Text { capacity: TEXT_PARAM_BYTES };
            Some((Value::Text(text.clone()), ty, text.escape_ascii().to_string()))
        } else {
            None
        };
        let Some((default, ty, default_text)) = literal else {
            self.scope.report(
                Diagnostic::error("K0039", "a parameter's default is a literal", value.span, "computed")
                    .help("write a number such as `80%`, a text, true or false; computed values go into `let`"),
            );
            self.scope.define(&name.text, name.span, "parameter", None);
            return;
        };
        let index = self.scope.params.len();
        self.scope.params.push(Param {
            name: name.text.clone(),
            doc: doc.to_owned(),
            ty,
            default,
            default_text,
        });
        let id = self.scope.make(ExprKind::Param(index), ty, name.span);
        self.scope.define(&name.text, name.span, "parameter", Some(id));
    }

    fn emit_item(&mut self, item: &EmitItem) {
        let Some(expr) = self.scope.expr(&item.value) else { return };
        let name = match (&item.name, &item.value.kind) {
            (Some(name), _) => name.clone(),
            (None, ast::ExprKind::Name(name)) => Name { text: name.clone(), span: item.value.span },
            (None, _) => {
                self.scope.report(
                    Diagnostic::error(
                        "K0030",
                        "the field needs a name",
                        item.value.span,
                        "computed here",
                    )
                    .help("write `… as NAME`"),
                );
                return;
            }
        };
        if let ExprKind::ConstText(_) = self.scope.kind(expr) {
            self.scope.report(Diagnostic::error(
                "K0038",
                "a literal text is not a field",
                item.value.span,
                "the same for all",
            ));
            return;
        }
        if let Some((_, first)) = self.emit.iter().find(|(emit, _)| emit.name == name.text) {
            let diagnostic = Diagnostic::error(
                "K0014",
                format!("two fields are called `{}`", name.text),
                name.span,
                "the second one",
            )
            .label(*first, "the first one");
            self.scope.report(diagnostic.help("give one another name with `as`"));
            return;
        }
        self.emit.push((Emit { name: name.text, expr }, item.value.span));
    }

    fn top(&mut self, n: &ast::Expr, by: &ast::Expr) {
        let count = n
            .literal()
            .filter(|literal| literal.ty == Type::Int(Unit::Count))
            .map(|literal| literal.value)
            .filter(|value| (1..=TOP_MAX).contains(value));
        if count.is_none() {
            self.scope.report(
                Diagnostic::error("K0032", "`top` takes a number from 1 to 10000", n.span, "here")
                    .help("write `top 20 by cpu`"),
            );
        }
        let Some(id) = self.scope.expr(by) else { return };
        let ty = self.scope.ty(id);
        if !is_amount(ty) {
            self.scope.report(Diagnostic::error(
                "K0033",
                format!("`top` sorts by an amount, this is {}", describe(ty)),
                by.span,
                describe(ty),
            ));
            return;
        }
        if let Some(n) = count.and_then(|n| u32::try_from(n).ok()) {
            self.top = Some(Top { n, by: id });
        }
    }

    fn limit(&mut self, rungs: &[ast::Rung], leave: Option<&ast::Expr>, span: Span) {
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
        if self.scope.grouped || !matches!(self.scope.table, Table::Process | Table::Thread) {
            self.scope.report(Diagnostic::error(
                "K0046",
                "only processes and threads can be limited",
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

    fn finish(mut self, tree: &ast::Filter, table: Table) -> Option<Filter> {
        let severity = self.severity(tree.name.span);
        self.limit_fields(tree.name.span);
        self.check_groups();
        self.check_sizes(tree);
        self.scope.report_unused();
        Some(Filter {
            name: tree.name.text.clone(),
            name_span: tree.name.span,
            doc: tree.doc.clone(),
            table,
            condition: self.condition,
            group: self.group.map(|keys| Group { keys, having: self.having }),
            emit: self.emit.into_iter().map(|(emit, _)| emit).collect(),
            top: self.top,
            severity,
            limit: self.limit,
            params: self.scope.params,
            exprs: self.scope.exprs,
        })
    }

    /// One severity for all is metadata; rules with `when` become a field of the record.
    fn severity(&mut self, span: Span) -> Option<Severity> {
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
    fn limit_fields(&mut self, span: Span) {
        if self.limit.is_none() {
            return;
        }
        for name in ["pid", "start_time"] {
            if !self.emit.iter().any(|(emit, _)| emit.name == name)
                && let Some(expr) = self.scope.resolve(name, span)
            {
                self.emit.push((Emit { name: name.to_owned(), expr }, span));
            }
        }
    }

    fn check_groups(&mut self) {
        if let Some(condition) = self.condition {
            self.scope.refuse_aggregates(condition, "`where` looks at single rows");
        }
        let Some(keys) = self.group.clone() else { return };
        for &key in &keys {
            self.scope.refuse_aggregates(key, "a key is of a single row");
        }
        let after: Vec<ExprId> = self
            .having
            .into_iter()
            .chain(self.emit.iter().map(|(emit, _)| emit.expr))
            .chain(self.top.map(|top| top.by))
            .collect();
        for id in after {
            self.scope.check_grouped(id, &keys);
        }
    }

    fn check_sizes(&mut self, tree: &ast::Filter) {
        if self.emit.is_empty()
            && !tree.clauses.iter().any(|clause| matches!(clause.kind, ClauseKind::Emit { .. }))
        {
            self.scope.report(
                Diagnostic::error(
                    "K0029",
                    "the filter emits nothing",
                    tree.name.span,
                    "this filter",
                )
                .help("add `emit pid, comm`"),
            );
        }
        let sizes = self.emit.iter().map(|(emit, _)| self.scope.ty(emit.expr).size());
        let hidden = usize::from(self.top.is_some()) * 8;
        let bytes = RECORD_HEADER_BYTES + hidden + sizes.sum::<usize>();
        let fields = self.emit.len() + usize::from(self.top.is_some());
        if bytes > RECORD_BYTES_MAX || fields > RECORD_FIELDS_MAX {
            let message = format!(
                "a record of {fields} fields and {bytes} bytes is too large; at most \
                 {RECORD_FIELDS_MAX} fields and {RECORD_BYTES_MAX} bytes"
            );
            self.scope.report(
                Diagnostic::error("K0034", message, tree.name.span, "this filter")
                    .help("emit fewer or shorter fields"),
            );
        }
        let columns =
            self.scope.exprs.iter().filter(|expr| matches!(expr.kind, ExprKind::Column(_)));
        let columns = columns.count();
        if columns > ROW_COLUMNS_MAX {
            self.scope.report(Diagnostic::error(
                "K0035",
                format!("{columns} columns are read; at most {ROW_COLUMNS_MAX}"),
                tree.name.span,
                "this filter",
            ));
        }
    }
}

/// Whether two clauses are of a kind that stands once.
fn is_single(first: &Clause, second: &Clause) -> bool {
    let same = std::mem::discriminant(&first.kind) == std::mem::discriminant(&second.kind);
    let many = matches!(
        second.kind,
        ClauseKind::Param { .. } | ClauseKind::Let { .. } | ClauseKind::Severity { .. }
    );
    same && !many
}
