//! Random expressions over random rows.

use std::collections::HashMap;

use kernel_vm::schema::{SystemValue, Table, Type, Unit, column};
use proptest::prelude::*;

use super::Subject;
use super::reference::{Cell, Inputs};
use crate::hir::{
    BinaryOp, ColumnRef, CompareOp, Emit, Expr, ExprId, ExprKind, Filter, History, HistoryFn,
    Param, Span, Value,
};

const COLUMNS: [&str; 6] = ["rss", "files", "cpu_time", "nice", "pid", "kernel_thread"];
const PARAMS: usize = 3;

pub(super) fn edgy() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => -3_i64..=3,
        2 => any::<i32>().prop_map(i64::from),
        2 => any::<i64>(),
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX - 1),
        1 => Just(1_000_000),
        1 => Just(1_000_000_000_000_000),
        1 => (0_u32..63).prop_map(|shift| 1_i64 << shift),
    ]
}

/// One step in the making of a filter: what kind of expression, on which of those made
/// before.
type Step = (u8, u16, u16, u16, i64);

fn step() -> impl Strategy<Value = Step> {
    (any::<u8>(), any::<u16>(), any::<u16>(), any::<u16>(), edgy())
}

pub(super) fn expr(kind: ExprKind, ty: Type) -> Expr {
    Expr { kind, ty, span: Span::default() }
}

pub(super) fn empty_filter() -> Filter {
    Filter {
        name: "random".to_owned(),
        name_span: Span::default(),
        doc: String::new(),
        table: Table::Process,
        params: Vec::new(),
        exprs: Vec::new(),
        condition: None,
        group: None,
        emit: Vec::new(),
        top: None,
        severity: None,
        limit: None,
    }
}

struct Maker {
    filter: Filter,
    /// What all its integers are: the checker lets nothing be mixed, and what is equal may stand for
    /// each other.
    int: Type,
    ints: Vec<ExprId>,
    bools: Vec<ExprId>,
}

impl Maker {
    fn add(&mut self, kind: ExprKind, ty: Type) -> ExprId {
        let id = ExprId(self.filter.exprs.len() as u32);
        self.filter.exprs.push(expr(kind, ty));
        if ty == Type::Bool {
            self.bools.push(id)
        } else {
            self.ints.push(id)
        }
        id
    }

    fn new(unit: Unit) -> Self {
        let int = Type::Int(unit);
        let mut maker = Self { filter: empty_filter(), int, ints: Vec::new(), bools: Vec::new() };
        for name in COLUMNS {
            let column = column(Table::Process, name).expect("a column of processes");
            let ty = if column.ty == Type::Bool { Type::Bool } else { int };
            maker.add(ExprKind::Column(ColumnRef(column)), ty);
        }
        for index in 0..PARAMS {
            maker.filter.params.push(Param {
                name: format!("p{index}"),
                doc: String::new(),
                ty: int,
                default: Value::Int(0),
                default_text: String::new(),
            });
            maker.add(ExprKind::Param(index), int);
        }
        maker.add(ExprKind::System(SystemValue::Memory), int);
        maker
    }

    fn step(&mut self, (kind, a, b, c, constant): Step) {
        let int = |maker: &Self, pick: u16| maker.ints[pick as usize % maker.ints.len()];
        let boolean = |maker: &Self, pick: u16| maker.bools[pick as usize % maker.bools.len()];
        let (x, y, z) = (int(self, a), int(self, b), int(self, c));
        let (p, q) = (boolean(self, a), boolean(self, b));
        let binary = [
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Mod,
            BinaryOp::Min,
            BinaryOp::Max,
        ];
        let compare = [
            CompareOp::Eq,
            CompareOp::Ne,
            CompareOp::Lt,
            CompareOp::Le,
            CompareOp::Gt,
            CompareOp::Ge,
        ];
        let ty = self.int;
        let history = |function, arg| ExprKind::History(History { function, arg, window: None });
        let (kind, ty) = match kind % 32 {
            0..=3 => (ExprKind::Const(constant), ty),
            4 => (ExprKind::Neg(x), ty),
            5 => (ExprKind::Abs(x), ty),
            6..=12 => (ExprKind::Binary(binary[kind as usize % 32 - 6], x, y), ty),
            13..=16 => (ExprKind::MulDiv(x, y, z), ty),
            17 => (ExprKind::If(p, x, y), ty),
            18..=23 => (ExprKind::Compare(compare[kind as usize % 32 - 18], x, y), Type::Bool),
            24 => (ExprKind::And(p, q), Type::Bool),
            25 => (ExprKind::Or(p, q), Type::Bool),
            26 => (ExprKind::Not(p), Type::Bool),
            27 => (ExprKind::If(p, q, boolean(self, c)), Type::Bool),
            28 => (history(HistoryFn::Delta, x), ty),
            29 => (history(HistoryFn::Rate, x), ty),
            _ => (ExprKind::Compare(CompareOp::Gt, x, y), Type::Bool),
        };
        self.add(kind, ty);
    }

    fn finish(mut self, condition: bool, hold: Option<i64>) -> Filter {
        if condition {
            let mut root = self.bools[self.bools.len() - 1];
            if let Some(hold) = hold {
                let hold = self.add(ExprKind::Const(hold), Type::Int(Unit::Duration));
                root = self.add(ExprKind::Held(root, hold), Type::Bool);
                self.bools.pop();
            }
            self.filter.condition = Some(root);
        }
        let ints = self.ints.iter().rev().take(4);
        for &expr in ints.chain(self.bools.iter().rev().take(2)) {
            self.filter.emit.push(Emit { name: format!("e{}", expr.0), expr });
        }
        self.filter
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let hold = prop_oneof![3 => Just(None), 1 => (0_i64..40).prop_map(Some)];
    let unit = prop_oneof![Just(Unit::Bytes), Just(Unit::Duration)];
    (unit, prop::collection::vec(step(), 1..24), any::<bool>(), hold).prop_map(
        |(unit, steps, condition, hold)| {
            let mut maker = Maker::new(unit);
            steps.into_iter().for_each(|step| maker.step(step));
            maker.finish(condition, hold)
        },
    )
}

fn natural() -> impl Strategy<Value = i64> {
    edgy().prop_map(|value| value.saturating_abs())
}

fn cell(name: &'static str) -> BoxedStrategy<Cell> {
    let value = match name {
        "nice" => (-20_i64..20).boxed(),
        "kernel_thread" => (0_i64..2).boxed(),
        _ => natural().boxed(),
    };
    prop_oneof![1 => Just(Cell::Missing), 9 => value.prop_map(Cell::Int)].boxed()
}

fn row() -> impl Strategy<Value = HashMap<u16, Cell>> {
    let cells: Vec<_> = COLUMNS
        .iter()
        .map(|name| {
            let id = column(Table::Process, name).expect("a column of processes").id.0;
            cell(name).prop_map(move |cell| (id, cell))
        })
        .collect();
    cells.prop_map(|cells| cells.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn code_does_what_the_filter_means(
        filter in filter(),
        rows in prop::collection::vec((row(), 0_i64..50), 1..5),
        params in prop::collection::vec(edgy().prop_map(Value::Int), PARAMS),
        memory in natural(),
    ) {
        let mut subject = Subject::new(&filter);
        let mut now = 1;
        let immutable = ["pid", "kernel_thread"].map(|name| {
            column(Table::Process, name).expect("a column of processes").id.0
        });
        let first = rows[0].0.clone();
        for (mut cells, dt) in rows {
            now += dt;
            for id in immutable {
                if first[&id] != Cell::Missing && cells[&id] != Cell::Missing {
                    cells.insert(id, first[&id].clone());
                }
            }
            let inputs = Inputs { now, cells, params: params.clone(), memory, cpus: 2 };
            if let Err(difference) = subject.sweep(&inputs) {
                prop_assert!(false, "{difference}");
            }
        }
    }
}
