//! The subcommands: each has its arguments and a `run`.

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod fields;
pub(crate) mod man;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod watch;
