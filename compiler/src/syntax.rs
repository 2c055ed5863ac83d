//! Source text to syntax tree.
//!
//! [`token`] cuts the text into tokens (nom over the text), [`parser`] and [`expr`] build
//! the tree with a [`cursor`]. A mistake is reported and reading goes on at the next clause, so that one run
//! finds every mistake of a file.
//!
//! **Invariant**: total on any text; work is linear in it, nesting is limited, and every
//! span lies within it.

pub(crate) mod ast;
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "a parser names the few tokens that it takes; every other is the same mistake"
)]
mod cursor;
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "a parser names the few tokens that it takes; every other is the same mistake"
)]
mod expr;
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "a parser names the few tokens that it takes; every other is the same mistake"
)]
mod parser;
pub(crate) mod token;

pub(crate) use parser::parse;

/// Longest source text, in bytes: a filter is ten lines, not a program.
pub const SOURCE_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting of expressions.
pub(crate) const NESTING_MAX: usize = 64;
/// Longest name that a filter gives, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Most filters of a file.
pub(crate) const FILTERS_MAX: usize = 256;
/// Most clauses of a filter.
pub(crate) const CLAUSES_MAX: usize = 256;
/// Most values, names and operators of a filter.
pub(crate) const NODES_MAX: usize = 4096;
