//! The subcommands: each has its arguments and a `run`.

pub(crate) mod completions;
pub(crate) mod fields;
pub(crate) mod man;
