//! Whatever is read: an answer, never a panic, and every place within the text.

use super::parse_and_check;
use crate::diagnostic::Severity;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_answered(source in "\\PC*") {
        check_total(&source);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_total(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn near_filters_are_answered(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        check_total(&words.join(" "));
    }

    #[test]
    fn broken_filters_are_answered(at in 0usize..900, cut in 0usize..40, with in "\\PC{0,4}") {
        let source = include_str!("../../../filters/cpu_hog.kf");
        let floor = |mut at: usize| { at = at.min(source.len()); while !source.is_char_boundary(at) { at -= 1; } at };
        let (start, end) = (floor(at), floor(at + cut));
        check_total(&format!("{}{with}{}", &source[..start], &source[end..]));
    }
}

const WORDS: &[&str] = &[
    "filter",
    "f",
    "on",
    "process",
    "thread",
    "mapping",
    "{",
    "}",
    "where",
    "emit",
    "let",
    "param",
    "=",
    "==",
    ">",
    "rss",
    "pid",
    "comm",
    "\"a\"",
    "10s",
    "80%",
    "1GiB",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "in",
    "rate",
    "mean",
    "cpu_time",
    "group",
    "by",
    "having",
    "sum",
    "count",
    "top",
    "5",
    "for",
    "if",
    "then",
    "else",
    "+",
    "-",
    "*",
    "/",
    "mod",
    "as",
    "x",
    "severity",
    "critical",
    "when",
    "limit",
    "after",
    "nice",
    "kill",
    "leave",
    "object",
    "size",
    "cycle",
    "waits_for",
    "##",
    "\n",
];

fn check_total(source: &str) {
    let analysis = parse_and_check(source);
    for diagnostic in &analysis.diagnostics {
        let spans = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
        for label in spans {
            assert!(label.span.start <= label.span.end && label.span.end <= source.len());
        }
    }
    for filter in &analysis.filters {
        for (index, expr) in filter.exprs.iter().enumerate() {
            assert!(expr.span.start <= expr.span.end && expr.span.end <= source.len());
            assert!(expr.kind.operands().iter().all(|operand| (operand.0 as usize) < index));
        }
    }
    let silent = analysis.diagnostics.iter().all(|each| each.severity == Severity::Warning);
    assert!(!silent || !analysis.filters.is_empty(), "neither a filter nor a word: {source:?}");
}
