//! Names of one filter: lets, parameters, columns, system values.

use crate::diagnostic::{Diagnostic, Span};
use crate::hir::{ColumnRef, Expr, ExprId, ExprKind, Param};
use crate::suggest::suggest;
use kernel_vm::schema::{self, Column, EnumKind, Since, SystemValue, Table, Type};
use std::collections::HashMap;

/// What is known while one filter is checked.
pub(super) struct Scope<'a> {
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    pub(super) table: Table,
    pub(super) grouped: bool,
    pub(super) params: Vec<Param>,
    pub(super) exprs: Vec<Expr>,
    extents: Vec<Extent>,
    interned: HashMap<(ExprKind, Type), ExprId>,
    names: HashMap<String, Named>,
    /// Where the filter defines a name, and whether it was used before that.
    announced: HashMap<String, (Span, bool)>,
}

/// Deepest expression, and most nodes of one, after every `let` is put in its place.
const DEPTH_MAX: u32 = 200;
const NODES_MAX: u32 = 10_000;

/// How large an expression is when nothing in it is shared.
#[derive(Clone, Copy)]
struct Extent {
    depth: u32,
    nodes: u32,
}

/// A name that the filter gave.
struct Named {
    span: Span,
    /// What it stands for; `None` when its definition was wrong, which has been reported.
    expr: Option<ExprId>,
    word: &'static str,
    used: bool,
}

impl<'a> Scope<'a> {
    pub(super) fn new(table: Table, grouped: bool, diagnostics: &'a mut Vec<Diagnostic>) -> Self {
        Self {
            diagnostics,
            table,
            grouped,
            params: Vec::new(),
            exprs: Vec::new(),
            extents: Vec::new(),
            interned: HashMap::new(),
            names: HashMap::new(),
            announced: HashMap::new(),
        }
    }

    /// The expression, which is the same for equal kinds and types.
    pub(super) fn make(&mut self, kind: ExprKind, ty: Type, span: Span) -> ExprId {
        let (exprs, extents) = (&mut self.exprs, &mut self.extents);
        *self.interned.entry((kind, ty)).or_insert_with_key(|(kind, ty)| {
            let id = ExprId(u32::try_from(exprs.len()).unwrap_or(u32::MAX));
            let mut extent = Extent { depth: 1, nodes: 1 };
            for operand in kind.operands() {
                let Extent { depth, nodes } = extents[operand.0 as usize];
                extent.depth = extent.depth.max(depth.saturating_add(1));
                extent.nodes = extent.nodes.saturating_add(nodes);
            }
            extents.push(extent);
            exprs.push(Expr { kind: kind.clone(), ty: *ty, span });
            id
        })
    }

    /// The expression, unless it is too large for what comes after the checker.
    pub(super) fn bounded(&mut self, id: ExprId, span: Span) -> Option<ExprId> {
        let extent = self.extents[id.0 as usize];
        if extent.depth <= DEPTH_MAX && extent.nodes <= NODES_MAX {
            return Some(id);
        }
        self.report(
            Diagnostic::error(
                "K0047",
                "the expression is too large",
                span,
                "with its `let`s in place",
            )
            .help(format!("at most {NODES_MAX} operations, {DEPTH_MAX} inside one another")),
        );
        None
    }

    pub(super) fn ty(&self, id: ExprId) -> Type {
        self.exprs[id.0 as usize].ty
    }

    pub(super) fn kind(&self, id: ExprId) -> &ExprKind {
        &self.exprs[id.0 as usize].kind
    }

    pub(super) fn constant(&self, id: ExprId) -> Option<i64> {
        if let ExprKind::Const(value) = self.kind(id) { Some(*value) } else { None }
    }

    pub(super) fn column(&self, id: ExprId) -> Option<&'static Column> {
        if let ExprKind::Column(column) = self.kind(id) { Some(column.0) } else { None }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Says that `name` will be defined at `span`, for those who use it too early.
    pub(super) fn announce(&mut self, name: &str, span: Span) {
        self.announced.entry(name.to_owned()).or_insert((span, false));
    }

    /// Gives `name` a meaning from here on.
    pub(super) fn define(
        &mut self,
        name: &str,
        span: Span,
        word: &'static str,
        expr: Option<ExprId>,
    ) {
        if let Some(first) = self.names.get(name) {
            let diagnostic = Diagnostic::error(
                "K0014",
                format!("`{name}` is defined twice"),
                span,
                "the second time",
            )
            .label(first.span, "the first time");
            self.report(diagnostic);
            return;
        }
        if schema::column(self.table, name).is_some() {
            self.report(
                Diagnostic::error(
                    "K0014",
                    format!("`{name}` is a column of {}", self.table.name()),
                    span,
                    "cannot be given another meaning",
                )
                .help("choose another name"),
            );
            return;
        }
        // Used too early, and reported there.
        let used = self.announced.get(name).is_some_and(|announced| announced.1);
        self.names.insert(name.to_owned(), Named { span, expr, word, used });
    }

    pub(super) fn is_defined(&self, name: &str) -> bool {
        self.names.contains_key(name)
            || schema::column(self.table, name).is_some()
            || SystemValue::ALL.iter().any(|value| value.name() == name)
    }

    /// What `name` stands for; `None` after a report.
    pub(super) fn resolve(&mut self, name: &str, span: Span) -> Option<ExprId> {
        if let Some(named) = self.names.get_mut(name) {
            named.used = true;
            return named.expr;
        }
        if let Some(value) = SystemValue::ALL.into_iter().find(|value| value.name() == name) {
            return Some(self.make(ExprKind::System(value), value.ty(), span));
        }
        if let Some(column) = schema::column(self.table, name) {
            let id = self.make(ExprKind::Column(ColumnRef(column)), column.ty, span);
            if column.bpf == Since::Never && self.exprs[id.0 as usize].span == span {
                self.report(
                    Diagnostic::warning(
                        "K0042",
                        format!("the kernel cannot tell `{name}`; only the vm host has it"),
                        span,
                        "not on the bpf host",
                    )
                    .help("run it with `--host vm`"),
                );
            }
            return Some(id);
        }
        let announced = self.announced.get_mut(name).map(|(later, early)| {
            *early = true;
            *later
        });
        let diagnostic = match announced {
            Some(later) => Diagnostic::error(
                "K0011",
                format!("`{name}` is used before it is defined"),
                span,
                "not known yet",
            )
            .label(later, "defined here")
            .help("move the definition up"),
            None => self.unknown(name, span),
        };
        self.report(diagnostic);
        None
    }

    fn unknown(&self, name: &str, span: Span) -> Diagnostic {
        let elsewhere: Vec<&str> = Table::ALL
            .into_iter()
            .filter(|&table| schema::column(table, name).is_some())
            .map(Table::name)
            .collect();
        let table = self.table.name();
        if !elsewhere.is_empty() {
            return Diagnostic::error(
                "K0013",
                format!("`{name}` is not a column of {table}"),
                span,
                format!("a column of {}", elsewhere.join(" and ")),
            )
            .help(format!("write the filter `on {}`", elsewhere[0]));
        }
        let kinds: Vec<&str> = EnumKind::ALL
            .into_iter()
            .filter(|kind| kind.values().contains(&name))
            .map(EnumKind::name)
            .collect();
        let diagnostic =
            Diagnostic::error("K0011", format!("unknown name `{name}`"), span, "not known here");
        if let Some(kind) = kinds.first() {
            return diagnostic.help(format!("`{name}` is a {kind}: compare it with such a column"));
        }
        if let Some(meant) = habit(name) {
            return diagnostic.help(format!("did you mean `{meant}`?"));
        }
        let columns = schema::columns_of(self.table).map(|column| column.name);
        let system = SystemValue::ALL.iter().map(|value| value.name());
        let mut own: Vec<&str> = self.names.keys().map(String::as_str).collect();
        own.sort_unstable();
        match suggest(name, own.into_iter().chain(columns).chain(system)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("`kfilter fields {table}` lists the columns")),
        }
    }

    /// Warns of names that nothing uses.
    pub(super) fn report_unused(&mut self) {
        let mut unused: Vec<(&String, &Named)> =
            self.names.iter().filter(|(_, named)| !named.used && named.expr.is_some()).collect();
        unused.sort_by_key(|(_, named)| named.span.start);
        let warnings: Vec<Diagnostic> = unused
            .into_iter()
            .map(|(name, named)| {
                let message = format!("the {} `{name}` is never used", named.word);
                Diagnostic::warning("K0036", message, named.span, "defined here")
            })
            .collect();
        self.diagnostics.extend(warnings);
    }
}

/// What other tools call a column.
fn habit(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "memory" | "ram" | "memtotal" => "system.memory",
        "cpus" | "ncpu" | "cores" => "system.cpus",
        "mem" | "res" | "resident_memory" => "rss",
        "cpu" | "pcpu" | "cpu_percent" => "rate(cpu_time)",
        "cmd" | "command" | "name" | "exe" => "comm",
        "user" => "uid",
        "group" => "gid",
        "fds" | "fd_count" | "nofile" => "files",
        "vsz" | "vsize" | "virt" => "virtual_size",
        "utime" => "user_time",
        "stime" => "system_time",
        "majflt" => "major_faults",
        "minflt" => "minor_faults",
        "pgid" => "pgrp",
        "sid" => "session",
        "psr" => "processor",
        "nlwp" | "num_threads" => "threads",
        "etime" | "uptime" => "age",
        "stat" | "status" => "state",
        _ => return None,
    })
}
