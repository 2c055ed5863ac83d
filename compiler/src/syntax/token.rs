//! Text to tokens.
//!
//! **Invariant**: tokens are in order, do not overlap, and together with white space and
//! comments they cover the text.

use super::literal::{Literal, LiteralError, UNITS, literal};
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::suggest;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{not, opt, peek, recognize};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Parser};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or a keyword, perhaps dotted.
    Word(String),
    Number(Literal),
    Text(Vec<u8>),
    Symbol(&'static str),
    /// A comment line, its markers and one space left out; `doc` for `##`.
    Comment {
        text: String,
        doc: bool,
    },
    /// Something that was reported.
    Wrong,
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "{", "}", "(", ")", "[", "]", ",", "=", "<", ">", "+", "-",
    "*", "/", "!", ";",
];

/// Cuts `source` into tokens, the last of which is [`TokenKind::End`].
pub(crate) fn tokens(source: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    loop {
        rest = rest.trim_start();
        let start = source.len() - rest.len();
        if rest.is_empty() {
            tokens.push(Token { kind: TokenKind::End, span: Span { start, end: start } });
            return tokens;
        }
        let (after, kind) = match token(rest) {
            Ok((after, raw)) => {
                let span = Span { start, end: source.len() - after.len() };
                (after, raw.into_kind(span, diagnostics))
            }
            // `anychar` takes whatever is left, so this is never reached with text at hand.
            Err(_) => ("", TokenKind::Wrong),
        };
        tokens.push(Token { kind, span: Span { start, end: source.len() - after.len() } });
        rest = after;
    }
}

/// A token before its text is interpreted.
enum Raw<'a> {
    Word(&'a str),
    Number { whole: &'a str, fraction: &'a str, suffix: &'a str, per_second: bool },
    Text { body: &'a str, closed: bool },
    Symbol(&'static str),
    Comment(&'a str),
    Unexpected(char),
}

fn token(input: &str) -> IResult<&str, Raw<'_>> {
    alt((comment, number, text, word, symbol, unexpected)).parse(input)
}

fn comment(input: &str) -> IResult<&str, Raw<'_>> {
    preceded(char('#'), take_while(|c| c != '\n')).map(Raw::Comment).parse(input)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn plain_word(input: &str) -> IResult<&str, &str> {
    recognize(pair(satisfy(|c| c.is_ascii_alphabetic() || c == '_'), take_while(is_word)))
        .parse(input)
}

fn word(input: &str) -> IResult<&str, Raw<'_>> {
    recognize(pair(plain_word, many0_count(pair(char('.'), plain_word))))
        .map(Raw::Word)
        .parse(input)
}

fn number(input: &str) -> IResult<&str, Raw<'_>> {
    let digits = |c: char| c.is_ascii_digit() || c == '_';
    let (input, whole) =
        recognize(pair(satisfy(|c| c.is_ascii_digit()), take_while(digits))).parse(input)?;
    let (input, fraction) = opt(preceded(char('.'), take_while1(digits))).parse(input)?;
    let (input, suffix) = opt(alt((tag("%"), take_while1(is_word)))).parse(input)?;
    let (input, rate) = opt(terminated(tag("/s"), peek(not(satisfy(is_word))))).parse(input)?;
    let fraction = fraction.unwrap_or("");
    let raw =
        Raw::Number { whole, fraction, suffix: suffix.unwrap_or(""), per_second: rate.is_some() };
    Ok((input, raw))
}

fn text(input: &str) -> IResult<&str, Raw<'_>> {
    let (input, _) = char('"').parse(input)?;
    let inside = alt((
        recognize(pair(char('\\'), satisfy(|c| c != '\n'))),
        recognize(satisfy(|c| c != '"' && c != '\n' && c != '\\')),
    ));
    let (input, body) = recognize(many0_count(inside)).parse(input)?;
    let (input, closed) = opt(char('"')).parse(input)?;
    Ok((input, Raw::Text { body, closed: closed.is_some() }))
}

fn symbol(input: &str) -> IResult<&str, Raw<'_>> {
    let found = SYMBOLS.iter().find(|symbol| input.starts_with(**symbol));
    match found {
        Some(symbol) => tag(*symbol).map(|_| Raw::Symbol(symbol)).parse(input),
        None => Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Tag))),
    }
}

fn unexpected(input: &str) -> IResult<&str, Raw<'_>> {
    anychar.map(Raw::Unexpected).parse(input)
}

impl Raw<'_> {
    fn into_kind(self, span: Span, diagnostics: &mut Vec<Diagnostic>) -> TokenKind {
        match self {
            Self::Word(word) => TokenKind::Word(word.to_owned()),
            Self::Symbol(symbol) => TokenKind::Symbol(symbol),
            Self::Comment(text) => {
                let (text, doc) = match text.strip_prefix('#') {
                    Some(doc) => (doc, true),
                    None => (text, false),
                };
                let text = text.strip_prefix(' ').unwrap_or(text).trim_end();
                TokenKind::Comment { text: text.to_owned(), doc }
            }
            Self::Number { whole, fraction, suffix, per_second } => {
                number_kind(whole, fraction, suffix, per_second, span, diagnostics)
            }
            Self::Text { body, closed } => {
                if !closed {
                    diagnostics.push(
                        Diagnostic::error("K0002", "the text is not closed", span, "starts here")
                            .help("end it with `\"` on the same line"),
                    );
                }
                TokenKind::Text(unescape(body, span, diagnostics))
            }
            Self::Unexpected(c) => {
                let shown: String = c.escape_debug().collect();
                diagnostics.push(
                    Diagnostic::error(
                        "K0001",
                        format!("`{shown}` has no meaning here"),
                        span,
                        "unexpected character",
                    )
                    .help("texts are written in double quotes, comments after `#`"),
                );
                TokenKind::Wrong
            }
        }
    }
}

fn number_kind(
    whole: &str,
    fraction: &str,
    suffix: &str,
    per_second: bool,
    span: Span,
    diagnostics: &mut Vec<Diagnostic>,
) -> TokenKind {
    let dot = if fraction.is_empty() { "" } else { "." };
    let rate = if per_second { "/s" } else { "" };
    let text = format!("{whole}{dot}{fraction}{suffix}{rate}");
    let shown: String = text.chars().take(40).collect();
    let diagnostic = match literal(whole, fraction, suffix, per_second) {
        Ok((value, ty)) => return TokenKind::Number(Literal { value, ty, text }),
        Err(LiteralError::UnknownUnit) => {
            let names: Vec<&str> = UNITS.iter().map(|unit| unit.0).collect();
            let diagnostic = Diagnostic::error(
                "K0006",
                format!("`{suffix}` is not a unit"),
                span,
                "number with an unknown unit",
            );
            match suggest(suffix, names.iter().copied().filter(|name| !name.is_empty())) {
                Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
                None => diagnostic.help(
                    "units are B KiB MiB GiB TiB (KB MB GB TB), ns us ms s min h d and %, \
                     each perhaps with /s",
                ),
            }
        }
        Err(LiteralError::TooLarge) => Diagnostic::error(
            "K0004",
            format!("`{shown}` is too large"),
            span,
            "does not fit in 64 bits",
        )
        .help(
            "the largest number is 9223372036854775807 of its base: bytes, nanoseconds, millionths",
        ),
        Err(LiteralError::TooFine) => Diagnostic::error(
            "K0005",
            format!("`{shown}` is not exact"),
            span,
            "too fine a fraction",
        )
        .help("bytes and counts are whole, durations whole nanoseconds, ratios whole millionths"),
    };
    diagnostics.push(diagnostic);
    TokenKind::Wrong
}

/// `\"`, `\\`, `\n`, `\t` and `\xHH`.
fn unescape(body: &str, span: Span, diagnostics: &mut Vec<Diagnostic>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escaped = rest.next();
        let byte = match escaped {
            Some('"') => Some(b'"'),
            Some('\\') => Some(b'\\'),
            Some('n') => Some(b'\n'),
            Some('t') => Some(b'\t'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2)
            }
            _ => None,
        };
        match byte {
            Some(byte) => bytes.push(byte),
            None => diagnostics.push(
                Diagnostic::error("K0009", "unknown escape in a text", span, "in this text")
                    .help("escapes are \\\" \\\\ \\n \\t and \\xHH"),
            ),
        }
    }
    bytes
}
