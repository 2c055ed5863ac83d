//! Texts: literals and comparisons.

use super::scope::Scope;
use super::units::describe;
use crate::diagnostic::{Diagnostic, Span};
use crate::hir::{ExprId, ExprKind, TextOp};
use crate::syntax::ast::{self, Operator};
use kernel_vm::schema::Type;

impl Scope<'_> {
    pub(super) fn text_constant(&mut self, text: &[u8], span: Span) -> Option<ExprId> {
        let capacity = text.len().max(1).next_multiple_of(8);
        match u16::try_from(capacity) {
            Ok(capacity) if capacity <= 256 => {
                let ty = Type::Text { capacity };
                Some(self.make(ExprKind::ConstText(text.to_vec()), ty, span))
            }
            _ => {
                self.report(
                    Diagnostic::error("K0004", "the text is too long", span, "this text")
                        .help("no column holds more than 63 bytes"),
                );
                None
            }
        }
    }

    pub(super) fn text(
        &mut self,
        op: TextOp,
        symbol: Operator,
        left: &ast::Expr,
        right: &ast::Expr,
        span: Span,
    ) -> Option<ExprId> {
        let (l, r) = (self.expr(left), self.expr(right));
        let (l, r) = (l?, r?);
        for (id, tree) in [(l, left), (r, right)] {
            let ty = self.ty(id);
            if !matches!(ty, Type::Text { .. }) {
                self.report(Diagnostic::error(
                    "K0022",
                    format!("`{}` is for texts, this is {}", symbol.symbol(), describe(ty)),
                    tree.span,
                    describe(ty),
                ));
                return None;
            }
        }
        self.texts(op, (l, left.span), (r, right.span), span)
    }

    /// A text column on the left, a constant or parameter on the right.
    pub(super) fn texts(
        &mut self,
        op: TextOp,
        (mut l, mut left): (ExprId, Span),
        (mut r, mut right): (ExprId, Span),
        span: Span,
    ) -> Option<ExprId> {
        let is_column = |scope: &Self, id| matches!(scope.kind(id), ExprKind::Column(_));
        if op == TextOp::Eq && !is_column(self, l) {
            ((l, left), (r, right)) = ((r, right), (l, left));
        }
        if !is_column(self, l) {
            self.report(
                Diagnostic::error("K0023", "no text column here", left, "not a column")
                    .help("the left side is a text column such as `comm`"),
            );
            return None;
        }
        let is_param = matches!(self.kind(r), ExprKind::Param(_));
        let allowed = matches!(self.kind(r), ExprKind::ConstText(_))
            || (is_param && matches!(op, TextOp::Eq | TextOp::StartsWith));
        if !allowed {
            self.report(
                Diagnostic::error("K0023", "the pattern must be a literal text", right, "here")
                    .help("`==` and `starts_with` take a parameter, too"),
            );
            return None;
        }
        if let (ExprKind::ConstText(text), Type::Text { capacity }) = (self.kind(r), self.ty(l)) {
            let (length, most) = (text.len(), usize::from(capacity) - 1);
            if length > most {
                self.report(
                    Diagnostic::warning(
                        "K0041",
                        format!("never true: the column holds at most {most} bytes"),
                        right,
                        format!("{length} bytes"),
                    )
                    .label(left, "the column"),
                );
                return Some(self.make(ExprKind::Const(0), Type::Bool, span));
            }
            if length == 0 && op != TextOp::Eq {
                self.report(Diagnostic::warning(
                    "K0041",
                    "always true: the pattern is empty",
                    right,
                    "empty text",
                ));
            }
        }
        Some(self.make(ExprKind::Text(op, l, r), Type::Bool, span))
    }
}
