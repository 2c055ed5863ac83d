//! `kfilter probe`: a verdict for monitors, cluster managers and service managers.
//!
//! **Invariant**: whatever goes wrong inside ends as UNKNOWN, never as OK.

use crate::drive::{Answer, Drive};
use crate::exit::Failure;
use crate::output::records::{Look, Stream, offender};
use crate::output::terminal::{ColorChoice, Style};
use crate::output::{Format, escape, human};
use crate::probe::line::{self, Finding};
use crate::probe::notify::Notifier;
use crate::probe::{Status, judge, of_record};
use crate::schedule::Schedule;
use crate::session::{Loaded, Selection};
use clap::ValueEnum;
use kernel_vm::object::Severity;
use kfilter_loader::host::Sweep;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Say OK, WARNING, CRITICAL or UNKNOWN, as monitoring plugins do
///
/// Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. One line with performance data, then
/// the offenders. An internal error is never 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The severity of filters that do not say theirs
    #[arg(long, value_name = "SEVERITY", default_value = "critical")]
    severity: DefaultSeverity,

    /// The answer comes within this time
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse, default_value = "1s")]
    within: Duration,

    /// For whom the verdict is
    #[arg(long, value_name = "STYLE", default_value = "plugin")]
    style: ProbeStyle,

    /// Stay and sweep this far apart, as a service that feeds the watchdog
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    every: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DefaultSeverity {
    /// A match is a WARNING
    Warning,
    /// A match is a CRITICAL
    Critical,
}

/// Who reads the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProbeStyle {
    /// Monitoring plugins, keepalived, exec probes
    Plugin,
    /// node-problem-detector: one short line; exit 0 OK, 1 problem, 2 unknown
    Npd,
}

impl ProbeStyle {
    fn exit_code(self, status: Status) -> ExitCode {
        ExitCode::from(self.code(status))
    }

    const fn code(self, status: Status) -> u8 {
        match (self, status) {
            (Self::Plugin, status) => status as u8,
            (Self::Npd, Status::Ok) => 0,
            (Self::Npd, Status::Warning | Status::Critical) => 1,
            (Self::Npd, Status::Unknown) => 2,
        }
    }

    fn text(self, findings: &[Finding]) -> String {
        match self {
            Self::Plugin => line::plugin(findings),
            Self::Npd => line::npd(findings) + "\n",
        }
    }

    fn unknown(self, reason: &str) -> String {
        let reason = escape::visible(reason.lines().next().unwrap_or("internal error").as_bytes());
        match self {
            Self::Plugin => format!("KFILTER UNKNOWN - {}\n", reason.replace('|', "\\x7c")),
            Self::Npd => line::clip(&reason) + "\n",
        }
    }
}

/// The exit status of a usage error: a probe's UNKNOWN, not the CRITICAL that 2 would mean.
pub(crate) const USAGE_EXIT: u8 = Status::Unknown as u8;

/// Asks, answers and says the exit status.
pub(crate) fn run(args: &Args, color: ColorChoice) -> ExitCode {
    match args.every {
        Some(every) => serve(args, color, every),
        None => once(args, color),
    }
}

fn once(args: &Args, color: ColorChoice) -> ExitCode {
    let has_answered = Arc::new(AtomicBool::new(false));
    watch_the_clock(args, Arc::clone(&has_answered));
    let verdict = ask(args, color);
    if has_answered.swap(true, Ordering::SeqCst) {
        // The clock has spoken and is about to end the process.
        std::thread::sleep(Duration::from_secs(60));
    }
    let (text, status) = match verdict {
        Ok(findings) => (args.style.text(&findings), line::overall(&findings)),
        Err(failure) => (args.style.unknown(&failure.summary()), Status::Unknown),
    };
    let status = if say(&text) { status } else { Status::Unknown };
    args.style.exit_code(status)
}

/// Says UNKNOWN and ends the process when no answer has come in time: whatever it is that
/// hangs, the monitor must not.
fn watch_the_clock(args: &Args, has_answered: Arc<AtomicBool>) {
    let (style, within) = (args.style, args.within);
    std::thread::spawn(move || {
        std::thread::sleep(within * 19 / 20);
        if !has_answered.swap(true, Ordering::SeqCst) {
            let ns = i64::try_from(within.as_nanos()).unwrap_or(i64::MAX);
            say(&style.unknown(&format!("no answer within {}", human::duration(ns))));
            std::process::exit(i32::from(style.code(Status::Unknown)));
        }
    });
}

fn ask(args: &Args, color: ColorChoice) -> Result<Vec<Finding>, Failure> {
    let began = Instant::now();
    let loaded = args.selection.load(color, |_| ())?;
    let interval = args.within / 2;
    let mut drive = Drive::new(loaded, |loaded| {
        Schedule::answer(loaded.needs_two_sweeps(), loaded.hold, interval)
    });
    let needed = drive.first_answer_after();
    if needed + began.elapsed() > args.within * 9 / 10 {
        let ns = i64::try_from(needed.as_nanos()).unwrap_or(i64::MAX);
        return Err(Failure::new(
            crate::exit::Exit::CannotRun,
            format_args!(
                "the filter must be watched for {} before it can answer: raise --within, lower \
                 its hold, or load it first",
                human::duration(ns)
            ),
        ));
    }
    let mut findings = Vec::new();
    while let Some(Answer { loaded, sweep, .. }) = drive.next_answer() {
        findings.push(finding(args, loaded, &sweep?));
    }
    Ok(findings)
}

fn serve(args: &Args, color: ColorChoice, every: Duration) -> ExitCode {
    let notifier = Notifier::from_environment();
    match notifier
        .map_err(|error| format!("NOTIFY_SOCKET: {error}"))
        .and_then(|notifier| sweep_for_ever(args, color, every, &notifier))
    {
        Ok(never) => match never {},
        Err(reason) => {
            say(&args.style.unknown(&reason));
            args.style.exit_code(Status::Unknown)
        }
    }
}

fn sweep_for_ever(
    args: &Args,
    color: ColorChoice,
    every: Duration,
    notifier: &Notifier,
) -> Result<std::convert::Infallible, String> {
    let failed = |failure: Failure| {
        let reason = failure.summary();
        // The manager may be gone; the reason is on standard output in any case.
        let _ = notifier.failed(&reason);
        reason
    };
    let loaded = args.selection.load(color, |_| ()).map_err(failed)?;
    let mut drive = Drive::new(loaded, |_| Schedule::stream(every, None));
    let mut findings: Vec<Option<Finding>> = (0..drive.len()).map(|_| None).collect();
    let mut said: Option<Status> = None;
    loop {
        let Some(Answer { index, loaded, sweep }) = drive.next_answer() else {
            return Err("no filter to sweep".to_owned());
        };
        findings[index] = Some(finding(args, loaded, &sweep.map_err(failed)?));
        // A round is complete when its last filter has been swept.
        if index + 1 < findings.len() || findings.iter().any(Option::is_none) {
            continue;
        }
        let round: Vec<Finding> = findings.iter_mut().filter_map(Option::take).collect();
        let status = line::overall(&round);
        let summary = format!("{} - {}", status.name(), line::summary(&round));
        let told = match said {
            None => notifier.ready().and_then(|()| notifier.swept(&summary)),
            Some(_) => notifier.swept(&summary),
        };
        told.map_err(|error| format!("NOTIFY_SOCKET: {error}"))?;
        if said != Some(status) && !say(&args.style.text(&round)) {
            return Err("standard output is closed".to_owned());
        }
        said = Some(status);
    }
}

fn finding(args: &Args, loaded: &Loaded, sweep: &Sweep) -> Finding {
    let filter = &loaded.filter;
    let default = match args.severity {
        DefaultSeverity::Warning => Severity::Warning,
        DefaultSeverity::Critical => Severity::Critical,
    };
    let look =
        Look { format: Format::Table, style: Style::for_stdout(ColorChoice::Never), width: None };
    let verdicts = sweep.records.iter().map(|record| of_record(&filter.record, record));
    Finding {
        filter: filter.name.clone(),
        status: judge(filter.severity, default, verdicts, &sweep.stats),
        offenders: sweep.records.iter().map(|record| offender(&filter.record, record)).collect(),
        table: Stream::default().render(filter, &sweep.records, look),
        stats: sweep.stats,
    }
}

/// Writes to standard output; false when nobody can have read it.
fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
