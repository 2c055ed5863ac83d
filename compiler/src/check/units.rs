//! The algebra of units: what may be added, multiplied and compared, and at which scale.
//!
//! **Invariant**: the result of an operation is on the scale of its type: whole units,
//! nanoseconds, or millionths for ratios and rates.

use crate::hir::{BinaryOp, ExprId, ExprKind};
use kernel_vm::abi::{FIXED_ONE, PER_SECOND_SCALE};
use kernel_vm::schema::{Type, Unit};

use super::scope::Scope;
use crate::diagnostic::Span;

/// A type in the words of a message.
pub(super) fn describe(ty: Type) -> String {
    match ty {
        Type::Int(Unit::Count) => "a count".to_owned(),
        Type::Int(Unit::Bytes) => "bytes".to_owned(),
        Type::Int(Unit::Duration) => "a duration".to_owned(),
        Type::Int(Unit::Ratio) => "a ratio".to_owned(),
        Type::Int(Unit::Instant) => "an instant".to_owned(),
        Type::Int(Unit::Id) => "an id".to_owned(),
        Type::Int(Unit::Address) => "an address".to_owned(),
        Type::Int(Unit::Device) => "a device number".to_owned(),
        Type::Int(Unit::Bits) => "a set of bits".to_owned(),
        Type::PerSecond(unit) => format!("{} a second", unit.name()),
        Type::Bool => "a condition".to_owned(),
        Type::Text { .. } => "a text".to_owned(),
        Type::Enum(kind) => format!("a {}", kind.name()),
        Type::Thread => "a thread".to_owned(),
        Type::Object => "an object".to_owned(),
    }
}

/// Numbers that stand for an amount, so that they can be computed with.
pub(super) fn is_amount(ty: Type) -> bool {
    match ty {
        Type::PerSecond(_) => true,
        Type::Int(unit) => match unit {
            Unit::Count | Unit::Bytes | Unit::Duration | Unit::Ratio | Unit::Instant => true,
            Unit::Id | Unit::Address | Unit::Device | Unit::Bits => false,
        },
        Type::Bool | Type::Text { .. } | Type::Enum(_) | Type::Thread | Type::Object => false,
    }
}

/// Numbers that name something: they are compared, never computed with.
fn is_name(ty: Type) -> bool {
    match ty {
        Type::Thread => true,
        Type::Int(unit) => match unit {
            Unit::Id | Unit::Address | Unit::Device | Unit::Bits => true,
            Unit::Count | Unit::Bytes | Unit::Duration | Unit::Ratio | Unit::Instant => false,
        },
        Type::PerSecond(_) | Type::Bool | Type::Text { .. } | Type::Enum(_) | Type::Object => false,
    }
}

const COUNT: Type = Type::Int(Unit::Count);
const RATIO: Type = Type::Int(Unit::Ratio);
const DURATION: Type = Type::Int(Unit::Duration);
const INSTANT: Type = Type::Int(Unit::Instant);

impl Scope<'_> {
    fn number(&mut self, value: i64, span: Span) -> ExprId {
        self.make(ExprKind::Const(value), COUNT, span)
    }

    /// A count as a ratio: three is 300%.
    fn promote(&mut self, id: ExprId, span: Span) -> ExprId {
        match self.constant(id).and_then(|value| value.checked_mul(FIXED_ONE)) {
            Some(scaled) => self.make(ExprKind::Const(scaled), RATIO, span),
            None => {
                let one = self.number(FIXED_ONE, span);
                self.make(ExprKind::Binary(BinaryOp::Mul, id, one), RATIO, span)
            }
        }
    }

    fn is_plain_number(&self, id: ExprId) -> bool {
        self.ty(id) == COUNT && matches!(self.kind(id), ExprKind::Const(_) | ExprKind::Param(_))
    }

    fn is_zero(&self, id: ExprId) -> bool {
        self.ty(id) == COUNT && self.constant(id) == Some(0)
    }

    /// Brings two values to one scale, for comparing, adding and choosing; with their type.
    pub(super) fn unify(
        &mut self,
        left: ExprId,
        right: ExprId,
        span: Span,
    ) -> Option<(ExprId, ExprId, Type)> {
        let (tl, tr) = (self.ty(left), self.ty(right));
        if tl == tr {
            return Some((left, right, tl));
        }
        // Nothing is nothing in every unit.
        if self.is_zero(right) && is_amount(tl) {
            return Some((left, right, tl));
        }
        if self.is_zero(left) && is_amount(tr) {
            return Some((left, right, tr));
        }
        if tl == COUNT && tr == RATIO {
            return Some((self.promote(left, span), right, RATIO));
        }
        if tl == RATIO && tr == COUNT {
            return Some((left, self.promote(right, span), RATIO));
        }
        if is_name(tl) && self.is_plain_number(right) {
            return Some((left, right, tl));
        }
        if is_name(tr) && self.is_plain_number(left) {
            return Some((left, right, tr));
        }
        match (tl, tr) {
            (Type::Thread, Type::Int(Unit::Id)) | (Type::Int(Unit::Id), Type::Thread) => {
                Some((left, right, Type::Thread))
            }
            (Type::Text { capacity: a }, Type::Text { capacity: b }) => {
                Some((left, right, Type::Text { capacity: a.max(b) }))
            }
            _ => None,
        }
    }

    /// `left op right` for `+ - * / mod`, or `None` when the units do not allow it.
    pub(super) fn arithmetic(
        &mut self,
        op: BinaryOp,
        left: ExprId,
        right: ExprId,
        span: Span,
    ) -> Option<ExprId> {
        let (tl, tr) = (self.ty(left), self.ty(right));
        if !is_amount(tl) || !is_amount(tr) {
            return None;
        }
        match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mod | BinaryOp::Min | BinaryOp::Max => {
                self.additive(op, left, right, span)
            }
            BinaryOp::Mul => self.product(left, right, span),
            BinaryOp::Div => self.quotient(left, right, span),
        }
    }

    fn additive(
        &mut self,
        op: BinaryOp,
        left: ExprId,
        right: ExprId,
        span: Span,
    ) -> Option<ExprId> {
        let ty = match (op, self.ty(left), self.ty(right)) {
            (BinaryOp::Sub, INSTANT, INSTANT) => DURATION,
            (BinaryOp::Add | BinaryOp::Sub, INSTANT, DURATION)
            | (BinaryOp::Add, DURATION, INSTANT) => INSTANT,
            (BinaryOp::Add | BinaryOp::Mod, INSTANT, INSTANT) => return None,
            _ => {
                let (left, right, ty) = self.unify(left, right, span)?;
                return Some(self.make(ExprKind::Binary(op, left, right), ty, span));
            }
        };
        Some(self.make(ExprKind::Binary(op, left, right), ty, span))
    }

    fn product(&mut self, left: ExprId, right: ExprId, span: Span) -> Option<ExprId> {
        let (scale, ty) = match (self.ty(left), self.ty(right)) {
            (INSTANT, _) | (_, INSTANT) => return None,
            (COUNT, other) | (other, COUNT) => {
                return Some(self.make(ExprKind::Binary(BinaryOp::Mul, left, right), other, span));
            }
            (RATIO, other) | (other, RATIO) => (FIXED_ONE, other),
            (Type::PerSecond(unit), DURATION) | (DURATION, Type::PerSecond(unit)) => {
                (PER_SECOND_SCALE, Type::Int(unit))
            }
            _ => return None,
        };
        let scale = self.number(scale, span);
        Some(self.make(ExprKind::MulDiv(left, right, scale), ty, span))
    }

    fn quotient(&mut self, left: ExprId, right: ExprId, span: Span) -> Option<ExprId> {
        let (scale, ty) = match (self.ty(left), self.ty(right)) {
            (INSTANT, _) | (_, INSTANT) => return None,
            (a, b) if a == b => (FIXED_ONE, RATIO),
            (other, COUNT) => {
                return Some(self.make(ExprKind::Binary(BinaryOp::Div, left, right), other, span));
            }
            // A count divided by a ratio is a ratio, as its quotient need not be whole.
            (COUNT, RATIO) => {
                let left = self.promote(left, span);
                let scale = self.number(FIXED_ONE, span);
                return Some(self.make(ExprKind::MulDiv(left, scale, right), RATIO, span));
            }
            (other, RATIO) => (FIXED_ONE, other),
            (Type::Int(unit), DURATION) if unit != Unit::Ratio => {
                (PER_SECOND_SCALE, Type::PerSecond(unit))
            }
            (Type::Int(unit), Type::PerSecond(per)) if unit == per => (PER_SECOND_SCALE, DURATION),
            _ => return None,
        };
        let scale = self.number(scale, span);
        Some(self.make(ExprKind::MulDiv(left, scale, right), ty, span))
    }
}
