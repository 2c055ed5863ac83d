//! Tokens to filters and clauses.
//!
//! After a mistake, reading goes on at the next clause, the closing brace or the next
//! filter, whichever comes first.
//!
//! **Invariant**: every loop consumes a token or ends.

use super::ast::{Clause, ClauseKind, EmitItem, Expr, Filter, Name, Rung};
use super::token::{Token, TokenKind, tokens};
use super::{CLAUSES_MAX, FILTERS_MAX, NODES_MAX, SOURCE_BYTES_MAX};
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
    let mut parser =
        Parser { source, tokens, at: 0, depth: 0, nodes: 0, defining: None, diagnostics };
    parser.file()
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Expressions of this filter so far.
    pub(super) nodes: usize,
    /// The name that the clause at hand defines.
    defining: Option<Name>,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

/// What was wrong has been reported; the clause cannot be used.
pub(super) struct Reported;

impl Parser<'_> {
    fn file(&mut self) -> Vec<Filter> {
        let mut filters = Vec::new();
        let mut complained = false;
        loop {
            let doc = self.documentation(true);
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
                        self.expected_at("`filter NAME on TABLE { … }`", &token, token.span);
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
            if self.eat_symbol("{") {
                self.skip_to(|_| false);
            }
            self.eat_symbol("}");
            return None;
        };
        let mut clauses = Vec::new();
        self.nodes = 0;
        loop {
            let doc = self.documentation(false);
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
                    if self.nodes <= NODES_MAX {
                        self.too_many(format!("more than {CLAUSES_MAX} clauses"), token.span);
                    }
                    self.skip_to(|word| word == "filter");
                    self.eat_symbol("}");
                    break;
                }
                _ => match self.clause(doc, &token) {
                    Ok(clause) => clauses.push(clause),
                    Err(Reported) => {
                        clauses.extend(self.broken(&token));
                        self.skip_to(|word| word == "filter" || CLAUSES.contains(&word));
                    }
                },
            }
        }
        Some(Filter { doc, name, table, clauses })
    }

    pub(super) fn too_many(&mut self, what: String, span: Span) {
        self.diagnostics.push(
            Diagnostic::error("K0045", what, span, "reading stops here")
                .help("a filter is about ten lines; make several, in several files"),
        );
    }

    /// What is left of a clause that began with `token` and could not be read.
    fn broken(&mut self, token: &Token) -> Option<Clause> {
        let TokenKind::Word(word) = &token.kind else { return None };
        let keyword = CLAUSES.iter().find(|keyword| *keyword == word)?;
        let kind = ClauseKind::Broken { keyword, name: self.defining.take() };
        Some(Clause { span: token.span, kind })
    }

    fn header(&mut self) -> Result<(Name, Name), Reported> {
        let token = self.peek().clone();
        let name = if matches!(&token.kind, TokenKind::Word(word) if word == "on") {
            self.expected("the filter's name", &token);
            Name { text: "on".to_owned(), span: token.span }
        } else {
            self.name("the filter's name")?
        };
        if !self.eat_word("on") {
            let token = self.peek().clone();
            let table = "`on` and a table: process, thread, file or mapping";
            self.expected(table, &token);
            return Err(Reported);
        }
        let table = self.name("a table: process, thread, file or mapping")?;
        if !self.eat_symbol("{") {
            // What follows is most likely the first clause.
            let token = self.peek().clone();
            self.expected("`{`", &token);
        }
        Ok((name, table))
    }

    fn clause(&mut self, doc: String, token: &Token) -> Result<Clause, Reported> {
        let TokenKind::Word(word) = &token.kind else {
            if token.kind == TokenKind::Wrong {
                self.bump();
            } else {
                self.expected_at("a clause: where, emit, let, param, …", token, token.span);
                self.bump();
            }
            return Err(Reported);
        };
        self.bump();
        self.defining = None;
        let kind = match word.as_str() {
            "param" => {
                let name = self.name("the parameter's name")?;
                self.defining = Some(name.clone());
                self.symbol("=")?;
                ClauseKind::Param { doc, name, value: self.expr()? }
            }
            "let" => {
                let name = self.name("the name of the value")?;
                self.defining = Some(name.clone());
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
        // What could not be read stands behind the clause, but was most likely meant for it.
        if self.peek().kind == TokenKind::Wrong {
            return Err(Reported);
        }
        Ok(Clause { span: token.span, kind })
    }

    /// `{ leave when COND  after TIME ACTION … }`, in any order.
    fn limit(&mut self) -> Result<ClauseKind, Reported> {
        self.symbol("{")?;
        let (mut rungs, mut leave) = (Vec::new(), None);
        let mut whole = true;
        loop {
            if self.eat_symbol("}") {
                let limit = ClauseKind::Limit { rungs, leave };
                return if whole { Ok(limit) } else { Err(Reported) };
            }
            if matches!(self.peek().kind, TokenKind::End) {
                return self.symbol("}").map(|()| ClauseKind::Limit { rungs, leave });
            }
            if self.limit_part(&mut rungs, &mut leave).is_err() {
                whole = false;
                self.skip_to(|word| matches!(word, "after" | "leave"));
            }
        }
    }

    fn limit_part(
        &mut self,
        rungs: &mut Vec<Rung>,
        leave: &mut Option<Expr>,
    ) -> Result<(), Reported> {
        let token = self.peek().clone();
        if self.eat_word("leave") {
            self.keyword("when")?;
            *leave = Some(self.expr()?);
        } else if self.eat_word("after") {
            let after = self.expr()?;
            let action =
                self.name("an action: notify, nice, cpu, memory, files, freeze, term or kill")?;
            let next = self.peek().kind.clone();
            let takes = matches!(action.text.as_str(), "nice" | "cpu" | "memory" | "files")
                || matches!(next, TokenKind::Number(_) | TokenKind::Symbol("-"));
            let argument = if takes { Some(self.expr()?) } else { None };
            rungs.push(Rung { after, action, argument });
        } else {
            let what = "`after TIME ACTION`, `leave when COND` or `}`";
            self.expected_at(what, &token, token.span);
            self.bump();
            return Err(Reported);
        }
        Ok(())
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
}
