//! Comparisons of texts.

use std::collections::HashMap;

use kernel_vm::schema::{Table, Type, column};
use proptest::prelude::*;

use super::Subject;
use super::random::{empty_filter, expr};
use super::reference::{Cell, Inputs};
use crate::hir::{ColumnRef, ExprId, ExprKind, Filter, Param, Span, TextOp, Value};

/// Texts of two letters, so that parts repeat.
fn text(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xc3)], 0..=most)
}

fn filter(op: TextOp, positive: bool, left: ExprKind, right: ExprKind) -> Filter {
    let ty = |kind: &ExprKind| match kind {
        ExprKind::Column(column) => column.0.ty,
        _ => Type::Text { capacity: 64 },
    };
    let mut filter = empty_filter();
    filter.table = Table::File;
    filter.params.push(Param {
        name: "p".to_owned(),
        doc: String::new(),
        ty: Type::Text { capacity: 64 },
        default: Value::Text(Vec::new()),
        default_text: String::new(),
    });
    filter.exprs.push(expr(left.clone(), ty(&left)));
    filter.exprs.push(expr(right.clone(), ty(&right)));
    filter.exprs.push(expr(ExprKind::Text(op, ExprId(0), ExprId(1)), Type::Bool));
    filter.exprs.push(expr(ExprKind::Not(ExprId(2)), Type::Bool));
    filter.condition = Some(ExprId(if positive { 2 } else { 3 }));
    debug_assert_eq!(filter.name_span, Span::default());
    filter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn texts_compare_byte_by_byte(
        op in prop_oneof![
            Just(TextOp::Eq), Just(TextOp::StartsWith), Just(TextOp::EndsWith), Just(TextOp::Contains),
        ],
        positive: bool,
        left in 0..4, right in 0..4,
        comm in text(15), name in text(63), constant in text(20), param in text(40),
        missing: bool,
    ) {
        let columns = ["comm", "name"].map(|name| column(Table::File, name).expect("a column"));
        let side = |which: i32| match which {
            0 => ExprKind::Column(ColumnRef(columns[0])),
            1 => ExprKind::Column(ColumnRef(columns[1])),
            2 => ExprKind::ConstText(constant.clone()),
            _ => ExprKind::Param(0),
        };
        let filter = filter(op, positive, side(left), side(right));
        let mut cells = HashMap::new();
        cells.insert(columns[0].id.0, Cell::Text(comm));
        cells.insert(columns[1].id.0, if missing { Cell::Missing } else { Cell::Text(name) });
        let params = vec![Value::Text(param)];
        let inputs = Inputs { now: 1, cells, params, memory: 1, cpus: 1 };
        if let Err(difference) = Subject::new(&filter).sweep(&inputs) {
            prop_assert!(false, "{difference}");
        }
    }
}
