//! `kfilter man`: the manual pages, made from the same text as `--help`.

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use clap::CommandFactory as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Write the manual pages
///
/// Without a directory, kfilter(1) goes to standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write one page for each subcommand
    directory: Option<PathBuf>,
}

/// Writes the pages.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let command = Cli::command();
    match &args.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            std::io::stdout().write_all(&page)?;
        }
        Some(directory) => clap_mangen::generate_to(command, directory).map_err(|error| {
            let directory = directory.display();
            Failure::new(Exit::CannotRun, format_args!("cannot write to {directory}: {error}"))
        })?,
    }
    Ok(Exit::Success)
}
