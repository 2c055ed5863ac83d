//! What an expression costs to compute, for the order in which a condition is tested.

use kernel_vm::schema::Cost;

use crate::hir::{ExprKind, Filter};
use crate::plan::operands;

/// The cost of each expression, by id, in the price of one insn.
pub(super) fn costs(filter: &Filter) -> Vec<u32> {
    let mut costs: Vec<u32> = Vec::with_capacity(filter.exprs.len());
    for expr in &filter.exprs {
        let mut sum = if let ExprKind::Column(column) = &expr.kind {
            match column.0.cost {
                Cost::Field => 4,
                Cost::Chain => 32,
                Cost::Loop => 1024,
                Cost::User => 16384,
            }
        } else if matches!(expr.kind, ExprKind::MulDiv(..) | ExprKind::Text(..)) {
            8
        } else {
            1
        };
        operands(&expr.kind, |operand| {
            sum = u32::saturating_add(sum, costs[operand.0 as usize]);
        });
        // A history has been advanced before, its argument's cost is paid.
        if matches!(expr.kind, ExprKind::History(_)) {
            sum = 16;
        }
        costs.push(sum);
    }
    costs
}
