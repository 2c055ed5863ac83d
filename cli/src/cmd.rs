//! The subcommands: each has its arguments and a `run`.

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod probe;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod unload;
pub(crate) mod watch;
