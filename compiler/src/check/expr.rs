//! Types of expressions; comparisons, texts, conditions.

use super::scope::Scope;
use super::units::{describe, is_amount};
use crate::diagnostic::{Diagnostic, Span};
use crate::hir::{BinaryOp, CompareOp, ExprId, ExprKind, TextOp};
use crate::suggest::suggest;
use crate::syntax::ast;
use crate::syntax::ast::Operator;
use kernel_vm::schema::{EnumKind, Type, Unit};

impl Scope<'_> {
    /// Checks an expression; `None` when it is wrong, which has been reported.
    pub(super) fn expr(&mut self, tree: &ast::Expr) -> Option<ExprId> {
        let id = self.any_expr(tree)?;
        self.bounded(id, tree.span)
    }

    fn any_expr(&mut self, tree: &ast::Expr) -> Option<ExprId> {
        let span = tree.span;
        match &tree.kind {
            ast::ExprKind::Literal(literal) => {
                Some(self.make(ExprKind::Const(literal.value), literal.ty, span))
            }
            ast::ExprKind::Text(text) => self.text_constant(text, span),
            ast::ExprKind::Bool(value) => {
                Some(self.make(ExprKind::Const(i64::from(*value)), Type::Bool, span))
            }
            ast::ExprKind::Name(name) => self.resolve(name, span),
            ast::ExprKind::Negative(operand) => self.negative(operand, span),
            ast::ExprKind::Not(operand) => {
                let operand = self.condition(operand)?;
                Some(self.make(ExprKind::Not(operand), Type::Bool, span))
            }
            ast::ExprKind::Binary(op, at, left, right) => {
                self.binary((*op, *at), left, right, span)
            }
            ast::ExprKind::In(value, list) => self.member(value, list, span),
            ast::ExprKind::If(condition, yes, no) => self.choice(condition, yes, no, span),
            ast::ExprKind::Call { function, distinct, args } => {
                self.call(function, *distinct, args, span)
            }
            ast::ExprKind::Wrong => None,
        }
    }

    fn negative(&mut self, operand: &ast::Expr, span: Span) -> Option<ExprId> {
        let id = self.expr(operand)?;
        let ty = self.ty(id);
        if !is_amount(ty) || ty == Type::Int(Unit::Instant) {
            self.report(Diagnostic::error(
                "K0038",
                format!("{} cannot be negated", describe(ty)),
                operand.span,
                describe(ty),
            ));
            return None;
        }
        Some(match self.constant(id) {
            Some(value) => self.make(ExprKind::Const(value.saturating_neg()), ty, span),
            None => self.make(ExprKind::Neg(id), ty, span),
        })
    }

    /// An expression that must be true or false.
    pub(super) fn condition(&mut self, tree: &ast::Expr) -> Option<ExprId> {
        let id = self.expr(tree)?;
        let ty = self.ty(id);
        if ty == Type::Bool {
            return Some(id);
        }
        let diagnostic = Diagnostic::error(
            "K0018",
            format!("expected a condition, found {}", describe(ty)),
            tree.span,
            describe(ty),
        );
        self.report(diagnostic.help("compare it with something: `… > …`"));
        None
    }

    /// `at` is the operator's place, `span` the whole expression's.
    fn binary(
        &mut self,
        (op, at): (Operator, Span),
        left: &ast::Expr,
        right: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let mut compare = |op| self.compare((op, at), left, right, span);
        match op {
            Operator::Eq => compare(CompareOp::Eq),
            Operator::Ne => compare(CompareOp::Ne),
            Operator::Lt => compare(CompareOp::Lt),
            Operator::Le => compare(CompareOp::Le),
            Operator::Gt => compare(CompareOp::Gt),
            Operator::Ge => compare(CompareOp::Ge),
            Operator::And => self.joined(ExprKind::And, left, right, span),
            Operator::Or => self.joined(ExprKind::Or, left, right, span),
            Operator::StartsWith => self.text(TextOp::StartsWith, op, left, right, span),
            Operator::EndsWith => self.text(TextOp::EndsWith, op, left, right, span),
            Operator::Contains => self.text(TextOp::Contains, op, left, right, span),
            Operator::Add => self.computed(BinaryOp::Add, (op, at), left, right, span),
            Operator::Sub => self.computed(BinaryOp::Sub, (op, at), left, right, span),
            Operator::Mul => self.computed(BinaryOp::Mul, (op, at), left, right, span),
            Operator::Div => self.computed(BinaryOp::Div, (op, at), left, right, span),
            Operator::Mod => self.computed(BinaryOp::Mod, (op, at), left, right, span),
        }
    }

    fn joined(
        &mut self,
        kind: fn(ExprId, ExprId) -> ExprKind,
        left: &ast::Expr,
        right: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let (left, right) = (self.condition(left), self.condition(right));
        Some(self.make(kind(left?, right?), Type::Bool, span))
    }

    fn computed(
        &mut self,
        op: BinaryOp,
        (symbol, at): (Operator, Span),
        left: &ast::Expr,
        right: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let (l, r) = (self.expr(left), self.expr(right));
        let (l, r) = (l?, r?);
        if matches!(op, BinaryOp::Div | BinaryOp::Mod) && self.constant(r) == Some(0) {
            let what = "division by zero";
            self.report(
                Diagnostic::error("K0044", what, right.span, "this is zero")
                    .help("a divisor that turns out to be zero gives 0; a written one is a slip"),
            );
            return None;
        }
        if let Some(id) = self.arithmetic(op, l, r, span) {
            return Some(id);
        }
        let (tl, tr) = (self.ty(l), self.ty(r));
        let code = if is_amount(tl) && is_amount(tr) { "K0017" } else { "K0038" };
        let message =
            format!("`{}` does not go with {} and {}", symbol.symbol(), describe(tl), describe(tr));
        let mut diagnostic = Diagnostic::error(code, message, at, "this operation")
            .label(left.span, describe(tl))
            .label(right.span, describe(tr));
        diagnostic = diagnostic.help(match op {
            _ if code == "K0038" => "names, ids and conditions are compared, not computed with",
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mod | BinaryOp::Min | BinaryOp::Max => {
                "both sides must have the same unit"
            }
            BinaryOp::Mul => "one side must be a count or a ratio, or a rate times a duration",
            BinaryOp::Div => {
                "divide by a count, a ratio, a duration, or by something of the same unit"
            }
        });
        self.report(diagnostic);
        None
    }

    /// Both operands; a bare word that names a value of the other side's enumeration is that.
    fn operands(&mut self, left: &ast::Expr, right: &ast::Expr) -> Option<(ExprId, ExprId)> {
        let is_word = |scope: &Self, tree: &ast::Expr| matches!(&tree.kind, ast::ExprKind::Name(name) if !scope.is_defined(name));
        if is_word(self, right) && !is_word(self, left) {
            let left = self.expr(left)?;
            return Some((left, self.word_or_expr(right, left)?));
        }
        if is_word(self, left) && !is_word(self, right) {
            let right = self.expr(right)?;
            return Some((self.word_or_expr(left, right)?, right));
        }
        let (left, right) = (self.expr(left), self.expr(right));
        Some((left?, right?))
    }

    fn word_or_expr(&mut self, tree: &ast::Expr, other: ExprId) -> Option<ExprId> {
        if let (ast::ExprKind::Name(name), Type::Enum(kind)) = (&tree.kind, self.ty(other)) {
            return self.enumerator(kind, name, tree.span);
        }
        self.expr(tree)
    }

    fn enumerator(&mut self, kind: EnumKind, name: &str, span: Span) -> Option<ExprId> {
        let index = kind.values().iter().position(|value| *value == name);
        if let Some(index) = index.and_then(|index| i64::try_from(index).ok()) {
            return Some(self.make(ExprKind::Const(index), Type::Enum(kind), span));
        }
        let diagnostic = Diagnostic::error(
            "K0019",
            format!("`{name}` is not a {}", kind.name()),
            span,
            "unknown value",
        );
        let diagnostic = match suggest(name, kind.values().iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                diagnostic.help(format!("a {} is one of {}", kind.name(), kind.values().join(", ")))
            }
        };
        self.report(diagnostic);
        None
    }

    fn compare(
        &mut self,
        (op, at): (CompareOp, Span),
        left: &ast::Expr,
        right: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let (l, r) = self.operands(left, right)?;
        self.compared((op, at), (l, left.span), (r, right.span), span)
    }

    fn compared(
        &mut self,
        (op, at): (CompareOp, Span),
        (l, left): (ExprId, Span),
        (r, right): (ExprId, Span),
        span: Span,
    ) -> Option<ExprId> {
        let (tl, tr) = (self.ty(l), self.ty(r));
        let Some((l, r, ty)) = self.unify(l, r, span) else {
            let diagnostic = Diagnostic::error(
                "K0016",
                format!("cannot compare {} with {}", describe(tl), describe(tr)),
                at,
                if at == right { describe(tr) } else { "these do not compare".to_owned() },
            )
            .label(left, describe(tl));
            let diagnostic =
                if at == right { diagnostic } else { diagnostic.label(right, describe(tr)) };
            let help = comparison_help(tl, tr);
            self.report(match help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
            return None;
        };
        let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
        let is_text = matches!(ty, Type::Text { .. });
        if ty == Type::Object {
            self.report(
                Diagnostic::error("K0016", "objects are not compared as a whole", span, "here")
                    .help("compare `object.device` and `object.inode`"),
            );
            return None;
        }
        if !equality && (is_text || matches!(ty, Type::Bool | Type::Enum(_))) {
            let message = format!("{} has no order", describe(ty));
            self.report(
                Diagnostic::error("K0016", message, span, "cannot be larger or smaller")
                    .help("compare with `==`, `!=` or `in`"),
            );
            return None;
        }
        if !is_text {
            return Some(self.make(ExprKind::Compare(op, l, r), Type::Bool, span));
        }
        let equal = self.texts(TextOp::Eq, (l, left), (r, right), span)?;
        if op == CompareOp::Eq {
            return Some(equal);
        }
        Some(self.make(ExprKind::Not(equal), Type::Bool, span))
    }

    fn member(&mut self, value: &ast::Expr, list: &[ast::Expr], span: Span) -> Option<ExprId> {
        let id = self.expr(value);
        if list.is_empty() {
            self.report(
                Diagnostic::error("K0020", "the list is empty", span, "nothing to be in")
                    .help("write `in (a, b)`"),
            );
            return None;
        }
        let id = id?;
        let tests: Vec<Option<ExprId>> = list
            .iter()
            .map(|item| {
                let other = self.word_or_expr(item, id)?;
                self.compared(
                    (CompareOp::Eq, item.span),
                    (id, value.span),
                    (other, item.span),
                    item.span,
                )
            })
            .collect();
        let tests: Option<Vec<ExprId>> = tests.into_iter().collect();
        self.balanced(tests?, |scope, left, right| {
            Some(scope.make(ExprKind::Or(left, right), Type::Bool, span))
        })
    }

    /// One value of many, in their order, nested no deeper than need be.
    pub(super) fn balanced(
        &mut self,
        mut ids: Vec<ExprId>,
        mut join: impl FnMut(&mut Self, ExprId, ExprId) -> Option<ExprId>,
    ) -> Option<ExprId> {
        while ids.len() > 1 {
            let pairs = ids.chunks(2).map(|pair| match pair {
                [left, right] => join(self, *left, *right),
                rest => rest.first().copied(),
            });
            ids = pairs.collect::<Option<_>>()?;
        }
        ids.first().copied()
    }

    fn choice(
        &mut self,
        condition: &ast::Expr,
        yes: &ast::Expr,
        no: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let condition = self.condition(condition);
        let (l, r) = self.operands(yes, no)?;
        let condition = condition?;
        let (tl, tr) = (self.ty(l), self.ty(r));
        match self.unify(l, r, span) {
            Some((_, _, Type::Text { .. } | Type::Object)) => {
                self.report(Diagnostic::error(
                    "K0038",
                    "texts and objects cannot be chosen between",
                    span,
                    "here",
                ));
                None
            }
            Some((l, r, ty)) => Some(self.make(ExprKind::If(condition, l, r), ty, span)),
            None => {
                let message = format!("one branch is {}, the other {}", describe(tl), describe(tr));
                let diagnostic = Diagnostic::error("K0017", message, span, "of two units")
                    .label(yes.span, describe(tl))
                    .label(no.span, describe(tr));
                self.report(diagnostic);
                None
            }
        }
    }
}

/// What a newcomer probably meant.
fn comparison_help(left: Type, right: Type) -> Option<&'static str> {
    let either = |ty: Type| left == ty || right == ty;
    let count = either(Type::Int(Unit::Count));
    if count && either(Type::Int(Unit::Bytes)) {
        return Some("give the number a unit: `512MiB`");
    }
    if count && either(Type::Int(Unit::Duration)) {
        return Some("give the number a unit: `10s`");
    }
    if either(Type::Int(Unit::Duration)) && either(Type::Int(Unit::Ratio)) {
        return Some("`rate(…)` of a duration is a ratio: `rate(cpu_time) > 80%`");
    }
    if either(Type::Int(Unit::Bytes)) && either(Type::Int(Unit::Ratio)) {
        return Some("a share of something: `rss > 10% * system.memory`");
    }
    match (left, right) {
        (Type::PerSecond(_), _) | (_, Type::PerSecond(_)) => {
            Some("rates have a unit a second: `10MiB/s`, `100/s`")
        }
        (Type::Enum(_), Type::Text { .. }) | (Type::Text { .. }, Type::Enum(_)) => {
            Some("its values are bare words: `state == zombie`")
        }
        (Type::Text { .. }, _) | (_, Type::Text { .. }) => {
            Some("texts are compared with texts, which are written in double quotes")
        }
        (Type::Bool, _) | (_, Type::Bool) => Some("a condition stands by itself, or with `not`"),
        (Type::Int(Unit::Instant), Type::Int(Unit::Duration))
        | (Type::Int(Unit::Duration), Type::Int(Unit::Instant)) => {
            Some("`age` is the time since the start")
        }
        (Type::Int(Unit::Bytes), _) => Some("compare bytes with a size, such as `512MiB`"),
        (Type::Int(Unit::Duration), _) => Some("compare a duration with another, such as `10s`"),
        (Type::Int(Unit::Ratio), _) => Some("compare a ratio with another, such as `80%`"),
        _ => None,
    }
}
