//! Tokens to filters and clauses.
//!
//! After a mistake, reading goes on at the next clause, the closing brace or the next
//! filter, whichever comes first.
//!
//! **Invariant**: every loop consumes a token or ends.

use super::ast::{Clause, ClauseKind, EmitItem, Expr, Filter, Name, Rung};
use super::token::{Token, TokenKind, tokens};
use super::{CLAUSES_MAX, FILTERS_MAX, NESTING_MAX, NODES_MAX, SOURCE_BYTES_MAX};
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::suggest;
use kernel_vm::object::Severity;

/// Words that start a clause.
const CLAUSES: &[&str] =
    &["param", "let", "where", "group", "having", "emit", "top", "severity", "limit"];

/// Words that cannot be names.
pub(super) const RESERVED: &[&str] = &[
    "filter",
    "on",
    "param",
    "let",
    "where",
    "for",
    "group",
    "by",
    "having",
    "emit",
    "as",
    "top",
    "severity",
    "limit",
    "and",
    "or",
    "not",
    "in",
    "starts_with",
    "ends_with",
    "contains",
    "mod",
    "if",
    "then",
    "else",
    "true",
    "false",
    "distinct",
    "when",
];

/// Reads a file. What could not be read is reported and left out.
pub(crate) fn parse(source: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Filter> {
    if source.len() > SOURCE_BYTES_MAX {
        let span = Span { start: 0, end: 0 };
        diagnostics.push(
            Diagnostic::error("K0045", "the file is larger than 256 KiB", span, "")
                .help("is it a filter's source? compiled objects are run, not compiled"),
        );
        return Vec::new();
    }
    let tokens = tokens(source, diagnostics);
    let mut parser = Parser { source, tokens, at: 0, depth: 0, nodes: 0, diagnostics };
    parser.file()
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    pub(super) depth: usize,
    /// Expressions of this filter so far.
    pub(super) nodes: usize,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

/// What was wrong has been reported; the clause cannot be used.
pub(super) struct Reported;

impl Parser<'_> {
    fn file(&mut self) -> Vec<Filter> {
        let mut filters = Vec::new();
        let mut complained = false;
        loop {
            let doc = self.comments();
            let token = self.peek().clone();
            match &token.kind {
                TokenKind::End => break,
                TokenKind::Word(word) if word == "filter" => {
                    complained = false;
                    if filters.len() >= FILTERS_MAX {
                        self.too_many(format!("more than {FILTERS_MAX} filters"), token.span);
                        break;
                    }
                    filters.extend(self.filter(doc));
                }
                TokenKind::Wrong => {
                    complained = true;
                    self.bump();
                }
                _ => {
                    if !complained {
                        self.expected("`filter NAME on TABLE { … }`", &token);
                    }
                    complained = true;
                    self.bump();
                }
            }
        }
        if filters.is_empty() && self.diagnostics.is_empty() {
            let end = Span { start: self.source.len(), end: self.source.len() };
            self.diagnostics.push(
                Diagnostic::error("K0010", "the file holds no filter", end, "nothing here")
                    .help("write `filter NAME on process { where … emit … }`"),
            );
        }
        filters
    }

    fn filter(&mut self, doc: String) -> Option<Filter> {
        self.bump();
        let header = self.header();
        let Ok((name, table)) = header else {
            self.skip_to(|word| word == "filter");
            return None;
        };
        let mut clauses = Vec::new();
        self.nodes = 0;
        loop {
            let doc = self.comments();
            let token = self.peek().clone();
            match &token.kind {
                TokenKind::Symbol("}") => {
                    self.bump();
                    break;
                }
                TokenKind::End => {
                    self.expected("`}` that closes the filter", &token);
                    break;
                }
                TokenKind::Word(word) if word == "filter" => {
                    self.expected("`}` before the next filter", &token);
                    break;
                }
                TokenKind::Symbol(";") => self.bump(),
                _ if clauses.len() >= CLAUSES_MAX || self.nodes > NODES_MAX => {
                    let what = format!("more than {CLAUSES_MAX} clauses or {NODES_MAX} values");
                    self.too_many(what, token.span);
                    self.skip_to(|word| word == "filter");
                    self.eat_symbol("}");
                    break;
                }
                _ => match self.clause(doc, &token) {
                    Ok(clause) => clauses.push(clause),
                    Err(Reported) => {
                        self.skip_to(|word| word == "filter" || CLAUSES.contains(&word));
                    }
                },
            }
        }
        Some(Filter { doc, name, table, clauses })
    }

    fn too_many(&mut self, what: String, span: Span) {
        self.diagnostics.push(
            Diagnostic::error("K0045", what, span, "reading stops here")
                .help("a filter is about ten lines; make several, in several files"),
        );
    }

    fn header(&mut self) -> Result<(Name, Name), Reported> {
        let name = self.name("the filter's name")?;
        self.keyword("on")?;
        let table = self.name("a table: process, thread, file or mapping")?;
        self.symbol("{")?;
        Ok((name, table))
    }

    fn clause(&mut self, doc: String, token: &Token) -> Result<Clause, Reported> {
        let TokenKind::Word(word) = &token.kind else {
            if token.kind == TokenKind::Wrong {
                self.bump();
            } else {
                self.expected("a clause: where, emit, let, param, …", token);
                self.bump();
            }
            return Err(Reported);
        };
        self.bump();
        let kind = match word.as_str() {
            "param" => {
                let name = self.name("the parameter's name")?;
                self.symbol("=")?;
                ClauseKind::Param { doc, name, value: self.expr()? }
            }
            "let" => {
                let name = self.name("the name of the value")?;
                self.symbol("=")?;
                ClauseKind::Let { name, value: self.expr()? }
            }
            "where" => {
                let condition = self.expr()?;
                let hold = if self.eat_word("for") { Some(self.expr()?) } else { None };
                ClauseKind::Where { condition, hold }
            }
            "group" => {
                self.keyword("by")?;
                ClauseKind::Group { keys: self.list()? }
            }
            "having" => ClauseKind::Having { condition: self.expr()? },
            "emit" => ClauseKind::Emit { items: self.emit_items()? },
            "top" => {
                let n = self.expr()?;
                self.keyword("by")?;
                ClauseKind::Top { n, by: self.expr()? }
            }
            "severity" => {
                let name = self.name("`warning` or `critical`")?;
                let level = match name.text.as_str() {
                    "warning" => Severity::Warning,
                    "critical" => Severity::Critical,
                    _ => {
                        self.diagnostics.push(
                            Diagnostic::error(
                                "K0007",
                                format!("`{}` is not a severity", name.text),
                                name.span,
                                "expected `warning` or `critical`",
                            )
                            .help("write `severity critical` or `severity critical when COND`"),
                        );
                        return Err(Reported);
                    }
                };
                let when = if self.eat_word("when") { Some(self.expr()?) } else { None };
                ClauseKind::Severity { level, when }
            }
            "limit" => self.limit()?,
            word => {
                let diagnostic = Diagnostic::error(
                    "K0007",
                    format!("`{word}` does not start a clause"),
                    token.span,
                    "expected a clause",
                );
                let diagnostic = match suggest(word, CLAUSES.iter().copied()) {
                    Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
                    None => diagnostic.help(format!("clauses are {}", CLAUSES.join(", "))),
                };
                self.diagnostics.push(diagnostic);
                return Err(Reported);
            }
        };
        Ok(Clause { span: token.span, kind })
    }

    /// `{ leave when COND  after TIME ACTION … }`, in any order.
    fn limit(&mut self) -> Result<ClauseKind, Reported> {
        self.symbol("{")?;
        let (mut rungs, mut leave) = (Vec::new(), None);
        loop {
            self.comments();
            if self.eat_symbol("}") {
                return Ok(ClauseKind::Limit { rungs, leave });
            }
            let token = self.peek().clone();
            if self.eat_word("leave") {
                self.keyword("when")?;
                leave = Some(self.expr()?);
            } else if self.eat_word("after") {
                let after = self.expr()?;
                let action =
                    self.name("an action: notify, nice, cpu, memory, files, freeze, term or kill")?;
                let takes = matches!(action.text.as_str(), "nice" | "cpu" | "memory" | "files");
                let argument = if takes { Some(self.expr()?) } else { None };
                rungs.push(Rung { after, action, argument });
            } else {
                self.expected("`after TIME ACTION`, `leave when COND` or `}`", &token);
                return Err(Reported);
            }
        }
    }

    fn emit_items(&mut self) -> Result<Vec<EmitItem>, Reported> {
        let mut items = Vec::new();
        loop {
            let value = self.expr()?;
            let name =
                if self.eat_word("as") { Some(self.name("the field's name")?) } else { None };
            items.push(EmitItem { value, name });
            if !self.eat_symbol(",") || self.at_clause_end() {
                return Ok(items);
            }
        }
    }

    /// Expressions between commas; a comma at the end is allowed.
    fn list(&mut self) -> Result<Vec<Expr>, Reported> {
        let mut list = vec![self.expr()?];
        while self.eat_symbol(",") && !self.at_clause_end() {
            list.push(self.expr()?);
        }
        Ok(list)
    }

    fn at_clause_end(&mut self) -> bool {
        match &self.peek().kind {
            TokenKind::Word(word) => CLAUSES.contains(&word.as_str()) || word == "filter",
            TokenKind::Symbol(symbol) => *symbol == "}",
            TokenKind::End => true,
            TokenKind::Number(_)
            | TokenKind::Text(_)
            | TokenKind::Comment { .. }
            | TokenKind::Wrong => false,
        }
    }

    /// Skips comments; returns the last block of them that directly precedes what follows.
    fn comments(&mut self) -> String {
        let mut plain: Vec<String> = Vec::new();
        let mut documented: Vec<String> = Vec::new();
        let mut last_end = None;
        while let Some(Token { kind: TokenKind::Comment { text, doc }, span }) =
            self.tokens.get(self.at).cloned()
        {
            let between = last_end.map_or("", |end| &self.source[end..span.start]);
            if between.bytes().filter(|&byte| byte == b'\n').count() > 1 {
                plain.clear();
                documented.clear();
            }
            last_end = Some(span.end);
            if doc {
                documented.push(text)
            } else {
                plain.push(text)
            }
            self.at += 1;
        }
        let next = self.tokens.get(self.at).map_or(self.source.len(), |token| token.span.start);
        let gap = last_end.map_or("", |end| &self.source[end..next]);
        if gap.bytes().filter(|&byte| byte == b'\n').count() > 1 {
            return String::new();
        }
        if documented.is_empty() { plain.join("\n") } else { documented.join("\n") }
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

    fn name(&mut self, what: &str) -> Result<Name, Reported> {
        let token = self.peek().clone();
        match &token.kind {
            TokenKind::Word(word) if RESERVED.contains(&word.as_str()) => {
                self.diagnostics.push(
                    Diagnostic::error(
                        "K0015",
                        format!("`{word}` is a word of the language and cannot be a name"),
                        token.span,
                        format!("expected {what}"),
                    )
                    .help(format!("choose another, such as `{word}_`")),
                );
                Err(Reported)
            }
            TokenKind::Word(word) if !word.contains('.') => {
                self.bump();
                Ok(Name { text: word.clone(), span: token.span })
            }
            _ => {
                self.expected(what, &token);
                Err(Reported)
            }
        }
    }

    pub(super) fn expected(&mut self, what: &str, token: &Token) {
        let found = match &token.kind {
            TokenKind::Wrong => return,
            TokenKind::End => "the end of the file".to_owned(),
            TokenKind::Word(word) => format!("`{}`", word.chars().take(40).collect::<String>()),
            TokenKind::Number(number) => {
                format!("`{}`", number.text.chars().take(40).collect::<String>())
            }
            TokenKind::Text(_) => "a text".to_owned(),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
            TokenKind::Comment { .. } => "a comment".to_owned(),
        };
        self.diagnostics.push(Diagnostic::error(
            "K0007",
            format!("expected {what}, found {found}"),
            token.span,
            "here",
        ));
    }

    fn skip_to(&mut self, stop: impl Fn(&str) -> bool) {
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
            // Reported where the next clause would start.
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
