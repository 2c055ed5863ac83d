//! `kfilter completions`: a completion script for a shell.

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io::Write as _;

/// Write the completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kfilter", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Success)
}
