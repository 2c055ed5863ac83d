//! `kfilter unload`: lets loaded filters go.

use crate::exit::{Exit, Failure};
use crate::session::failure;
use kfilter_loader::keep::Keepers;

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
    let keepers = Keepers::running();
    let names = if args.all {
        let (kept, failed) = keepers.names();
        if let Some(error) = failed {
            return Err(failure(&error));
        }
        kept.into_iter().map(|one| one.name).collect()
    } else {
        args.names.clone()
    };
    for name in &names {
        keepers.unload(name).map_err(|error| failure(&error))?;
    }
    Ok(Exit::Success)
}
