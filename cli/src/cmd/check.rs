//! `kfilter check`: is it valid, and what does it cost at most?

use crate::exit::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::table::Table;
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use kernel_vm::object::FilterMeta;
use kfilter_loader::Object;
use kfilter_loader::cost::cost;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Check filters and print their bounds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Source texts or compiled objects; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print nothing when all is well
    #[arg(short, long)]
    quiet: bool,

    /// Treat warnings as errors
    #[arg(short = 'W', long)]
    warnings: bool,
}

/// Checks every file; all errors of all files are shown.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let mut table = Table::new();
    for title in ["FILTER", "TABLE"] {
        table.column(title, false);
    }
    for title in ["RECORD", "KEPT A ROW", "KEPT A GROUP", "BPF INSNS", "VM INSNS A ROW"] {
        table.column(title, true);
    }
    let mut is_bad = false;
    let mut has_rows = false;
    for path in &args.files {
        match check(path, args, color) {
            Ok(rows) => {
                has_rows |= !rows.is_empty();
                rows.into_iter().for_each(|row| table.row(row));
            }
            Err(failure) if args.files.len() == 1 => return Err(failure),
            Err(failure) => {
                is_bad = true;
                crate::report(&failure, color);
            }
        }
    }
    if has_rows && !args.quiet {
        let text = table.render(stdout_width(), Style::for_stdout(color));
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(if is_bad { Exit::BadInput } else { Exit::Success })
}

/// A row for each filter of a file.
fn check(path: &Path, args: &Args, color: ColorChoice) -> Result<Vec<Vec<String>>, Failure> {
    let mut has_warnings = false;
    let bytes = match input::read(path)? {
        Input::Source(text) => {
            let mut say = |note: &str| {
                has_warnings = true;
                // When standard error is closed there is nobody left to tell.
                let _ = writeln!(std::io::stderr(), "{note}");
            };
            input::compile(path, &text, color, &mut say)?.object
        }
        Input::Object(bytes) => bytes,
    };
    if has_warnings && args.warnings {
        return Err(Failure::new(Exit::BadInput, "there are warnings"));
    }
    let object = input::parse(path, &bytes)?;
    if object.filters().is_empty() {
        let message = format!("{} has no filter of kfilter's", path.display());
        return Err(Failure::new(Exit::BadInput, message));
    }
    object.filters().iter().map(|filter| row(&object, filter)).collect()
}

fn row(object: &Object, filter: &FilterMeta) -> Result<Vec<String>, Failure> {
    let cost = cost(object, filter).map_err(|error| failure(&error))?;
    let group = match cost.kept.distinct {
        0 => format!("{} B", cost.kept.group),
        distinct => format!("{} B + {distinct} B a value", cost.kept.group),
    };
    Ok(vec![
        filter.name.clone(),
        filter.table.clone(),
        format!("{} B", cost.record_bytes),
        format!("{} B", cost.kept.row),
        group,
        cost.bpf_insns.to_string(),
        cost.vm_insns.to_string(),
    ])
}
