//! Integers and booleans, into registers.

use kernel_vm::abi::ROW_MISSING_OFFSET;
use kernel_vm::schema::{Column, Type, Unit};

use super::avail::Key;
use super::group::Leaf;
use super::{Host, Lower, Unknown};
use crate::arith::{self, Range, Val};
use crate::hir::{BinaryOp, ColumnRef, ExprId, ExprKind};
use crate::lir::{AluOp, Base, Cond, Op, Operand, Place};
use crate::target::bpf::columns::Columns;

/// The values that a column can have, as hosts hand it over.
fn column_range(column: &Column) -> Range {
    match column.ty {
        Type::Bool => Range::new(0, 1),
        Type::Enum(kind) => Range::new(0, kind.values().len() as i64),
        // The few counts that can be negative.
        Type::Int(Unit::Count) if matches!(column.name, "nice" | "priority" | "oom_score_adj") => {
            Range::new(-10_000, 10_000)
        }
        Type::Int(_) | Type::Thread => Range::NATURAL,
        Type::PerSecond(_) | Type::Text { .. } | Type::Object => Range::ALL,
    }
}

impl Lower<'_> {
    pub(super) fn is_known(&self, id: ExprId) -> bool {
        self.avail.get(Key::Expr(id)).is_some()
    }

    /// Whether an expression can turn out to be unknown.
    pub(super) fn may_be_unknown(&self, id: ExprId) -> bool {
        if let Some(leaf) = self.leaves.get(&id) {
            return leaf.bit.is_some();
        }
        let kind = &self.filter.expr(id).kind;
        let mut found =
            matches!(kind, ExprKind::Column(_) | ExprKind::System(_) | ExprKind::History(_));
        crate::plan::operands(kind, |operand| found = found || self.may_be_unknown(operand));
        found
    }

    /// Both operands, the one that needs more registers first.
    pub(super) fn pair(&mut self, a: ExprId, b: ExprId, unknown: Unknown) -> (Val, Val) {
        if self.costs[b.0 as usize] > self.costs[a.0 as usize] {
            let y = self.value(b, unknown);
            (self.value(a, unknown), y)
        } else {
            let x = self.value(a, unknown);
            (x, self.value(b, unknown))
        }
    }

    /// The value of `id`; goes to `unknown` if it has none.
    pub(super) fn value(&mut self, id: ExprId, unknown: Unknown) -> Val {
        if let Some(val) = self.avail.get(Key::Expr(id)) {
            return val;
        }
        let before = self.f.ops.len();
        let mut val = self.as_written(|lower| lower.compute(id, unknown));
        if val.as_const().is_none() {
            if self.leaves_paths(before) {
                let reg = val.in_reg(&mut self.f);
                val = Val::reg(self.merged(reg), val.range);
            }
            self.avail.set(Key::Expr(id), val);
        }
        val
    }

    /// Whether paths have met since the operation `from` and nothing made their values one.
    fn leaves_paths(&self, from: usize) -> bool {
        let merged = |op: &&Op| matches!(op, Op::Load { base: Base::Scratch, .. });
        let mut ops = self.f.ops[from..].iter().rev().take_while(|op| !merged(op));
        ops.any(|op| matches!(op, Op::Bind(_)))
    }

    fn compute(&mut self, id: ExprId, unknown: Unknown) -> Val {
        if let Some(leaf) = self.leaves.get(&id).copied() {
            self.present(leaf, unknown);
            return Val::reg(self.f.load(Base::Row, leaf.offset as i32), Range::ALL);
        }
        match self.filter.expr(id).kind.clone() {
            ExprKind::Const(value) => Val::constant(value),
            ExprKind::Param(index) => {
                let reg = self.param_word(self.plan.params[index]);
                let is_bool = self.filter.params[index].ty == Type::Bool;
                let range = if is_bool { Range::new(0, 1) } else { Range::ALL };
                Val::reg(reg, range)
            }
            ExprKind::System(value) => {
                let reg = self.param_word(value.offset() as u32);
                self.branch(Cond::Sle, reg, 0, unknown.unreadable);
                Val::reg(reg, Range::new(1, i64::MAX))
            }
            ExprKind::Column(column) => self.column(column.0, unknown),
            ExprKind::Neg(a) => {
                let a = self.value(a, unknown);
                arith::emit_neg(&mut self.f, a)
            }
            ExprKind::Abs(a) => {
                let a = self.value(a, unknown);
                arith::emit_abs(&mut self.f, a)
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = self.pair(a, b, unknown);
                let f = &mut self.f;
                match op {
                    BinaryOp::Add => arith::emit_add(f, a, b),
                    BinaryOp::Sub => arith::emit_sub(f, a, b),
                    BinaryOp::Mul => arith::emit_mul(f, a, b),
                    BinaryOp::Div => arith::emit_div(f, a, b),
                    BinaryOp::Mod => arith::emit_mod(f, a, b),
                    BinaryOp::Min => arith::emit_pick(f, Cond::Slt, a, b),
                    BinaryOp::Max => arith::emit_pick(f, Cond::Sgt, a, b),
                }
            }
            ExprKind::MulDiv(a, b, c) => {
                let (a, b) = self.pair(a, b, unknown);
                let c = self.value(c, unknown);
                arith::emit_mul_div(&mut self.f, a, b, c)
            }
            ExprKind::If(c, a, b) => self.choice(c, a, b, unknown),
            ExprKind::History(_) => self.remembered(id, unknown),
            ExprKind::Compare(..)
            | ExprKind::Text(..)
            | ExprKind::And(..)
            | ExprKind::Or(..)
            | ExprKind::Not(_)
            | ExprKind::Held(..) => self.boolean(id, unknown),
            // The checker lets these stand only where they have a meaning of their own.
            ExprKind::ConstText(_) | ExprKind::Aggregate(..) | ExprKind::CountRows => {
                Val::constant(0)
            }
        }
    }

    fn column(&mut self, column: &'static Column, unknown: Unknown) -> Val {
        let range = column_range(column);
        match self.host {
            Host::Bpf => {
                let dst = self.f.reg();
                self.ask(column, unknown, |column, unreadable| Op::Column {
                    dst,
                    column,
                    unreadable,
                });
                Val::reg(dst, range)
            }
            Host::Vm => {
                let offset = self.readable(column, unknown);
                Val::reg(self.f.load(Base::Row, offset), range)
            }
        }
    }

    /// Writes the operation that reads `column` of the kernel (`bpf`), which goes to `unknown`
    /// unless columns that are read together with it are known to be there.
    pub(super) fn ask(
        &mut self,
        column: &'static Column,
        unknown: Unknown,
        op: impl FnOnce(ColumnRef, Option<Place>) -> Op,
    ) {
        let group = Columns::read_together(self.filter.table, column).map(Key::Group);
        if group.is_some_and(|group| self.avail.get(group).is_some()) {
            self.f.push(op(ColumnRef(column), None));
            return;
        }
        self.avail.note(unknown.unreadable);
        self.f.push(op(ColumnRef(column), Some(unknown.unreadable)));
        if let Some(group) = group {
            self.avail.set(group, Val::constant(1));
        }
    }

    /// Where `column` stands in the row (`vm`); goes to `unknown` if it is missing.
    pub(super) fn readable(&mut self, column: &Column, unknown: Unknown) -> i32 {
        let (offset, bit) = self.plan.row_column(column).expect("live columns are planned");
        self.present(Leaf { offset, bit: Some(bit) }, unknown);
        offset as i32
    }

    /// Goes to `unknown` if what should stand at `leaf` is missing.
    pub(super) fn present(&mut self, leaf: Leaf, unknown: Unknown) {
        let Some(bit) = leaf.bit else { return };
        let missing = self.f.load(Base::Row, ROW_MISSING_OFFSET as i32);
        let shifted = if bit == 0 {
            missing
        } else {
            self.f.alu(AluOp::Rsh, missing, Operand::Imm(bit as i32))
        };
        self.branch(Cond::Set, shifted, 1, unknown.unreadable);
    }

    fn choice(&mut self, c: ExprId, a: ExprId, b: ExprId, unknown: Unknown) -> Val {
        let [first, second, done] = [self.f.place(), self.f.place(), self.f.place()];
        let chosen = self.kept();
        self.cond(c, true, first, second, unknown);
        self.bind(first);
        let x = self.value(a, unknown);
        self.put(chosen, x);
        self.jump(done);
        self.bind(second);
        let y = self.value(b, unknown);
        self.put(chosen, y);
        self.bind(done);
        self.get(chosen, x.range.union(y.range))
    }

    pub(super) fn assign(&mut self, dst: crate::lir::VReg, val: Val) {
        match val.as_const() {
            Some(value) => self.f.push(Op::Const { dst, value }),
            None => {
                let src = val.in_reg(&mut self.f);
                self.f.mov(dst, src);
            }
        }
    }

    /// A condition as a number.
    fn boolean(&mut self, id: ExprId, unknown: Unknown) -> Val {
        let [yes, no, done] = [self.f.place(), self.f.place(), self.f.place()];
        let answer = self.kept();
        self.cond(id, true, yes, no, unknown);
        self.bind(yes);
        self.put(answer, Val::constant(1));
        self.jump(done);
        self.bind(no);
        self.put(answer, Val::constant(0));
        self.bind(done);
        self.get(answer, Range::new(0, 1))
    }
}
