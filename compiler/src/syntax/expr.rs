//! Tokens to expressions.
//!
//! Loosest first: `if`, `or`, `and`, `not`, comparisons (which do not chain), `+ -`,
//! `* / mod`, unary `-`. Operators of one level associate to the left.

use super::ast::{Expr, ExprKind, Name, Operator};
use super::parser::{Parser, RESERVED, Reported};
use super::token::{Literal, TokenKind};
use crate::diagnostic::{Diagnostic, Span};
use kernel_vm::literal::UNIT_WORDS;

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, Reported> {
        self.nested(Self::or)
    }

    fn or(&mut self) -> Result<Expr, Reported> {
        self.left(Self::and, &[("or", Operator::Or), ("||", Operator::Or)])
    }

    fn and(&mut self) -> Result<Expr, Reported> {
        self.left(Self::not, &[("and", Operator::And), ("&&", Operator::And)])
    }

    fn not(&mut self) -> Result<Expr, Reported> {
        let start = self.peek().span;
        if self.eat_symbol("!") {
            self.misspelt("!", "not", start);
        } else if !self.eat_word("not") {
            return self.comparison();
        }
        let operand = self.nested(Self::not)?;
        let span = Span { start: start.start, end: operand.span.end };
        Ok(Expr { span, kind: ExprKind::Not(Box::new(operand)) })
    }

    /// An operator in the spelling of another language; reading goes on as if it were right.
    fn misspelt(&mut self, found: &str, right: &str, span: Span) {
        let message = format!("`{found}` is not an operator");
        let diagnostic = Diagnostic::error("K0007", message, span, "here");
        self.diagnostics.push(diagnostic.help(format!("write `{right}`")));
    }

    fn comparison(&mut self) -> Result<Expr, Reported> {
        let left = self.sum()?;
        let compared = self.one_comparison(left)?;
        if matches!(compared.kind, ExprKind::Binary(..) | ExprKind::In(..))
            && self.comparison_operator().is_some()
        {
            let span = self.peek().span;
            self.diagnostics.push(
                Diagnostic::error("K0037", "comparisons do not chain", span, "a second comparison")
                    .label(compared.span, "the first one")
                    .help("write `a < b and b < c`"),
            );
            return Err(Reported);
        }
        Ok(compared)
    }

    fn one_comparison(&mut self, left: Expr) -> Result<Expr, Reported> {
        let negated = {
            // `x not in (…)` reads well and means `not x in (…)`.
            let token = self.peek().clone();
            matches!(&token.kind, TokenKind::Word(word) if word == "not")
        };
        if negated {
            self.bump();
            self.keyword("in")?;
            let inside = self.members(left)?;
            return Ok(Expr { span: inside.span, kind: ExprKind::Not(Box::new(inside)) });
        }
        if self.eat_word("in") {
            return self.members(left);
        }
        let Some(operator) = self.comparison_operator() else { return Ok(left) };
        let at = self.peek().span;
        self.bump();
        let right = self.sum()?;
        Ok(binary(operator, at, left, right))
    }

    fn members(&mut self, left: Expr) -> Result<Expr, Reported> {
        let open = self.peek().span;
        let list = if self.eat_symbol("[") {
            self.diagnostics.push(
                Diagnostic::error("K0007", "lists are written in parentheses", open, "here")
                    .help("write `in (a, b, c)`"),
            );
            self.arguments("]")?
        } else {
            self.symbol("(")?;
            self.arguments(")")?
        };
        let span = Span { start: left.span.start, end: self.previous_end() };
        Ok(Expr { span, kind: ExprKind::In(Box::new(left), list) })
    }

    fn comparison_operator(&mut self) -> Option<Operator> {
        let token = self.peek().clone();
        match &token.kind {
            TokenKind::Symbol("==") => Some(Operator::Eq),
            TokenKind::Symbol("!=") => Some(Operator::Ne),
            TokenKind::Symbol("<") => Some(Operator::Lt),
            TokenKind::Symbol("<=") => Some(Operator::Le),
            TokenKind::Symbol(">") => Some(Operator::Gt),
            TokenKind::Symbol(">=") => Some(Operator::Ge),
            TokenKind::Symbol("=") => {
                self.diagnostics.push(
                    Diagnostic::error("K0007", "`=` does not compare", token.span, "here")
                        .help("write `==`"),
                );
                Some(Operator::Eq)
            }
            TokenKind::Word(word) => match word.as_str() {
                "starts_with" => Some(Operator::StartsWith),
                "ends_with" => Some(Operator::EndsWith),
                "contains" => Some(Operator::Contains),
                _ => None,
            },
            _ => None,
        }
    }

    fn sum(&mut self) -> Result<Expr, Reported> {
        self.left(Self::product, &[("+", Operator::Add), ("-", Operator::Sub)])
    }

    fn product(&mut self) -> Result<Expr, Reported> {
        self.left(
            Self::unary,
            &[("*", Operator::Mul), ("/", Operator::Div), ("mod", Operator::Mod)],
        )
    }

    /// `operand (operator operand)*`, to the left. A chain is as deep a tree as it is long,
    /// so it counts against the nesting limit.
    fn left(
        &mut self,
        operand: fn(&mut Self) -> Result<Expr, Reported>,
        operators: &[(&str, Operator)],
    ) -> Result<Expr, Reported> {
        let mut left = operand(self)?;
        let depth = self.depth;
        loop {
            let at = self.peek().span;
            let found =
                operators.iter().find(|(text, _)| self.eat_symbol(text) || self.eat_word(text));
            let Some(&(text, operator)) = found else {
                self.depth = depth;
                return Ok(left);
            };
            if text != operator.symbol() {
                self.misspelt(text, operator.symbol(), at);
            }
            let right = self.nested(operand).inspect_err(|_| self.depth = depth)?;
            self.depth += 1;
            left = binary(operator, at, left, right);
        }
    }

    fn unary(&mut self) -> Result<Expr, Reported> {
        let start = self.peek().span;
        if !self.eat_symbol("-") {
            return self.primary();
        }
        let operand = self.nested(Self::unary)?;
        let span = Span { start: start.start, end: operand.span.end };
        Ok(Expr { span, kind: ExprKind::Negative(Box::new(operand)) })
    }

    fn primary(&mut self) -> Result<Expr, Reported> {
        let token = self.peek().clone();
        let span = token.span;
        let kind = match token.kind {
            TokenKind::Number(literal) => {
                self.bump();
                return Ok(self.number(literal, span));
            }
            TokenKind::Text(text) => ExprKind::Text(text),
            TokenKind::Symbol("(") => {
                self.bump();
                let inside = self.expr()?;
                self.symbol(")")?;
                return Ok(inside);
            }
            TokenKind::Word(ref word) => match word.as_str() {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "if" => return self.choice(span),
                reserved if RESERVED.contains(&reserved) => {
                    self.expected("a value", &token);
                    return Err(Reported);
                }
                word => {
                    let word = word.to_owned();
                    self.bump();
                    if matches!(self.peek().kind, TokenKind::Symbol("(")) {
                        return self.call(Name { text: word, span });
                    }
                    return Ok(Expr { span, kind: ExprKind::Name(word) });
                }
            },
            TokenKind::Wrong => ExprKind::Wrong,
            TokenKind::Symbol(_) | TokenKind::Comment { .. } | TokenKind::End => {
                self.expected("a value", &token);
                return Err(Reported);
            }
        };
        self.bump();
        Ok(Expr { span, kind })
    }

    /// The number, unless its unit stands apart from it.
    fn number(&mut self, literal: Literal, span: Span) -> Expr {
        let next = self.peek().clone();
        let TokenKind::Word(unit) = &next.kind else {
            return Expr { span, kind: ExprKind::Literal(literal) };
        };
        if !UNIT_WORDS.iter().any(|word| word.0 == unit) {
            return Expr { span, kind: ExprKind::Literal(literal) };
        }
        self.bump();
        let whole = Span { start: span.start, end: next.span.end };
        self.diagnostics.push(
            Diagnostic::error("K0006", "the unit stands apart from its number", whole, "here")
                .help(format!("write `{}{unit}`", literal.text)),
        );
        Expr { span: whole, kind: ExprKind::Wrong }
    }

    fn choice(&mut self, start: Span) -> Result<Expr, Reported> {
        self.bump();
        let condition = self.expr()?;
        self.keyword("then")?;
        let yes = self.expr()?;
        self.keyword("else")?;
        let no = self.expr()?;
        let span = Span { start: start.start, end: no.span.end };
        Ok(Expr { span, kind: ExprKind::If(Box::new(condition), Box::new(yes), Box::new(no)) })
    }

    fn call(&mut self, function: Name) -> Result<Expr, Reported> {
        self.bump();
        let distinct = self.eat_word("distinct");
        let args = self.arguments(")")?;
        let span = Span { start: function.span.start, end: self.previous_end() };
        Ok(Expr { span, kind: ExprKind::Call { function, distinct, args } })
    }

    /// Values between commas, up to the closing parenthesis.
    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Reported> {
        let mut args = Vec::new();
        loop {
            if self.eat_symbol(close) {
                return Ok(args);
            }
            args.push(self.expr()?);
            if !self.eat_symbol(",") {
                self.symbol(close)?;
                return Ok(args);
            }
        }
    }
}

fn binary(operator: Operator, at: Span, left: Expr, right: Expr) -> Expr {
    let span = Span { start: left.span.start, end: right.span.end };
    Expr { span, kind: ExprKind::Binary(operator, at, Box::new(left), Box::new(right)) }
}
