//! `kfilter list`: the filters that are loaded.

use crate::exit::{Exit, Failure};
use crate::output::human;
use crate::output::table::Table;
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use clap::ValueEnum;
use kfilter_loader::keep::{Keepers, KeptName};
use kfilter_loader::pin::PinMeta;
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
    let keepers = Keepers::running();
    let (names, failed) = keepers.names();
    if let Some(error) = failed {
        let failure = failure(&error);
        if names.is_empty() {
            return Err(failure);
        }
        crate::report(&failure, color);
    }
    let mut filters = Vec::new();
    for kept in names {
        let (meta, lost) = match keepers.show(&kept.name) {
            Ok((_, meta)) => {
                let counters = keepers.counters(&kept.name, &meta);
                let lost = counters.ok().and_then(|(_, resident)| Some(resident?.lost));
                (Some(meta), lost)
            }
            Err(error) => {
                eprintln!("{}: {error}", kept.name);
                (None, None)
            }
        };
        filters.push(Listed { kept, meta, lost });
    }
    let text = match args.format {
        ListFormat::Table => as_table(&filters, color),
        ListFormat::Json => as_json(&filters),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

/// A loaded filter.
struct Listed {
    kept: KeptName,
    /// What it is, when that can be told.
    meta: Option<PinMeta>,
    /// Records that nobody has read in time, of one that sweeps by itself.
    lost: Option<u64>,
}

fn as_table(filters: &[Listed], color: ColorChoice) -> String {
    if filters.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    for (title, right) in [
        ("NAME", false),
        ("HOST", false),
        ("FILTER", false),
        ("TABLE", false),
        ("EVERY", true),
        ("LOST", true),
        ("LOADED", true),
        ("PARAMETERS", false),
    ] {
        table.column(title, right);
    }
    for Listed { kept, meta, lost } in filters {
        let mut row = vec![kept.name.clone(), kept.host.name().to_owned()];
        let unknown = || human::UNKNOWN.to_owned();
        match meta {
            Some(meta) => row.extend([
                meta.filter.name.clone(),
                meta.filter.table.clone(),
                meta.every_ns.map_or_else(unknown, time),
                lost.map_or_else(unknown, |lost| lost.to_string()),
                age(meta.loaded_at) + " ago",
                params(meta),
            ]),
            None => row.resize(8, unknown()),
        }
        table.row(row);
    }
    table.render(stdout_width(), Style::for_stdout(color))
}

fn as_json(filters: &[Listed]) -> String {
    let mut out = String::new();
    for Listed { kept, meta, lost } in filters {
        let value = serde_json::json!({
            "name": kept.name,
            "host": kept.host.name(),
            "filter": meta.as_ref().map(|meta| &meta.filter.name),
            "table": meta.as_ref().map(|meta| &meta.filter.table),
            "source": meta.as_ref().map(|meta| &meta.source),
            "loaded_at": meta.as_ref().map(|meta| meta.loaded_at),
            "params": meta.as_ref().map(|meta| &meta.params),
            "every_ns": meta.as_ref().and_then(|meta| meta.every_ns),
            "lost": lost,
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
    time(now.saturating_sub(loaded_at).saturating_mul(1_000_000_000))
}

fn time(ns: u64) -> String {
    human::duration(i64::try_from(ns).unwrap_or(i64::MAX))
}
