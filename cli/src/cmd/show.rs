//! `kfilter show`: what a loaded filter is.

use crate::cmd::list::{age, params};
use crate::exit::{Exit, Failure};
use crate::limits;
use crate::output::escape::visible;
use crate::output::human;
use crate::output::value::shown_fields;
use crate::session::failure;
use kernel_vm::abi::{ResidentStats, SweepStats};
use kernel_vm::object::FilterMeta;
use kfilter_loader::keep::Keepers;
use kfilter_loader::pin::{ActCounts, Pins, Spared};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

/// Show what a loaded filter is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a loaded filter
    name: String,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let keepers = Keepers::running();
    let (host, meta) = keepers.show(&args.name).map_err(|error| failure(&error))?;
    let filter = &meta.filter;
    let mut out = String::new();
    for line in filter.doc.lines() {
        let _ = writeln!(out, "{}", format!("# {}", visible(line.as_bytes())).trim_end());
    }
    let _ = writeln!(out, "filter   {} on {}", filter.name, filter.table);
    let _ = writeln!(out, "source   {}", visible(meta.source.as_bytes()));
    let _ = writeln!(out, "loaded   {} ago on the {} host", age(meta.loaded_at), host.name());
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
    // What it is is known without its counters.
    if let Ok((sweep, resident)) = keepers.counters(&args.name, &meta) {
        push_counters(&mut out, sweep, resident);
    }
    let pins = Pins::running();
    if let Some(spared) = &meta.acting {
        push_acts(&mut out, filter, spared, pins.acts(&args.name).ok().flatten());
    }
    for (word, path) in [("text", pins.text_path(&args.name)), ("read", pins.read_path(&args.name))]
    {
        if let Ok(file) = std::fs::metadata(&path) {
            let mode = file.permissions().mode() & 0o777;
            let _ = writeln!(out, "{word:8} {} (mode {mode:04o})", path.display());
        }
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(Exit::Success)
}

/// What it does from the kernel, whom it spares, and what has come of it.
fn push_acts(out: &mut String, filter: &FilterMeta, spared: &Spared, counts: Option<ActCounts>) {
    let _ = writeln!(out, "acts     {}", limits::of_kernel(filter));
    let pids = spared.pids.iter().map(i32::to_string);
    let all: Vec<String> = pids.chain(spared.names.iter().cloned()).collect();
    let _ = writeln!(out, "spares   {}", visible(all.join(", ").as_bytes()));
    let Some(counts) = counts else { return };
    let ActCounts { sent, failed, withdrawn, refused, spent, silent } = counts;
    let _ = writeln!(
        out,
        "acted    {sent} signals sent, {failed} failed, {withdrawn} withdrawn; {refused} refused; \
         held back in {spent} sweeps by the budget, in {silent} as the evidence found no room",
    );
}

/// What has been counted since it was loaded.
fn push_counters(out: &mut String, sweep: SweepStats, resident: Option<ResidentStats>) {
    let time = |ns: u64| human::duration(i64::try_from(ns).unwrap_or(i64::MAX));
    if sweep.sweeps > 0 {
        let SweepStats { visited, matched, unreadable, dropped, took_ns, .. } = sweep;
        let _ = writeln!(
            out,
            "swept    {} times; the last took {}: {visited} rows, {matched} matched, \
             {unreadable} unreadable, {dropped} found no room",
            sweep.sweeps,
            time(took_ns)
        );
    }
    let Some(resident) = resident else { return };
    let ResidentStats { period_ns, ticks, skipped, emitted, lost, took_ns, .. } = resident;
    let _ = writeln!(
        out,
        "ticks    {ticks}, every {}, {skipped} skipped: {emitted} records found, {lost} lost",
        time(period_ns)
    );
    let elapsed = u128::from(ticks.saturating_add(skipped)) * u128::from(period_ns);
    let millionths = (u128::from(took_ns) * 1_000_000).checked_div(elapsed).unwrap_or(0);
    let _ = writeln!(
        out,
        "cost     {} of one CPU",
        human::fine_percent(i64::try_from(millionths).unwrap_or(i64::MAX))
    );
}
