//! The record of a matching row, assembled on the frame.

use kernel_vm::abi::ROW_MISSING_OFFSET;
use kernel_vm::schema::{Column, Type};

use super::avail::Key;
use super::kept::Kept;
use super::{Host, Lower, Stage, Unknown};
use crate::arith::{Range, Val};
use crate::hir::{ExprId, ExprKind};
use crate::lir::{AluOp, Base, Op};
use crate::plan::{Input, Plan};

/// What a body hands over.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Its fields.
    fields: Vec<Field>,
    /// Where its bitmap of missing fields stands.
    missing: i32,
    /// It begins with the time of the sweep: a group of one.
    has_time: bool,
    /// Its size in bytes.
    pub(super) size: u32,
}

/// One field of it.
#[derive(Clone, Copy, Debug)]
struct Field {
    input: Input,
    ty: Type,
    /// Bytes from the start.
    offset: i32,
    /// Its bit in the bitmap; without one, nothing is handed over if it is unknown.
    bit: Option<usize>,
}

impl Output {
    pub(super) fn new(plan: &Plan, stage: Stage) -> Self {
        if let (Stage::Rows, Some(group)) = (stage, &plan.group) {
            let keys = group.keys.iter().map(|key| Field {
                input: Input::Expr(key.expr),
                ty: key.ty,
                offset: key.offset as i32,
                bit: None,
            });
            let cells = group.cells.iter().enumerate().map(|(bit, cell)| Field {
                input: cell.input,
                ty: cell.ty,
                offset: cell.offset as i32,
                bit: Some(bit),
            });
            let missing = ROW_MISSING_OFFSET as i32;
            return Self {
                fields: keys.chain(cells).collect(),
                missing,
                has_time: true,
                size: group.size,
            };
        }
        let fields = plan.fields.iter().enumerate().map(|(bit, field)| Field {
            input: Input::Expr(field.expr),
            ty: field.ty,
            offset: field.offset as i32,
            bit: Some(bit),
        });
        Self { fields: fields.collect(), missing: 0, has_time: false, size: plan.record_size }
    }
}

impl Lower<'_> {
    /// Fills the record and hands it over. A field that is unknown is zero, and its bit in
    /// the record's bitmap is set; if it has none, code goes to `unknown`.
    pub(super) fn emit(&mut self, unknown: Unknown) {
        let missing = self.kept();
        self.put(missing, Val::constant(0));
        for field in self.output.fields.clone() {
            if let Input::Expr(expr) = field.input {
                self.mark(expr);
            }
            let Some(bit) = field.bit else {
                self.field(field, unknown);
                continue;
            };
            let [absent, next] = [self.f.place(), self.f.place()];
            self.field(field, Unknown { unreadable: absent, warming: absent });
            self.jump(next);
            self.bind(absent);
            // Not a 0 that is known to be one: the frame would tell the paths apart for good.
            let mut nothing = self.f.constant(0);
            if !self.plan.waves.is_empty() {
                nothing = self.merged(nothing);
            }
            for word in 0..field.ty.size() as i32 / 8 {
                self.f.store(Base::Frame, self.record + field.offset + 8 * word, nothing);
            }
            self.set_bit(missing, bit);
            self.bind(next);
        }
        let missing = self.get(missing, Range::ALL).in_reg(&mut self.f);
        self.f.store(Base::Frame, self.record + self.output.missing, missing);
        if self.output.has_time {
            let now = self.now();
            self.f.store(Base::Frame, self.record, now);
        }
        self.f.push(Op::Emit);
    }

    fn set_bit(&mut self, mask: Kept, index: usize) {
        let old = self.get(mask, Range::ALL).in_reg(&mut self.f);
        let bit = Val::constant((1_u64 << index) as i64).operand(&mut self.f);
        let new = self.f.alu(AluOp::Or, old, bit);
        self.put(mask, Val::reg(new, Range::ALL));
    }

    fn field(&mut self, field: Field, absent: Unknown) {
        let at = self.record + field.offset;
        let Input::Expr(expr) = field.input else {
            self.f.store(Base::Frame, at, 1);
            return;
        };
        match field.ty {
            Type::Text { .. } | Type::Object => self.bytes(expr, field.ty, at, absent),
            Type::Int(_) | Type::PerSecond(_) | Type::Bool | Type::Enum(_) | Type::Thread => {
                let value = self.value(expr, absent);
                let src = value.operand(&mut self.f);
                self.f.store(Base::Frame, at, src);
            }
        }
    }

    /// Brings a text or an object to the frame at `at`.
    fn bytes(&mut self, expr: ExprId, ty: Type, at: i32, absent: Unknown) {
        let words = ty.size() as i32 / 8;
        match &self.filter.expr(expr).kind {
            ExprKind::Column(column) => {
                let from = self.text_of_column(expr, column.0, absent);
                if from != (Base::Frame, at) {
                    for word in 0..words {
                        let value = self.f.load(from.0, from.1 + 8 * word);
                        self.f.store(Base::Frame, at + 8 * word, value);
                    }
                }
            }
            ExprKind::Param(index) => {
                for word in 0..words {
                    let value = self.param_word(self.plan.params[*index] + 8 * word as u32);
                    self.f.store(Base::Frame, at + 8 * word, value);
                }
            }
            ExprKind::ConstText(text) => {
                for word in 0..words {
                    let value = Val::constant(super::text::word(text, word as usize));
                    let src = value.operand(&mut self.f);
                    self.f.store(Base::Frame, at + 8 * word, src);
                }
            }
            ExprKind::Const(_)
            | ExprKind::System(_)
            | ExprKind::Neg(_)
            | ExprKind::Abs(_)
            | ExprKind::Binary(..)
            | ExprKind::MulDiv(..)
            | ExprKind::Compare(..)
            | ExprKind::Text(..)
            | ExprKind::And(..)
            | ExprKind::Or(..)
            | ExprKind::Not(_)
            | ExprKind::If(..)
            | ExprKind::History(_)
            | ExprKind::Held(..)
            | ExprKind::Aggregate(..)
            | ExprKind::CountRows => {
                unreachable!("the checker lets only columns, parameters and constants be texts")
            }
        }
    }

    /// Where the bytes of a text column are; reads them if they are nowhere yet.
    pub(super) fn text_of_column(
        &mut self,
        id: ExprId,
        column: &'static Column,
        unknown: Unknown,
    ) -> (Base, i32) {
        if let Some(leaf) = self.leaves.get(&id).copied() {
            self.present(leaf, unknown);
            return (Base::Row, leaf.offset as i32);
        }
        if self.host == Host::Vm {
            return (Base::Row, self.readable(column, unknown));
        }
        let frame = self.buffer(column);
        let key = Key::Buffer(column.id.0);
        if self.avail.get(key).is_none() {
            self.ask(column, unknown, |column, unreadable| Op::Bytes { column, frame, unreadable });
            self.avail.set(key, Val::constant(0));
        }
        (Base::Frame, frame)
    }

    /// A text's place on the frame: in the record if it is emitted.
    fn buffer(&mut self, column: &Column) -> i32 {
        if let Some(&frame) = self.buffers.get(&column.id.0) {
            return frame;
        }
        let emitted = self.output.fields.iter().find(|field| {
            let Input::Expr(expr) = field.input else { return false };
            matches!(self.filter.expr(expr).kind,
                ExprKind::Column(other) if other.0.id == column.id)
        });
        let frame = match emitted {
            Some(field) => self.record + field.offset,
            None => {
                self.frame -= column.ty.size() as i32;
                self.frame
            }
        };
        self.buffers.insert(column.id.0, frame);
        frame
    }
}
