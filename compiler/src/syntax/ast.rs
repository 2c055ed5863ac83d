//! The syntax tree: what was written, with where.

use crate::hir::Span;
use kernel_vm::object::Severity;

use super::token::Literal;

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// One filter.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) doc: String,
    pub(crate) name: Name,
    pub(crate) table: Name,
    pub(crate) clauses: Vec<Clause>,
}

/// One clause; the span covers its keyword.
#[derive(Clone, Debug)]
pub(crate) struct Clause {
    pub(crate) span: Span,
    pub(crate) kind: ClauseKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ClauseKind {
    Param {
        doc: String,
        name: Name,
        value: Expr,
    },
    Let {
        name: Name,
        value: Expr,
    },
    Where {
        condition: Expr,
        hold: Option<Expr>,
    },
    Group {
        keys: Vec<Expr>,
    },
    Having {
        condition: Expr,
    },
    Emit {
        items: Vec<EmitItem>,
    },
    Top {
        n: Expr,
        by: Expr,
    },
    Severity {
        level: Severity,
        when: Option<Expr>,
    },
    Limit {
        rungs: Vec<Rung>,
        leave: Option<Expr>,
    },
    /// A clause that could not be read, which has been reported: its keyword, and the name
    /// that it would have defined.
    Broken {
        keyword: &'static str,
        name: Option<Name>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct EmitItem {
    pub(crate) value: Expr,
    pub(crate) name: Option<Name>,
}

/// `after TIME ACTION ARGUMENT`.
#[derive(Clone, Debug)]
pub(crate) struct Rung {
    pub(crate) after: Expr,
    pub(crate) action: Name,
    pub(crate) argument: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) span: Span,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Literal),
    Text(Vec<u8>),
    Bool(bool),
    /// A name, perhaps dotted.
    Name(String),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    /// The span is the operator's.
    Binary(Operator, Span, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Call {
        function: Name,
        distinct: bool,
        args: Vec<Expr>,
    },
    /// Something that could not be read and has been reported.
    Wrong,
}

impl Expr {
    /// The number, if it is one as written, perhaps with a minus.
    pub(crate) fn literal(&self) -> Option<Literal> {
        if let ExprKind::Literal(literal) = &self.kind {
            return Some(literal.clone());
        }
        if let ExprKind::Negative(operand) = &self.kind
            && let ExprKind::Literal(literal) = &operand.kind
        {
            let text = format!("-{}", literal.text);
            return Some(Literal { value: literal.value.saturating_neg(), ty: literal.ty, text });
        }
        None
    }

    /// Whether it could not be read, which has been reported.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self.kind, ExprKind::Wrong)
    }
}

/// Operators between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    StartsWith,
    EndsWith,
    Contains,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

impl Operator {
    /// As written.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Contains => "contains",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "mod",
        }
    }
}
