//! `kfilter run`: compiles or opens filters, sweeps, shows what matched.

use crate::drive::{Answer, Drive};
use crate::exit::{Exit, Failure};
use crate::output::records::{Look, Stream};
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::output::{Format, human};
use crate::schedule::{DEFAULT_INTERVAL, Schedule};
use crate::session::{Loaded, Selection};
use kfilter_loader::host::Sweep;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Run filters and show what matches
///
/// Without --every and --count, each filter is swept until it can answer: once; twice, a
/// second apart, when it compares with an earlier sweep; and on until a `for` has passed.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::cli::EXIT_STATUS)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Keep sweeping, this far apart
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    every: Option<Duration>,

    /// Make exactly this many sweeps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How records are written
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    /// No statistics and notes on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Sweeps until every filter has answered or the stream ends.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let notes = Notes { is_quiet: args.quiet };
    let loaded = args.selection.load(color, |note| notes.say(note))?;
    let is_stream = args.every.is_some() || args.count.is_some();
    let schedule = |loaded: &Loaded| {
        if is_stream {
            Schedule::stream(args.every.unwrap_or(DEFAULT_INTERVAL), args.count)
        } else {
            Schedule::answer(loaded.needs_two_sweeps(), loaded.hold, DEFAULT_INTERVAL)
        }
    };
    let mut drive = Drive::new(loaded, schedule);
    announce_wait(drive.first_answer_after(), &notes);

    let look = Look { format: args.format, style: Style::for_stdout(color), width: stdout_width() };
    let with_titles = drive.len() > 1 && args.format == Format::Table;
    let show_stats = !is_stream || args.format == Format::Table;
    let mut streams: Vec<Stream> = (0..drive.len()).map(|_| Stream::default()).collect();
    let mut has_matched = false;
    while let Some(Answer { index, loaded, sweep }) = drive.next_answer() {
        let sweep = sweep?;
        let mut text = String::new();
        if with_titles && !sweep.records.is_empty() {
            text.push_str(&look.style.bold(&loaded.filter.name));
            text.push('\n');
        }
        text.push_str(&streams[index].render(&loaded.filter, &sweep.records, look));
        has_matched |= !sweep.records.is_empty();
        // One write a sweep: a reader of a stream never waits for half a record.
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if show_stats || sweep.stats.dropped > 0 {
            notes.say(&statistics(loaded, &sweep));
        }
    }
    Ok(if has_matched { Exit::Success } else { Exit::NothingMatched })
}

fn announce_wait(longest: Duration, notes: &Notes) {
    if longest > DEFAULT_INTERVAL && std::io::stderr().is_terminal() {
        let ns = i64::try_from(longest.as_nanos()).unwrap_or(i64::MAX);
        notes.say(&format!("sweeping for {} until the filter can answer", human::duration(ns)));
    }
}

/// `cpu_hog: 2 of 345 process rows matched, 3 unreadable, in 0.3ms on the bpf host`.
fn statistics(loaded: &Loaded, sweep: &Sweep) -> String {
    let stats = &sweep.stats;
    let filter = &loaded.filter;
    let mut text = format!(
        "{}: {} of {} {} rows matched",
        filter.name, stats.matched, stats.visited, filter.table
    );
    for (count, word) in [
        (stats.unreadable, "unreadable"),
        (stats.warming, "without enough history"),
        (stats.dropped, "dropped"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    let shown = sweep.records.len() as u64;
    if filter.top.is_some() && shown < stats.matched {
        text.push_str(&format!(", top {shown} shown"));
    }
    let took = i64::try_from(stats.took_ns).unwrap_or(i64::MAX);
    text.push_str(&format!(", in {} on the {} host", human::duration(took), loaded.host.name()));
    text
}

/// What is said beside the results.
struct Notes {
    is_quiet: bool,
}

impl Notes {
    fn say(&self, note: &str) {
        if !self.is_quiet {
            // When standard error is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{note}");
        }
    }
}
