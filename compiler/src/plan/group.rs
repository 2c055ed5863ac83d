//! The layout of a group: its key, then what is remembered of its rows.

use kernel_vm::abi::ROW_HEADER_BYTES;
use kernel_vm::object::Merge;
use kernel_vm::schema::{Type, Unit};

use super::operands;
use crate::hir::{Aggregate, Expr, ExprId, ExprKind, Filter};

/// The layout of a filter's groups. To the program that finishes a group it is a row: the
/// time, the bitmap of missing cells, the key, the cells.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// The parts of the key.
    pub keys: Vec<KeyPart>,
    /// What is remembered, by bit in the bitmap.
    pub cells: Vec<Cell>,
    /// Bytes of the key.
    pub key_size: u32,
    /// Bytes of a group.
    pub size: u32,
}

/// One expression of the key.
#[derive(Clone, Copy, Debug)]
pub struct KeyPart {
    /// The expression.
    pub expr: ExprId,
    /// Its type.
    pub ty: Type,
    /// Bytes from the group's start.
    pub offset: u32,
}

/// One thing that is remembered of a group.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The expression that it is the value of.
    pub leaf: ExprId,
    /// What a row adds to it.
    pub input: Input,
    /// Its type.
    pub ty: Type,
    /// Bytes from the group's start.
    pub offset: u32,
    /// How it is added.
    pub merge: Merge,
}

/// What a row adds to a cell or puts into a field.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// The value of an expression.
    Expr(ExprId),
    /// One: a row counts itself.
    One,
}

impl GroupPlan {
    /// The layout of `filter`'s groups; `None` when it has none.
    #[must_use]
    pub fn new(filter: &Filter) -> Option<Self> {
        let group = filter.group.as_ref()?;
        let size = ROW_HEADER_BYTES as u32;
        let mut plan = Self { keys: Vec::new(), cells: Vec::new(), key_size: 0, size };
        for &expr in &group.keys {
            if !plan.is_key(expr) {
                let ty = filter.expr(expr).ty;
                let offset = plan.place(ty);
                plan.keys.push(KeyPart { expr, ty, offset });
            }
        }
        plan.key_size = plan.size - ROW_HEADER_BYTES as u32;
        let emitted = filter.emit.iter().map(|emit| emit.expr);
        let roots = group.having.into_iter().chain(emitted).chain(filter.top.map(|top| top.by));
        let mut seen = vec![false; filter.exprs.len()];
        for root in roots {
            plan.visit(filter, root, &mut seen);
        }
        Some(plan)
    }

    fn is_key(&self, expr: ExprId) -> bool {
        self.keys.iter().any(|key| key.expr == expr)
    }

    fn place(&mut self, ty: Type) -> u32 {
        let offset = self.size;
        self.size += ty.size() as u32;
        offset
    }

    /// Finds what the value of `id` needs to be remembered.
    fn visit(&mut self, filter: &Filter, id: ExprId, seen: &mut [bool]) {
        if self.is_key(id) || core::mem::replace(&mut seen[id.0 as usize], true) {
            return;
        }
        let Expr { ref kind, ty, .. } = *filter.expr(id);
        let number = Type::Int(Unit::Count);
        let (input, ty, merge) = if let ExprKind::Aggregate(function, arg) = *kind {
            let (ty, merge) = match function {
                Aggregate::Sum => (number, Merge::Sum),
                Aggregate::Max => (number, Merge::Max),
                Aggregate::Min => (number, Merge::Min),
                Aggregate::CountDistinct => (filter.expr(arg).ty, Merge::Distinct),
            };
            (Input::Expr(arg), ty, merge)
        } else if let ExprKind::Column(_) = kind {
            (Input::Expr(id), ty, Merge::First)
        } else if let ExprKind::CountRows = kind {
            (Input::One, number, Merge::Sum)
        } else {
            operands(kind, |operand| self.visit(filter, operand, seen));
            return;
        };
        let offset = self.place(ty);
        self.cells.push(Cell { leaf: id, input, ty, offset, merge });
    }
}
