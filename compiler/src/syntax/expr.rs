//! Tokens to expressions.
//!
//! Loosest first: `if`, `or`, `and`, `not`, comparisons (which do not chain), `+ -`,
//! `* / mod`, unary `-`. Operators of one level associate to the left.

use super::ast::{Expr, ExprKind, Name, Operator};
use super::parser::{Parser, RESERVED, Reported};
use super::token::TokenKind;
use crate::diagnostic::{Diagnostic, Span};

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, Reported> {
        self.nested(Self::or)
    }

    fn or(&mut self) -> Result<Expr, Reported> {
        self.left(Self::and, &[("or", Operator::Or)], &[])
    }

    fn and(&mut self) -> Result<Expr, Reported> {
        self.left(Self::not, &[("and", Operator::And)], &[])
    }

    fn not(&mut self) -> Result<Expr, Reported> {
        let start = self.peek().span;
        if self.eat_symbol("!") {
            self.diagnostics.push(
                Diagnostic::error("K0007", "`!` is not an operator", start, "here")
                    .help("write `not`"),
            );
            return Err(Reported);
        }
        if !self.eat_word("not") {
            return self.comparison();
        }
        let operand = self.nested(Self::not)?;
        let span = Span { start: start.start, end: operand.span.end };
        Ok(Expr { span, kind: ExprKind::Not(Box::new(operand)) })
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
        self.bump();
        let right = self.sum()?;
        let span = Span { start: left.span.start, end: right.span.end };
        Ok(Expr { span, kind: ExprKind::Binary(operator, Box::new(left), Box::new(right)) })
    }

    fn members(&mut self, left: Expr) -> Result<Expr, Reported> {
        let open = self.peek().span;
        if self.eat_symbol("[") {
            self.diagnostics.push(
                Diagnostic::error("K0007", "lists are written in parentheses", open, "here")
                    .help("write `in (a, b, c)`"),
            );
            return Err(Reported);
        }
        self.symbol("(")?;
        let list = self.arguments()?;
        let span = Span { start: left.span.start, end: self.last_end(open) };
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
            TokenKind::Symbol(wrong @ ("&&" | "||")) => {
                let word = if *wrong == "&&" { "and" } else { "or" };
                self.diagnostics.push(
                    Diagnostic::error(
                        "K0007",
                        format!("`{wrong}` is not an operator"),
                        token.span,
                        "here",
                    )
                    .help(format!("write `{word}`")),
                );
                None
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
        self.left(Self::product, &[], &[("+", Operator::Add), ("-", Operator::Sub)])
    }

    fn product(&mut self) -> Result<Expr, Reported> {
        let words = [("mod", Operator::Mod)];
        self.left(Self::unary, &words, &[("*", Operator::Mul), ("/", Operator::Div)])
    }

    /// `operand (operator operand)*`, to the left. A chain is as deep a tree as it is long,
    /// so it counts against the nesting limit.
    fn left(
        &mut self,
        operand: fn(&mut Self) -> Result<Expr, Reported>,
        words: &[(&str, Operator)],
        symbols: &[(&str, Operator)],
    ) -> Result<Expr, Reported> {
        let mut left = operand(self)?;
        let depth = self.depth;
        loop {
            let word = words.iter().find(|(word, _)| self.eat_word(word));
            let Some(&(_, operator)) =
                word.or_else(|| symbols.iter().find(|(symbol, _)| self.eat_symbol(symbol)))
            else {
                self.depth = depth;
                return Ok(left);
            };
            let right = self.nested(operand).inspect_err(|_| self.depth = depth)?;
            self.depth += 1;
            let span = Span { start: left.span.start, end: right.span.end };
            let kind = ExprKind::Binary(operator, Box::new(left), Box::new(right));
            left = Expr { span, kind };
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
            TokenKind::Number(literal) => ExprKind::Literal(literal),
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
        let open = self.peek().span;
        self.bump();
        let distinct = self.eat_word("distinct");
        let args = self.arguments()?;
        let span = Span { start: function.span.start, end: self.last_end(open) };
        Ok(Expr { span, kind: ExprKind::Call { function, distinct, args } })
    }

    /// Values between commas and the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Expr>, Reported> {
        let mut args = Vec::new();
        loop {
            if self.eat_symbol(")") {
                return Ok(args);
            }
            args.push(self.expr()?);
            if !self.eat_symbol(",") {
                self.symbol(")")?;
                return Ok(args);
            }
        }
    }

    /// The end of the token before the next one, at least that of `least`.
    fn last_end(&mut self, least: Span) -> usize {
        let next = self.peek().span.start;
        let text = self.source[..next].trim_end();
        // A comment may stand in between; it does no harm to a span.
        text.len().max(least.end)
    }
}
