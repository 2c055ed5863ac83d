//! Syntax tree to checked filters: names, types, units and rules.
//!
//! [`scope`] resolves names, [`expr`] types expressions and makes every conversion of
//! scales explicit after [`units`], [`text`] knows texts and [`functions`] the calls,
//! [`clauses`] the rules of clauses, [`group`] those of whole-table results, and [`limit`]
//! those of what follows a match.
//!
//! **Invariant**: a filter is returned only if nothing was wrong with it; every mistake of
//! the file is reported once.

mod clauses;
mod expr;
mod functions;
mod group;
mod limit;
#[cfg(test)]
mod properties;
mod scope;
#[cfg(test)]
mod tests;
mod text;
mod units;

use crate::diagnostic::{Diagnostic, Severity};
use crate::hir::{Filter, Span};
use crate::syntax;

/// The filters of a source text that are right, and what is to be said of the rest.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// The filters without mistakes, in the order of the source.
    pub filters: Vec<Filter>,
    /// Errors and warnings, in the order of the source.
    pub diagnostics: Vec<Diagnostic>,
}

impl Analysis {
    /// Whether there is an error: nothing is to be compiled then.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Most diagnostics of one file: nobody reads more, and binary junk would give many.
const DIAGNOSTICS_MAX: usize = 200;

/// Reads and checks a source text. Never fails: what is wrong is in the diagnostics.
#[must_use]
pub fn parse_and_check(source: &str) -> Analysis {
    let mut diagnostics = Vec::new();
    let trees = syntax::parse(source, &mut diagnostics);
    let mut filters: Vec<Filter> = Vec::new();
    for tree in &trees {
        if let Some(first) = trees.iter().find(|other| other.name.text == tree.name.text)
            && first.name.span != tree.name.span
        {
            diagnostics.push(
                Diagnostic::error(
                    "K0014",
                    format!("there are two filters called `{}`", tree.name.text),
                    tree.name.span,
                    "the second one",
                )
                .label(first.name.span, "the first one"),
            );
        }
        filters.extend(clauses::check(tree, &mut diagnostics));
    }
    refuse_companions_names(&filters, &mut diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.span.start);
    shorten(&mut diagnostics);
    Analysis { filters, diagnostics }
}

/// A `leave` condition becomes a filter of its own, whose name must be free.
fn refuse_companions_names(filters: &[Filter], diagnostics: &mut Vec<Diagnostic>) {
    for filter in filters.iter().filter(|f| f.limit.as_ref().is_some_and(|l| l.leave.is_some())) {
        let name = format!("{}_leave", filter.name);
        if let Some(other) = filters.iter().find(|other| other.name == name) {
            let message = format!("the name `{name}` is taken by the `leave` of `{}`", filter.name);
            diagnostics.push(
                Diagnostic::error("K0014", message, other.name_span, "cannot have this name")
                    .label(filter.name_span, "has a `leave` condition"),
            );
        }
    }
}

/// Keeps the first errors and warnings, and says how many were left out.
fn shorten(diagnostics: &mut Vec<Diagnostic>) {
    let rest = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    let Some(last) = diagnostics.get(DIAGNOSTICS_MAX).filter(|_| rest > 0) else { return };
    let span = Span { start: last.primary.span.start, end: last.primary.span.start };
    let message = format!("{rest} more mistakes are not shown");
    diagnostics.truncate(DIAGNOSTICS_MAX);
    diagnostics.push(Diagnostic::error("K0048", message, span, "the next one is here"));
}
