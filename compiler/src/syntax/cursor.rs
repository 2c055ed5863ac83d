//! Where the parser stands: looking at tokens, taking them, skipping to the next clause.
//!
//! **Invariant**: the position never moves back and never passes the last token, the end.

use super::ast::{Expr, Name};
use super::parser::{Parser, RESERVED, Reported};
use super::token::{Token, TokenKind};
use super::{NAME_BYTES_MAX, NESTING_MAX, NODES_MAX};
use crate::diagnostic::{Diagnostic, Span};

impl Parser<'_> {
    /// The lines of `##` that stand directly before the next token; with `or_plain`, those of
    /// `#` when there are none.
    pub(super) fn documentation(&mut self, or_plain: bool) -> String {
        let mut line_start = self.peek().span.start;
        let (mut documented, mut plain) = (Vec::new(), Vec::new());
        let before = self.tokens[..self.at].iter().rev();
        for token in before {
            let TokenKind::Comment { text, doc } = &token.kind else {
                // What stands behind other words on their line is not about the next one.
                if !self.source[token.span.end..line_start].contains('\n') {
                    documented.pop();
                    plain.pop();
                }
                break;
            };
            let gap = &self.source[token.span.end..line_start];
            if gap.bytes().filter(|&byte| byte == b'\n').count() > 1 {
                break;
            }
            line_start = token.span.start;
            documented.push(if *doc { Some(text.as_str()) } else { None });
            plain.push(text.as_str());
        }
        let documented: Vec<&str> = documented.into_iter().rev().flatten().collect();
        plain.reverse();
        if documented.is_empty() && or_plain { plain.join("\n") } else { documented.join("\n") }
    }

    /// The next token that is not a comment.
    pub(super) fn peek(&mut self) -> &Token {
        while matches!(self.tokens[self.at].kind, TokenKind::Comment { .. }) {
            self.at += 1;
        }
        &self.tokens[self.at]
    }

    /// Steps over the token that `peek` showed; stays at the end.
    pub(super) fn bump(&mut self) {
        self.peek();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, TokenKind::Symbol(found) if found == symbol);
        if found {
            self.bump();
        }
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(&self.peek().kind, TokenKind::Word(found) if found == word);
        if found {
            self.bump();
        }
        found
    }

    pub(super) fn symbol(&mut self, symbol: &str) -> Result<(), Reported> {
        if self.eat_symbol(symbol) {
            return Ok(());
        }
        let token = self.peek().clone();
        self.expected(&format!("`{symbol}`"), &token);
        Err(Reported)
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<(), Reported> {
        if self.eat_word(word) {
            return Ok(());
        }
        let token = self.peek().clone();
        self.expected(&format!("`{word}`"), &token);
        Err(Reported)
    }

    pub(super) fn name(&mut self, what: &str) -> Result<Name, Reported> {
        let token = self.peek().clone();
        match &token.kind {
            // On a line of its own it is rather the next clause than a name.
            TokenKind::Word(word) if RESERVED.contains(&word.as_str()) && !self.after_break() => {
                self.bump();
                self.diagnostics.push(
                    Diagnostic::error(
                        "K0015",
                        format!("`{word}` is a word of the language and cannot be a name"),
                        token.span,
                        format!("expected {what}"),
                    )
                    .help(format!("choose another, such as `{word}_`")),
                );
                Ok(Name { text: word.clone(), span: token.span })
            }
            TokenKind::Word(word) if !word.contains('.') && !RESERVED.contains(&word.as_str()) => {
                self.bump();
                if word.len() > NAME_BYTES_MAX {
                    self.diagnostics.push(Diagnostic::error(
                        "K0049",
                        "the name is too long",
                        token.span,
                        format!("at most {NAME_BYTES_MAX} characters"),
                    ));
                }
                Ok(Name { text: word.clone(), span: token.span })
            }
            _ => {
                self.expected(what, &token);
                Err(Reported)
            }
        }
    }

    /// Reports that `what` is missing before `token`.
    pub(super) fn expected(&mut self, what: &str, token: &Token) {
        // What is missing at the end of a line is missing there, not where the next one starts.
        let end = self.previous_end();
        let place = if self.after_break() { Span { start: end, end } } else { token.span };
        self.expected_at(what, token, place);
    }

    /// Reports that `token` stands where only `what` can.
    pub(super) fn expected_at(&mut self, what: &str, token: &Token, place: Span) {
        let short = |text: &str| format!("`{}`", text.chars().take(40).collect::<String>());
        let found = match &token.kind {
            TokenKind::Wrong => return,
            TokenKind::End => "the end of the file".to_owned(),
            TokenKind::Word(word) => short(word),
            TokenKind::Number(number) => short(&number.text),
            TokenKind::Text(_) => "a text".to_owned(),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
            TokenKind::Comment { .. } => "a comment".to_owned(),
        };
        let message = format!("expected {what}, found {found}");
        self.diagnostics.push(Diagnostic::error("K0007", message, place, "here"));
    }

    /// The end of the token before the next one.
    pub(super) fn previous_end(&mut self) -> usize {
        self.peek();
        let before = self.tokens[..self.at].iter().rev();
        let mut before = before.filter(|token| !matches!(token.kind, TokenKind::Comment { .. }));
        before.next().map_or(0, |token| token.span.end)
    }

    /// Whether the next token is on a later line than the one before it.
    fn after_break(&mut self) -> bool {
        let (start, end) = (self.previous_end(), self.peek().span.start);
        start > 0 && self.source[start..end].contains('\n')
    }

    pub(super) fn skip_to(&mut self, stop: impl Fn(&str) -> bool) {
        let mut braces = 0_usize;
        loop {
            match &self.peek().kind {
                TokenKind::End => return,
                TokenKind::Word(word) if braces == 0 && stop(word) => return,
                TokenKind::Symbol("}") if braces == 0 => return,
                TokenKind::Symbol("{") => braces += 1,
                TokenKind::Symbol("}") => braces -= 1,
                TokenKind::Word(_)
                | TokenKind::Number(_)
                | TokenKind::Text(_)
                | TokenKind::Symbol(_)
                | TokenKind::Comment { .. }
                | TokenKind::Wrong => {}
            }
            self.bump();
        }
    }

    /// An expression, unless it is nested too deeply.
    pub(super) fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Expr, Reported>,
    ) -> Result<Expr, Reported> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            // Reported once, then the rest of the filter is skipped.
            if self.nodes == NODES_MAX + 1 {
                let span = self.peek().span;
                self.too_many(format!("more than {NODES_MAX} values and operators"), span);
            }
            return Err(Reported);
        }
        if self.depth >= NESTING_MAX {
            let span = self.peek().span;
            self.diagnostics.push(
                Diagnostic::error("K0008", "nested too deeply", span, "here")
                    .help(format!("at most {NESTING_MAX} levels; give parts a name with `let`")),
            );
            return Err(Reported);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }
}
