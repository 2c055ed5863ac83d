//! Where everything of a filter stands: parameters, columns of a row, state, record.
//!
//! Made once from the checked and simplified filter; both targets, the metadata and the
//! object's BTF follow it.
//!
//! **Invariant**: every integer is aligned to 8 bytes, and blocks do not overlap.

mod group;
mod history;

use kernel_vm::abi::{RECORD_HEADER_BYTES, ROW_HEADER_BYTES};
use kernel_vm::schema::{Column, SYSTEM_BLOCK_BYTES, Type};

pub use self::group::{Cell, GroupPlan, Input, KeyPart};
pub use self::history::{Track, Wave, WaveParts};
use crate::hir::{ExprId, ExprKind, Filter};

/// The layout of one filter.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where each parameter stands in the filter's block of `.rodata`.
    pub params: Vec<u32>,
    /// Bytes of that block.
    pub rodata_size: u32,
    /// The columns that the filter reads, with their places in a `vm` row.
    pub columns: Vec<RowColumn>,
    /// Bytes of a row.
    pub row_size: u32,
    /// The record's fields; a key of `top` that is not emitted comes last.
    pub fields: Vec<Field>,
    /// Bytes of a record, header included.
    pub record_size: u32,
    /// Which field `top` sorts by.
    pub top_field: Option<u32>,
    /// What `rate` and `delta` remember.
    pub tracks: Vec<Track>,
    /// What `mean`, `deviation`, `zscore`, `peak` and `slope` remember.
    pub waves: Vec<Wave>,
    /// Where `for` remembers since when the condition is true.
    pub held: Option<u32>,
    /// Bytes of state for each row.
    pub state_size: u32,
    /// How rows become groups.
    pub group: Option<GroupPlan>,
}

/// A column and its place in a `vm` row.
#[derive(Clone, Copy, Debug)]
pub struct RowColumn {
    /// Which.
    pub column: &'static Column,
    /// Bytes from the row's start.
    pub offset: u32,
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Its value.
    pub expr: ExprId,
    /// Bytes from the record's start.
    pub offset: u32,
    /// Only there for `top`.
    pub hidden: bool,
}

impl Plan {
    /// The plan of `filter`.
    #[must_use]
    pub fn new(filter: &Filter) -> Self {
        let mut plan = Self {
            params: Vec::new(),
            rodata_size: SYSTEM_BLOCK_BYTES as u32,
            columns: Vec::new(),
            row_size: ROW_HEADER_BYTES as u32,
            fields: Vec::new(),
            record_size: RECORD_HEADER_BYTES as u32,
            top_field: None,
            tracks: Vec::new(),
            waves: Vec::new(),
            held: None,
            state_size: 0,
            group: GroupPlan::new(filter),
        };
        for param in &filter.params {
            plan.params.push(plan.rodata_size);
            plan.rodata_size += param_size(param.ty);
        }
        plan.place_fields(filter);
        plan.place_columns(filter);
        plan.place_history(filter);
        plan
    }

    fn place_fields(&mut self, filter: &Filter) {
        for emit in &filter.emit {
            self.place_field(emit.name.clone(), filter.expr(emit.expr).ty, emit.expr, false);
        }
        if let Some(top) = filter.top {
            let emitted = filter.emit.iter().position(|emit| emit.expr == top.by);
            let index = emitted.unwrap_or_else(|| {
                let name = "top".to_owned();
                self.place_field(name, filter.expr(top.by).ty, top.by, true);
                self.fields.len() - 1
            });
            self.top_field = Some(index as u32);
        }
    }

    fn place_field(&mut self, name: String, ty: Type, expr: ExprId, hidden: bool) {
        self.fields.push(Field { name, ty, expr, offset: self.record_size, hidden });
        self.record_size += ty.size() as u32;
    }

    fn place_columns(&mut self, filter: &Filter) {
        let live = live(filter);
        for (expr, live) in filter.exprs.iter().zip(live) {
            if live && let ExprKind::Column(column) = expr.kind {
                self.columns.push(RowColumn { column: column.0, offset: self.row_size });
                self.row_size += column.0.ty.size() as u32;
            }
        }
    }

    /// Where `column` stands in a row, and its bit in the row's `missing`.
    #[must_use]
    pub fn row_column(&self, column: &Column) -> Option<(u32, u32)> {
        let index = self.columns.iter().position(|place| place.column.id == column.id)?;
        Some((self.columns[index].offset, index as u32))
    }
}

/// Bytes that a parameter takes: a text stands there with its mask.
#[must_use]
pub fn param_size(ty: Type) -> u32 {
    match ty {
        Type::Text { capacity } => 2 * u32::from(capacity),
        Type::Int(_)
        | Type::PerSecond(_)
        | Type::Bool
        | Type::Enum(_)
        | Type::Thread
        | Type::Object => ty.size() as u32,
    }
}

/// Calls `f` for each operand of `kind`.
pub fn operands(kind: &ExprKind, mut f: impl FnMut(ExprId)) {
    match kind {
        ExprKind::Const(_)
        | ExprKind::ConstText(_)
        | ExprKind::Param(_)
        | ExprKind::Column(_)
        | ExprKind::System(_)
        | ExprKind::CountRows => {}
        ExprKind::Neg(a) | ExprKind::Abs(a) | ExprKind::Not(a) | ExprKind::Aggregate(_, a) => f(*a),
        ExprKind::Binary(_, a, b)
        | ExprKind::Compare(_, a, b)
        | ExprKind::Text(_, a, b)
        | ExprKind::And(a, b)
        | ExprKind::Or(a, b)
        | ExprKind::Held(a, b) => {
            f(*a);
            f(*b);
        }
        ExprKind::MulDiv(a, b, c) | ExprKind::If(a, b, c) => {
            f(*a);
            f(*b);
            f(*c);
        }
        ExprKind::History(history) => {
            f(history.arg);
            if let Some(window) = history.window {
                f(window);
            }
        }
    }
}

/// Which expressions the filter's result depends on, by id.
#[must_use]
pub fn live(filter: &Filter) -> Vec<bool> {
    let mut live = vec![false; filter.exprs.len()];
    let group = filter.group.iter().flat_map(|group| group.keys.iter().chain(&group.having));
    let roots = filter
        .condition
        .iter()
        .chain(group)
        .chain(filter.emit.iter().map(|emit| &emit.expr))
        .chain(filter.top.iter().map(|top| &top.by));
    for root in roots {
        live[root.0 as usize] = true;
    }
    // Operands have smaller ids, so that one pass downwards sees all.
    for index in (0..live.len()).rev() {
        if live[index] {
            operands(&filter.exprs[index].kind, |operand| live[operand.0 as usize] = true);
        }
    }
    live
}
