//! `kfilter list`: the filters that are loaded.

use crate::exit::{Exit, Failure};
use crate::output::human;
use crate::output::table::Table;
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use clap::ValueEnum;
use kfilter_loader::pin::{PinMeta, Pins};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// List loaded filters
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to write them
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// Aligned columns
    Table,
    /// One JSON object a line
    Json,
}

/// Lists them; one that cannot be looked at is listed all the same.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let pins = Pins::running();
    let names = pins.list().map_err(|error| failure(&error))?;
    let mut filters = Vec::new();
    for name in names {
        match pins.show(&name) {
            Ok(meta) => filters.push((name, Some(meta))),
            Err(error) => {
                eprintln!("{name}: {error}");
                filters.push((name, None));
            }
        }
    }
    let text = match args.format {
        ListFormat::Table => as_table(&filters, color),
        ListFormat::Json => as_json(&filters),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

fn as_table(filters: &[(String, Option<PinMeta>)], color: ColorChoice) -> String {
    if filters.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    for (title, right) in [
        ("NAME", false),
        ("FILTER", false),
        ("TABLE", false),
        ("LOADED", true),
        ("PARAMETERS", false),
    ] {
        table.column(title, right);
    }
    for (name, meta) in filters {
        let mut row = vec![name.clone()];
        match meta {
            Some(meta) => row.extend([
                meta.filter.name.clone(),
                meta.filter.table.clone(),
                age(meta.loaded_at) + " ago",
                params(meta),
            ]),
            None => row.resize(5, human::UNKNOWN.to_owned()),
        }
        table.row(row);
    }
    table.render(stdout_width(), Style::for_stdout(color))
}

fn as_json(filters: &[(String, Option<PinMeta>)]) -> String {
    let mut out = String::new();
    for (name, meta) in filters {
        let value = serde_json::json!({
            "name": name,
            "filter": meta.as_ref().map(|meta| &meta.filter.name),
            "table": meta.as_ref().map(|meta| &meta.filter.table),
            "source": meta.as_ref().map(|meta| &meta.source),
            "loaded_at": meta.as_ref().map(|meta| meta.loaded_at),
            "params": meta.as_ref().map(|meta| &meta.params),
        });
        let _ = writeln!(out, "{value}");
    }
    out
}

/// The parameters that were given, as they were.
pub(super) fn params(meta: &PinMeta) -> String {
    let given: Vec<String> =
        meta.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    given.join(" ")
}

/// How long ago a time in seconds since 1970 was.
pub(super) fn age(loaded_at: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let ns = now.saturating_sub(loaded_at).saturating_mul(1_000_000_000);
    human::duration(i64::try_from(ns).unwrap_or(i64::MAX))
}
