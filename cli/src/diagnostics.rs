//! The compiler's diagnostics as text with the source line and the place marked.
//!
//! **Invariant**: spans may point anywhere; they are brought within the text first.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use kfilter_compiler::diagnostic::{Diagnostic, Label, Severity};
use std::ops::Range;

/// Every diagnostic on `text`, which came from `source`, one after another, then a line
/// that counts them.
pub(crate) fn render(source: &str, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(renderer.render(&report(source, text, diagnostic)).trim_end());
        out.push_str("\n\n");
    }
    out.push_str(&count(diagnostics));
    out
}

fn report<'a>(source: &'a str, text: &'a str, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut snippet = Snippet::source(text).path(source);
    let labels = std::iter::once((AnnotationKind::Primary, &diagnostic.primary))
        .chain(diagnostic.secondary.iter().map(|label| (AnnotationKind::Context, label)));
    for (kind, Label { span, text: label }) in labels {
        let annotation = kind.span(within(text, span.start..span.end));
        snippet = snippet.annotation(if label.is_empty() {
            annotation
        } else {
            annotation.label(label.as_str())
        });
    }
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let mut main = title.element(snippet);
    for help in &diagnostic.help {
        main = main.element(Level::HELP.message(help.as_str()));
    }
    vec![main]
}

fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

fn count(diagnostics: &[Diagnostic]) -> String {
    let of = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (of(Severity::Error), of(Severity::Warning)) {
        (0, 0) => String::new(),
        (0, warnings) => format!("{}\n", plural(warnings, "warning")),
        (errors, 0) => format!("{}\n", plural(errors, "error")),
        (errors, warnings) => {
            format!("{}, {}\n", plural(errors, "error"), plural(warnings, "warning"))
        }
    }
}

#[cfg(test)]
mod suite;

#[cfg(test)]
mod tests {
    use super::*;
    use kfilter_compiler::diagnostic::Span;

    const TEXT: &str = "filter hog on process {\n    where rss > 10s\n    emit pid\n}\n";

    fn label(start: usize, end: usize, text: &str) -> Label {
        Label { span: Span { start, end }, text: text.into() }
    }

    fn diagnostic(primary: Label, secondary: Vec<Label>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "K0012",
            message: "bytes cannot be compared with a duration".into(),
            primary,
            secondary,
            help: vec!["write a size, such as `512MiB`".into()],
        }
    }

    #[test]
    fn the_place_is_shown_with_labels_and_help() {
        let given = diagnostic(label(40, 43, "a duration"), vec![label(34, 37, "bytes")]);
        insta::assert_snapshot!(render("hog.kf", TEXT, &[given], false));
    }

    #[test]
    fn spans_outside_the_text_do_no_harm() {
        for (start, end) in [(0, 0), (TEXT.len(), TEXT.len()), (9999, 99999), (50, 3)] {
            let given = diagnostic(label(start, end, ""), Vec::new());
            assert!(render("hog.kf", TEXT, std::slice::from_ref(&given), true).contains("K0012"));
            assert!(render("hog.kf", "", &[given], false).contains("K0012"));
        }
        let given = diagnostic(label(1, 2, "inside a character"), Vec::new());
        assert!(render("hog.kf", "ž", &[given], false).contains("K0012"));
    }
}
