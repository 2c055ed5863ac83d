//! `kfilter unload`: lets loaded filters go.

use crate::exit::{Exit, Failure};
use crate::session::failure;
use kfilter_loader::pin::Pins;

/// Unload filters
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of loaded filters
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,

    /// Every loaded filter
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Unloads; the first failure ends it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let pins = Pins::running();
    let names =
        if args.all { pins.list().map_err(|error| failure(&error))? } else { args.names.clone() };
    for name in &names {
        pins.unload(name).map_err(|error| failure(&error))?;
    }
    Ok(Exit::Success)
}
