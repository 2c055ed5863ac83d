//! `kfilter replay`: filters over what was measured before, on the vm host.

use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::Format;
use crate::output::records::{Look, Stream};
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use kernel_vm::abi::FIXED_ONE;
use kernel_vm::schema::Table;
use kfilter_loader::host::vm::{VmSession, series};
use kfilter_loader::params::{self, Given, SystemValues};
use kfilter_loader::record::{Value, fields};
use kfilter_loader::snapshot::Snapshot;
use kfilter_loader::{Object, Request, Session as _};
use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

/// The filter of a series when none is given.
const SERIES: &str = include_str!("replay.kf");

/// What its parameters are when they are not given, in the series' usual distance of two points:
/// what `unusual` has by default when it sweeps every second.
const SERIES_TICKS: [(&str, i64); 2] = [("window", 300), ("recent", 5)];

/// Run a filter over a recording, or over a plain series of numbers
///
/// A series is a CSV file of time and value; the answer is `time,value,score`, a score for
/// each point: by how many deviations the values have lately been away from what was usual, empty
/// until one window has passed; `unusual` reports scores above 2. A time is a number of seconds or
/// YYYY-MM-DD HH:MM:SS. Without a filter of your own, `-p window=1d` says what counts as usual (300
/// times the distance of two points) and `-p recent=30min` what counts as lately (5 times).
#[derive(Debug, clap::Args)]
#[command(after_help = crate::cli::EXIT_STATUS)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct Args {
    /// Source text or object whose first filter is run; a series may do without
    #[arg(value_name = "FILE", required_unless_present = "series")]
    file: Option<PathBuf>,

    /// A series: a CSV file with the columns time and value
    #[arg(long, value_name = "CSV", group = "source")]
    series: Option<PathBuf>,

    /// A recording made by `kfilter record`
    #[arg(long, value_name = "SNAPSHOT", group = "source")]
    snapshot: Option<PathBuf>,

    /// The column that takes the series' values, in millionths
    #[arg(long, value_name = "NAME", default_value = "rss", conflicts_with = "snapshot")]
    column: String,

    /// The field that is the score
    #[arg(long, value_name = "NAME", default_value = "score", conflicts_with = "snapshot")]
    score: String,

    /// Give a parameter another value
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = params::split)]
    params: Vec<Given>,

    /// How records of a recording are written
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// Replays.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let mut say = |note: &str| eprintln!("{note}");
    let bytes = match &args.file {
        Some(path) => input::object(path, color, &mut say)?,
        None => input::compile(Path::new("series.kf"), SERIES, color, &mut say)?.object,
    };
    let path = args.file.as_deref().unwrap_or(Path::new("series.kf"));
    let object = input::parse(path, &bytes)?;
    match (&args.series, &args.snapshot) {
        (Some(csv), _) => of_series(args, &object, csv),
        (None, Some(recording)) => of_recording(args, &object, recording, color),
        (None, None) => Err(Failure::new(Exit::BadInput, "give --series or --snapshot")),
    }
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::BadInput, format_args!("{}: {why}", path.display()))
}

fn request<'o>(
    params: &[Given],
    object: &'o Object,
    system: SystemValues,
) -> Result<Request<'o>, Failure> {
    let first = object.filters().first();
    let name = first.ok_or_else(|| Failure::new(Exit::BadInput, "there is no filter in it"))?;
    Request::new(object, &name.name, params, system).map_err(|error| failure(&error))
}

fn of_series(args: &Args, object: &Object, csv: &Path) -> Result<Exit, Failure> {
    let file = std::fs::File::open(csv).map_err(|error| bad(csv, error))?;
    let points = series::parse(BufReader::new(file)).map_err(|error| bad(csv, error))?;
    let mut params = args.params.clone();
    if args.file.is_none() {
        params.extend(in_ticks(&points, &args.params));
    }
    let request = request(&params, object, SystemValues::default())?;
    let meta = &request.filter.record;
    if !meta.fields.iter().any(|field| field.name == args.score) {
        let message = format!("filter `{}` emits no `{}`", request.filter.name, args.score);
        return Err(Failure::new(Exit::BadInput, message).help("`--score` names the field"));
    }
    let records = series::replay(&request, &args.column, &points).map_err(|e| failure(&e))?;
    let mut out = String::from("time,value,score\n");
    let mut has_score = false;
    for (point, record) in points.iter().zip(&records) {
        let found = record.as_deref().and_then(|record| {
            let mut named = fields(meta, record);
            let (_, value) = named.find(|(field, _)| field.name == args.score)?;
            value.as_ref().and_then(Value::number)
        });
        let score = found.map_or(String::new(), millionths);
        has_score |= found.is_some();
        let _ = writeln!(out, "{},{},{score}", point.time, point.value);
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(if has_score { Exit::Success } else { Exit::NothingMatched })
}

/// Those of [`SERIES_TICKS`] that are not given.
fn in_ticks(points: &[series::Point], given: &[Given]) -> Vec<Given> {
    let distance = |pair: &[series::Point]| pair[1].time_ns.saturating_sub(pair[0].time_ns);
    let mut distances: Vec<i64> = points.windows(2).map(distance).filter(|ns| *ns > 0).collect();
    if distances.is_empty() {
        return Vec::new();
    }
    let middle = distances.len() / 2;
    let tick_ns = *distances.select_nth_unstable(middle).1;
    let is_given = |name: &str| given.iter().any(|(other, _)| other == name);
    SERIES_TICKS
        .into_iter()
        .filter(|(name, _)| !is_given(name))
        .map(|(name, ticks)| (name.to_owned(), format!("{}ns", tick_ns.saturating_mul(ticks))))
        .collect()
}

/// A number of millionths, exactly.
fn millionths(value: i64) -> String {
    let (whole, part) = (value / FIXED_ONE, (value % FIXED_ONE).abs());
    let sign = if value < 0 && whole == 0 { "-" } else { "" };
    format!("{sign}{whole}.{part:06}")
}

fn of_recording(
    args: &Args,
    object: &Object,
    path: &Path,
    color: ColorChoice,
) -> Result<Exit, Failure> {
    let file = std::fs::File::open(path).map_err(|error| bad(path, error))?;
    let recording = Snapshot::read(&mut BufReader::new(file)).map_err(|error| bad(path, error))?;
    let request = request(&args.params, object, recording.system())?;
    let filter = request.filter;
    let sweeps = Table::from_name(&filter.table).map_or(0, |table| recording.sweeps_of(table));
    if sweeps == 0 {
        return Err(bad(path, format_args!("no sweep of `{}` was recorded", filter.table)));
    }
    let play = recording.play();
    let mut session = VmSession::recorded(&request, play).map_err(|error| failure(&error))?;
    let look = Look { format: args.format, style: Style::for_stdout(color), width: stdout_width() };
    let mut stream = Stream::default();
    let mut has_matched = false;
    for _ in 0..sweeps {
        let mut sweep = session.sweep().map_err(|error| failure(&error))?;
        if let Some(top) = filter.top {
            sweep.records.apply_top(&filter.record, top);
        }
        has_matched |= !sweep.records.is_empty();
        let text = stream.render(filter, &sweep.records, look);
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(if has_matched { Exit::Success } else { Exit::NothingMatched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_are_exact() {
        assert_eq!(millionths(6_250_000), "6.250000");
        assert_eq!(millionths(-1), "-0.000001");
        assert_eq!(millionths(-2_500_000), "-2.500000");
        assert_eq!(millionths(i64::MIN), "-9223372036854.775808");
    }
}
