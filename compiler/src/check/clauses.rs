//! The rules of a filter's clauses.

use super::scope::Scope;
use super::units::{describe, is_amount};
use crate::diagnostic::{Diagnostic, Severity as Level, Span};
use crate::hir::{Emit, ExprId, ExprKind, Filter, Group, Limit, Param, Top, Value};
use crate::suggest::suggest;
use crate::syntax::ast::{self, Clause, ClauseKind, EmitItem, Name};
use kernel_vm::abi::{RECORD_BYTES_MAX, RECORD_FIELDS_MAX, RECORD_HEADER_BYTES, ROW_COLUMNS_MAX};
use kernel_vm::object::Severity;
use kernel_vm::schema::{Table, Type, Unit};

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
    let grouped = tree.clauses.iter().any(|clause| {
        matches!(
            clause.kind,
            ClauseKind::Group { .. } | ClauseKind::Broken { keyword: "group", .. }
        )
    });
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
    for clause in &tree.clauses {
        if let ClauseKind::Param { name, .. } | ClauseKind::Let { name, .. } = &clause.kind {
            checker.scope.announce(&name.text, name.span);
        }
    }
    checker.all(tree);
    let filter = checker.finish(tree, table);
    let wrong = diagnostics[before..].iter().any(|diagnostic| diagnostic.severity == Level::Error);
    if wrong { None } else { filter }
}

pub(super) struct Clauses<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) condition: Option<ExprId>,
    pub(super) group: Option<Vec<ExprId>>,
    pub(super) having: Option<ExprId>,
    pub(super) emit: Vec<(Emit, Span)>,
    pub(super) top: Option<Top>,
    pub(super) severity: Vec<(Severity, Option<ExprId>)>,
    pub(super) limit: Option<Limit>,
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
                let said = self.scope.diagnostics.last().is_some_and(|last| last.code == "K0041");
                if let Some(id) = id
                    && let Some(value) = self.scope.constant(id)
                    && !said
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
            ClauseKind::Broken { name: Some(name), .. } => {
                self.scope.define(&name.text, name.span, "name", None);
            }
            ClauseKind::Broken { name: None, .. } => {}
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
            && text.len() <= usize::from(TEXT_PARAM_BYTES)
        {
            let ty = Type::Text { capacity: TEXT_PARAM_BYTES };
            Some((Value::Text(text.clone()), ty, text.escape_ascii().to_string()))
        } else {
            None
        };
        let Some((default, ty, default_text)) = literal else {
            let long = matches!(value.kind, ast::ExprKind::Text(_));
            self.scope.report(if long {
                let message = format!("a text parameter holds at most {TEXT_PARAM_BYTES} bytes");
                Diagnostic::error("K0004", message, value.span, "longer than that")
            } else {
                Diagnostic::error("K0039", "a parameter's default is a literal", value.span, "computed")
                    .help("write a number such as `80%`, a text, true or false; computed values go into `let`")
            });
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
            let name = matches!(n.kind, ast::ExprKind::Name(_)).then(|| self.scope.expr(n));
            let label = if name.is_some() { "the same for every run" } else { "here" };
            self.scope.report(
                Diagnostic::error("K0032", "`top` takes a number from 1 to 10000", n.span, label)
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
            && !tree.clauses.iter().any(|clause| {
                matches!(
                    clause.kind,
                    ClauseKind::Emit { .. } | ClauseKind::Broken { keyword: "emit", .. }
                )
            })
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
