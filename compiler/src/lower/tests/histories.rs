//! Windows of history: code against formulas, formulas against what they approximate.

use std::collections::HashMap;

use kernel_vm::schema::{Table, Type, Unit, column};
use proptest::prelude::*;

use super::Subject;
use super::random::{edgy, empty_filter, expr};
use super::reference::{Cell, Inputs, Past, Reference};
use crate::hir::{ColumnRef, Emit, ExprId, ExprKind, Filter, History, HistoryFn, Value};

const FUNCTIONS: [HistoryFn; 5] =
    [HistoryFn::Mean, HistoryFn::Deviation, HistoryFn::Zscore, HistoryFn::Peak, HistoryFn::Slope];
const SECOND: i64 = 1_000_000_000;

/// Emits `functions` of a column over `window` nanoseconds, and the column itself.
fn filter(name: &str, window: i64, functions: &[HistoryFn]) -> (Filter, u16) {
    let column = column(Table::Process, name).expect("a column of processes");
    let mut filter = empty_filter();
    filter.exprs.push(expr(ExprKind::Column(ColumnRef(column)), column.ty));
    filter.exprs.push(expr(ExprKind::Const(window), Type::Int(Unit::Duration)));
    for &function in functions {
        let history = History { function, arg: ExprId(0), window: Some(ExprId(1)) };
        filter.exprs.push(expr(ExprKind::History(history), column.ty));
    }
    for index in (0..filter.exprs.len() as u32).filter(|&index| index != 1) {
        filter.emit.push(Emit { name: format!("e{index}"), expr: ExprId(index) });
    }
    (filter, column.id.0)
}

fn inputs(now: i64, id: u16, cell: Cell) -> Inputs {
    let cells = HashMap::from([(id, cell)]);
    Inputs { now, cells, params: Vec::<Value>::new(), memory: 1, cpus: 1 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn code_follows_the_formulas(
        name in prop_oneof![Just("files"), Just("rss"), Just("cpu_time")],
        wanted in 1_usize..32,
        window in prop_oneof![3 => 1_i64..100 * SECOND, 1 => edgy()],
        values in prop::collection::vec(
            (prop_oneof![3 => 0_i64..1 << 40, 1 => edgy()], 0_i64..60 * SECOND, any::<u8>()), 1..12,
        ),
    ) {
        let functions: Vec<HistoryFn> = FUNCTIONS
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| wanted >> bit & 1 == 1)
            .map(|(_, function)| function)
            .collect();
        let (filter, id) = filter(name, window, &functions);
        let mut subject = Subject::new(&filter);
        let mut now = 1;
        for (value, dt, missing) in values {
            now += dt;
            let cell = if missing < 16 { Cell::Missing } else { Cell::Int(value.saturating_abs()) };
            if let Err(difference) = subject.sweep(&inputs(now, id, cell)) {
                prop_assert!(false, "{difference}");
            }
        }
    }
}

/// What the formulas give for each value of a series: the functions, in their order.
fn series(window: i64, values: impl Iterator<Item = (i64, i64)>) -> Vec<[Option<f64>; 5]> {
    let (filter, id) = filter("rss", window, &FUNCTIONS);
    let mut past = Past::default();
    let mut found = Vec::new();
    for (now, value) in values {
        let inputs = inputs(now, id, Cell::Int(value));
        let reference = Reference::new(&filter, &inputs, &mut past);
        found.push(core::array::from_fn(|index| {
            reference.int(ExprId(index as u32 + 2)).ok().map(|value| value as f64)
        }));
    }
    found
}

fn near(found: Option<f64>, expected: f64, part: f64) {
    let found = found.expect("warmed up");
    assert!((found - expected).abs() <= expected.abs() * part, "{found} for {expected}");
}

#[test]
fn nothing_is_said_before_a_window_has_passed() {
    let all = series(10 * SECOND, (1..=12).map(|tick| (tick * SECOND, 5)));
    for (index, results) in all.iter().enumerate() {
        assert!(results.iter().all(|result| result.is_some() == (index >= 10)), "at {index}");
    }
}

#[test]
fn a_steady_growth_is_its_own_slope_and_noise_around_a_level_has_none() {
    // 1 MiB a second, in millionths.
    let growth = 1 << 20;
    let all = series(60 * SECOND, (1..=1200).map(|tick| (tick * SECOND, tick * growth)));
    near(all[1199][4], growth as f64 * 1e6, 0.001);
    let level = (1..=1200).map(|tick| (tick * SECOND, (1 << 30) + (tick % 2) * growth));
    let all = series(60 * SECOND, level);
    assert!(all[1199][4].expect("warmed up").abs() < growth as f64 * 1e6 / 1000.0);
}

#[test]
fn an_uneven_tick_does_not_bend_the_mean() {
    // A step from 0 to 1000 at second 100, seen after 60 s: half of it has arrived.
    let value = |second: i64| if second > 100 { 1_000_000 } else { 0 };
    let even = series(60 * SECOND, (1..=160).map(|s| (s * SECOND, value(s))));
    near(even[159][0], 500_000.0, 0.001);
    let uneven: Vec<i64> = (1..=100).chain([101, 103, 110, 111, 129, 130, 157, 160]).collect();
    let uneven = series(60 * SECOND, uneven.into_iter().map(|s| (s * SECOND, value(s))));
    near(uneven.last().expect("some")[0], 500_000.0, 0.001);
}

#[test]
fn the_deviation_of_two_levels_is_half_their_distance() {
    let level = |s: i64| 1_000_000 + if s % 2 == 0 { 50_000 } else { -50_000 };
    let all = series(60 * SECOND, (1..=3000).map(|s| (s * SECOND, level(s))));
    near(all[2999][1], 50_000.0, 0.01);
    near(all[2999][0], 1_000_000.0, 0.001);
}

#[test]
fn the_score_of_a_burst_is_its_distance_in_deviations() {
    let level = |s: i64| {
        if s == 3000 { 2_000_000 } else { 1_000_000 + if s % 2 == 0 { 50_000 } else { -50_000 } }
    };
    let all = series(60 * SECOND, (1..=3000).map(|s| (s * SECOND, level(s))));
    near(all[2999][2], 20.0 * 1e6, 0.02);
}

#[test]
fn a_peak_has_faded_by_half_after_a_window() {
    let value = |s: i64| if s == 10 { 1 << 30 } else { 0 };
    let all = series(60 * SECOND, (1..=70).map(|s| (s * SECOND, value(s))));
    near(all[69][3], f64::from(1 << 29), 0.0001);
}
