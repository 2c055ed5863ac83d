//! `kfilter read`: one sweep of a loaded filter, now.
//!
//! With privilege the records are typed; without it the lines of the filter's `text` file
//! are passed on, when its mode allows that.

use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::records::{Look, Stream};
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use kfilter_loader::keep::Keepers;
use kfilter_loader::pin::Pins;
use kfilter_loader::{ErrorClass, LoadError};
use std::io::Write as _;

/// Sweep a loaded filter once and show what matches
///
/// Without privilege it shows the lines of /sys/fs/bpf/kfilter/NAME/text, as cat(1) does, where
/// the filter was loaded with a mode that lets it.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::cli::EXIT_STATUS)]
pub(crate) struct Args {
    /// Name of a loaded filter
    name: String,

    /// How records are written
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// Sweeps and shows.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    match Keepers::running().open(&args.name) {
        Ok((_, meta, mut session)) => {
            let mut sweep = session.sweep().map_err(|error| failure(&error))?;
            if let Some(top) = meta.filter.top {
                sweep.records.apply_top(&meta.filter.record, top);
            }
            let look = Look {
                format: args.format,
                style: Style::for_stdout(color),
                width: stdout_width(),
            };
            let text = Stream::default().render(&meta.filter, &sweep.records, look);
            std::io::stdout().write_all(text.as_bytes())?;
            Ok(matched(!sweep.records.is_empty()))
        }
        Err(error) if error.class() == ErrorClass::Privilege => pass_on(args, &error),
        Err(error) => Err(failure(&error)),
    }
}

/// The pinned file's own lines.
fn pass_on(args: &Args, error: &LoadError) -> Result<Exit, Failure> {
    let lines = std::fs::read(Pins::running().text_path(&args.name)).map_err(|_| failure(error))?;
    if args.format != Format::Table {
        return Err(failure(error).help("the filter's file gives lines only: `--format table`"));
    }
    std::io::stdout().write_all(&lines)?;
    // Remarks on the sweep are no records.
    Ok(matched(!lines.is_empty() && !lines.starts_with(b"#")))
}

const fn matched(is_any: bool) -> Exit {
    if is_any { Exit::Success } else { Exit::NothingMatched }
}
