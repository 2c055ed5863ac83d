//! The `kfilter` binary as its users meet it: arguments, files, output, exit status.

mod acting;
mod bad_input;
mod formats;
mod help;
mod kept;
mod loaded;
mod private;
mod privilege;
mod probe;
mod replay;
mod support;
mod text;
mod watch;
