//! Rendering: records, tables and numbers as text for people and for programs.
//!
//! The commands hand in what they found; nothing here reads or decides anything.
//!
//! **Invariant**: bytes that a process chose (its name, a path) reach a terminal or a file
//! only escaped.

pub(crate) mod csv;
pub(crate) mod escape;
pub(crate) mod header;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod records;
pub(crate) mod rings;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod value;

use clap::ValueEnum;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns with units for people
    Table,
    /// One JSON object a line, numbers in base units
    Json,
    /// Comma-separated values with a header line, numbers in base units
    Csv,
}
