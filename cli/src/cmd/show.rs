//! `kfilter show`: what a loaded filter is.

use crate::cmd::list::{age, params};
use crate::exit::{Exit, Failure};
use crate::output::escape::visible;
use crate::output::value::shown_fields;
use crate::session::failure;
use kfilter_loader::pin::Pins;
use std::fmt::Write as _;
use std::io::Write as _;

/// Show what a loaded filter is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a loaded filter
    name: String,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let pins = Pins::running();
    let meta = pins.show(&args.name).map_err(|error| failure(&error))?;
    let filter = &meta.filter;
    let mut out = String::new();
    for line in filter.doc.lines() {
        let _ = writeln!(out, "{}", format!("# {}", visible(line.as_bytes())).trim_end());
    }
    let _ = writeln!(out, "filter   {} on {}", filter.name, filter.table);
    let _ = writeln!(out, "source   {}", visible(meta.source.as_bytes()));
    let _ = writeln!(out, "loaded   {} ago", age(meta.loaded_at));
    let given = params(&meta);
    if !given.is_empty() {
        let _ = writeln!(out, "given    {}", visible(given.as_bytes()));
    }
    for param in &filter.params {
        let _ = writeln!(out, "param    {} = {}  # {}", param.name, param.default, param.ty.0);
    }
    let fields: Vec<String> = shown_fields(&filter.record)
        .map(|field| format!("{} ({})", field.name, field.ty.0))
        .collect();
    let _ = writeln!(out, "emits    {}", fields.join(", "));
    let _ = writeln!(
        out,
        "bytes    {} a record, {} kept for each row",
        filter.record.size, filter.state_size
    );
    let path = pins.read_path(&args.name);
    if path.exists() {
        let _ = writeln!(out, "read     {}", path.display());
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(Exit::Success)
}
