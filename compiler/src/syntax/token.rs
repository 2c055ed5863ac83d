//! Text to tokens.
//!
//! **Invariant**: tokens are in order, do not overlap, and together with white space and
//! comments they cover the text.

use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::suggest;
use kernel_vm::literal::{self, LiteralError, UNIT_WORDS};
use kernel_vm::schema::Type;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
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

/// A number in the base of its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) value: i64,
    pub(crate) ty: Type,
    /// As written.
    pub(crate) text: String,
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
const SYMBOL_CHARS: &str = "=!<>&|{}()[],+-*/;";

/// Cuts `source` into tokens, the last of which is [`TokenKind::End`].
pub(crate) fn tokens(source: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token> {
    let mut tokens = Vec::new();
    // A byte order mark at the start is an editor's, not the author's.
    let mut rest = source.strip_prefix('\u{feff}').unwrap_or(source);
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
    Number(&'a str),
    Text {
        body: &'a str,
        closed: bool,
    },
    Symbol(&'static str),
    Comment(&'a str),
    /// A text in quotes of another kind.
    Quoted(&'a str),
    Unexpected(&'a str),
}

fn token(input: &str) -> IResult<&str, Raw<'_>> {
    alt((comment, number, text, word, symbol, quoted, unexpected)).parse(input)
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

/// Digits, perhaps a fraction, a unit and `/s`; what they mean is found out later, so that
/// `10secs` is one wrong number and not two tokens.
fn number(input: &str) -> IResult<&str, Raw<'_>> {
    let digit = |c: char| c.is_ascii_digit();
    let fraction = opt((char('.'), satisfy(digit), take_while(is_word)));
    let rate = opt(terminated(tag("/s"), peek(not(satisfy(is_word)))));
    recognize((satisfy(digit), take_while(is_word), fraction, opt(char('%')), rate))
        .map(Raw::Number)
        .parse(input)
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

/// `'sshd'`, as other languages and word processors have it.
fn quoted(input: &str) -> IResult<&str, Raw<'_>> {
    let open = satisfy(|c| matches!(c, '\'' | '`' | '‘' | '’' | '“' | '”'));
    let inside = take_while(|c: char| is_word(c) || " -./:".contains(c));
    let close = satisfy(|c| matches!(c, '\'' | '`' | '‘' | '’' | '“' | '”'));
    recognize((open, inside, close)).map(Raw::Quoted).parse(input)
}

/// A run of characters that start no token, with the word that hangs on to them.
fn unexpected(input: &str) -> IResult<&str, Raw<'_>> {
    let known = |c: char| c.is_whitespace() || c == '#' || c == '"' || SYMBOL_CHARS.contains(c);
    recognize(pair(anychar, take_while(|c| !known(c)))).map(Raw::Unexpected).parse(input)
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
            Self::Number(text) => number_kind(text, span, diagnostics),
            Self::Text { body, closed } => {
                if !closed {
                    diagnostics.push(
                        Diagnostic::error("K0002", "the text is not closed", span, "starts here")
                            .help("end it with `\"` on the same line"),
                    );
                }
                TokenKind::Text(unescape(body, span, diagnostics))
            }
            Self::Quoted(text) => {
                let inside: String =
                    text.chars().skip(1).take(40).filter(|&c| is_word(c)).collect();
                diagnostics.push(
                    Diagnostic::error("K0001", "a text in the wrong quotes", span, "here")
                        .help(format!("write straight double quotes: `\"{inside}\"`")),
                );
                TokenKind::Wrong
            }
            Self::Unexpected(text) => {
                let shown: String = text.chars().take(8).flat_map(char::escape_debug).collect();
                let (start, first) = (span.start, text.chars().next().map_or(1, char::len_utf8));
                diagnostics.push(
                    Diagnostic::error(
                        "K0001",
                        format!("`{shown}` has no meaning here"),
                        Span { start, end: start + first },
                        "unexpected character",
                    )
                    .help(unexpected_help(text)),
                );
                TokenKind::Wrong
            }
        }
    }
}

fn unexpected_help(text: &str) -> &'static str {
    match text.chars().next() {
        Some('\'' | '‘' | '’' | '“' | '”' | '`') => {
            "texts are written in straight double quotes: `\"sshd\"`"
        }
        Some('%') => "a percentage is a number with `%` directly behind it; the remainder is `mod`",
        Some('.') => "write the digit before the point: `0.5`",
        Some(':' | '?') => "a choice is written `if COND then A else B`",
        Some('~' | '^') => "texts are compared with `==`, `starts_with`, `ends_with`, `contains`",
        _ => "filters are written in plain ASCII; comments start with `#`",
    }
}

/// A unit that other tools or habits write in another way.
fn meant_unit(wrong: &str) -> Option<&'static str> {
    let unit = match wrong.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" => return Some("units are spelled out: `min` for minutes, `MiB` for memory"),
        "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        "nsec" => "ns",
        "usec" | "µs" => "us",
        "msec" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "mins" | "minute" | "minutes" => "min",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        _ => suggest(wrong, UNIT_WORDS.iter().map(|unit| unit.0))?,
    };
    UNIT_WORDS.iter().map(|word| word.0).find(|word| *word == unit)
}

fn number_kind(text: &str, span: Span, diagnostics: &mut Vec<Diagnostic>) -> TokenKind {
    let error = match literal::parse(text) {
        Ok(number) => {
            let text = text.to_owned();
            return TokenKind::Number(Literal { value: number.value, ty: number.ty, text });
        }
        Err(error) => error,
    };
    let shown: String = text.chars().take(40).collect();
    diagnostics.push(match error {
        LiteralError::UnknownUnit => {
            let unit =
                text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_' || c == '.');
            let message = format!("`{}` is not a unit", unit.chars().take(40).collect::<String>());
            let diagnostic = Diagnostic::error("K0006", message, span, "in this number");
            match meant_unit(unit.trim_end_matches("/s")) {
                Some(word) if unit.strip_suffix("/s") == Some(word) => {
                    diagnostic.help("only bytes and plain numbers may be followed by /s")
                }
                Some(hint) if hint.contains(' ') => diagnostic.help(hint),
                Some(word) => diagnostic.help(format!("did you mean `{word}`?")),
                None => diagnostic.help(
                    "units are B KiB MiB GiB TiB (KB MB GB TB), ns us ms s min h d and %; \
                     bytes and plain numbers may be followed by /s",
                ),
            }
        }
        LiteralError::TooLarge => Diagnostic::error(
            "K0004",
            format!("`{shown}` is too large"),
            span,
            "does not fit in 64 bits",
        )
        .help("the most is 9223372036854775807 of the base: bytes, nanoseconds, millionths"),
        LiteralError::Inexact => Diagnostic::error(
            "K0005",
            format!("`{shown}` is not exact"),
            span,
            "too fine a fraction",
        )
        .help("bytes and counts are whole, durations whole nanoseconds, ratios whole millionths"),
        LiteralError::NotANumber | _ => {
            Diagnostic::error("K0003", format!("`{shown}` is not a number"), span, "here")
                .help("write digits, then the unit: `512MiB`, `0x1f`, `1_000`")
        }
    });
    TokenKind::Wrong
}

/// `\"`, `\\`, `\n`, `\t` and `\xHH`.
fn unescape(body: &str, span: Span, diagnostics: &mut Vec<Diagnostic>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.chars();
    loop {
        // The body starts behind the opening quote.
        let start = span.start + 1 + body.len() - rest.as_str().len();
        let Some(c) = rest.next() else { return bytes };
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let byte = match rest.next() {
            Some('"') => Some(b'"'),
            Some('\\') => Some(b'\\'),
            Some('n') => Some(b'\n'),
            Some('t') => Some(b'\t'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                // A column's text ends at its first zero byte.
                let hex = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                u8::from_str_radix(&digits, 16).ok().filter(|&byte| hex && byte != 0)
            }
            _ => None,
        };
        let end = span.start + 1 + body.len() - rest.as_str().len();
        match byte {
            Some(byte) => bytes.push(byte),
            None => diagnostics.push(
                Diagnostic::error("K0009", "unknown escape in a text", Span { start, end }, "here")
                    .help("escapes are \\\" \\\\ \\n \\t and \\xHH, but not \\x00"),
            ),
        }
    }
}
