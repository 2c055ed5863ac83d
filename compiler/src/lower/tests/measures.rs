//! Comparisons of deviations and scores: as if the number had been computed.

use std::collections::HashMap;

use kernel_vm::schema::{Table, Type, Unit, column};
use proptest::prelude::*;

use super::Subject;
use super::random::{edgy, empty_filter, expr};
use super::reference::{Cell, Inputs, Reference};
use crate::hir::{
    ColumnRef, CompareOp, Emit, ExprId, ExprKind, Filter, History, HistoryFn, Param, Value,
};

const ORDERS: [CompareOp; 6] =
    [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Eq, CompareOp::Ne];
const MEASURE: ExprId = ExprId(4);

/// Emits how a measure compares with a parameter, or with `constant`, both ways round.
fn filter(
    name: &str,
    window: i64,
    function: HistoryFn,
    size: bool,
    constant: Option<i64>,
) -> Filter {
    let column = column(Table::Process, name).expect("a column of processes");
    let int = Type::Int(Unit::Count);
    let mut filter = empty_filter();
    filter.params.push(Param {
        name: "p".to_owned(),
        doc: String::new(),
        ty: int,
        default: Value::Int(0),
        default_text: String::new(),
    });
    let history = History { function, arg: ExprId(0), window: Some(ExprId(1)) };
    filter.exprs = vec![
        expr(ExprKind::Column(ColumnRef(column)), column.ty),
        expr(ExprKind::Const(window), Type::Int(Unit::Duration)),
        expr(constant.map_or(ExprKind::Param(0), ExprKind::Const), int),
        expr(ExprKind::History(history), int),
        expr(if size { ExprKind::Abs(ExprId(3)) } else { ExprKind::History(history) }, int),
    ];
    for op in ORDERS {
        for (a, b) in [(MEASURE, ExprId(2)), (ExprId(2), MEASURE)] {
            let id = ExprId(filter.exprs.len() as u32);
            filter.exprs.push(expr(ExprKind::Compare(op, a, b), Type::Bool));
            filter.emit.push(Emit { name: format!("e{}", id.0), expr: id });
        }
    }
    filter
}

/// Sweeps over `values` (each with the time since the one before); `near` says how far the
/// parameter of each sweep is from the measure, or what it is.
fn sweeps(
    filter: &Filter,
    values: &[(i64, i64)],
    near: &[Result<i64, i64>],
) -> Result<Vec<i64>, String> {
    let ExprKind::Column(column) = filter.exprs[0].kind else { unreachable!("it comes first") };
    let mut subject = Subject::new(filter);
    let mut now = 1;
    let mut measures = Vec::new();
    for (&(value, dt), near) in values.iter().zip(near) {
        now += dt;
        let cells = HashMap::from([(column.0.id.0, Cell::Int(value.saturating_abs()))]);
        let params = vec![Value::Int(0)];
        let mut inputs = Inputs { now, cells, params, memory: 1, cpus: 1 };
        let measure = Reference::new(filter, &inputs, &mut subject.past.clone()).int(MEASURE);
        let measure = measure.map_or(0, |measure| measure as i64);
        measures.push(measure);
        inputs.params[0] =
            Value::Int(near.map_or_else(|other| other, |near| measure.saturating_add(near)));
        subject.sweep(&inputs)?;
    }
    Ok(measures)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_comparison_answers_as_the_number_would(
        name in prop_oneof![Just("files"), Just("rss")],
        (function, size) in prop_oneof![
            Just((HistoryFn::Deviation, false)),
            Just((HistoryFn::Zscore, false)),
            Just((HistoryFn::Zscore, true)),
        ],
        window in prop_oneof![3 => 1_i64..10_000_000_000, 1 => edgy()],
        rows in prop::collection::vec(
            (
                (prop_oneof![2 => 0_i64..2000, 2 => 0_i64..1 << 40, 1 => edgy()], 0_i64..6_000_000_000),
                prop_oneof![3 => (-2_i64..=2).prop_map(Ok), 1 => edgy().prop_map(Err)],
            ),
            2..10,
        ),
        pick in any::<prop::sample::Index>(),
        off in prop_oneof![3 => (-1_i64..=1).prop_map(Ok), 1 => edgy().prop_map(Err)],
    ) {
        let (values, near): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let with_param = filter(name, window, function, size, None);
        let measures = match sweeps(&with_param, &values, &near) {
            Ok(measures) => measures,
            Err(difference) => return Err(TestCaseError::fail(difference)),
        };
        let of = measures[pick.index(measures.len())];
        let constant = off.map_or_else(|other| other, |off| of.saturating_add(off));
        let with_constant = filter(name, window, function, size, Some(constant));
        if let Err(difference) = sweeps(&with_constant, &values, &near) {
            prop_assert!(false, "{difference}");
        }
    }
}
