//! `kfilter export`: numbers for Prometheus, records for the journal.

use crate::drive::{Answer, Drive};
use crate::exit::{Exit, Failure};
use crate::export::http::{self, Request, Response};
use crate::export::journal::{self, Entry, Journal};
use crate::export::metrics::{Cardinality, Collector};
use crate::export::{openmetrics, textfile};
use crate::output::json::scalar_text;
use crate::output::records::offender;
use crate::output::terminal::ColorChoice;
use crate::probe::notify::Notifier;
use crate::probe::{Status, of_record};
use crate::schedule::Schedule;
use crate::session::Selection;
use kernel_vm::object::{FilterMeta, Severity};
use kfilter_loader::record::{RecordBatch, Value, fields};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Threads that answer scrapes: that many slow clients at once do not keep others waiting.
const HTTP_THREADS: usize = 4;
/// Most records of one sweep that go to the journal; what is beyond is counted there.
const JOURNAL_RECORDS_MAX: usize = 500;

/// Serve metrics, write them to a file, send records to the journal
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The time between sweeps
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse, default_value = "15s")]
    every: Duration,

    /// Serve OpenMetrics at http://ADDRESS/metrics; 127.0.0.1:9743 when nothing else is asked
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Replace this file after each sweep, for node_exporter's textfile collector
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,

    /// Send each record to journald with its fields as KFILTER_…
    #[arg(long)]
    journald: bool,

    /// journald's socket
    #[arg(long, value_name = "PATH", default_value = journal::SOCKET, hide = true)]
    journald_socket: PathBuf,

    /// Give each process label sets of its own
    #[arg(long)]
    by_pid: bool,

    /// Most label sets of a filter
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    label_sets: u32,

    /// End after this many sweeps of each filter
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// What scrapes are answered with.
#[derive(Debug, Default)]
struct Page {
    openmetrics: String,
    text: String,
    completed: Option<Instant>,
}

/// Sweeps and publishes until it is ended.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let notifier = Notifier::from_environment()
        .map_err(|error| Failure::new(Exit::BadInput, format_args!("NOTIFY_SOCKET: {error}")))?;
    let loaded = args.selection.load(color, say)?;
    let journal = args.journald.then(|| open_journal(&args.journald_socket)).transpose()?;
    let page = Arc::new(Mutex::new(Page::default()));
    if let Some(address) = listen_address(args) {
        listen(address, Arc::clone(&page), args.every)?;
    }
    let cardinality = Cardinality { label_sets_max: args.label_sets as usize, by_pid: args.by_pid };
    let mut collector = Collector::new(cardinality);
    let mut drive = Drive::new(loaded, |_| Schedule::stream(args.every, args.count));
    let count = drive.len();
    let mut rounds = 0_u64;
    let mut failures = Vec::new();
    while let Some(Answer { index, loaded, sweep }) = drive.next_answer() {
        match sweep {
            Ok(sweep) => {
                collector.observe(&loaded.filter, &sweep.records, sweep.stats);
                if let Some(journal) = &journal {
                    send_records(journal, &loaded.filter, &sweep.records);
                }
            }
            Err(failure) => {
                collector.failed(&loaded.filter.name);
                failures.push(format!("{}: {}", loaded.filter.name, failure.summary()));
            }
        }
        if index + 1 < count {
            continue;
        }
        publish(args, &collector, &page)?;
        if rounds == 0 {
            notify(notifier.ready())?;
        }
        rounds += 1;
        let failed = std::mem::take(&mut failures).join("; ");
        if failed.is_empty() {
            notify(notifier.swept(&format!("{rounds} rounds of {count} filters")))?;
        } else {
            say(&failed);
            notify(notifier.failed(&failed))?;
        }
    }
    Ok(Exit::Success)
}

fn notify(result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| Failure::new(Exit::CannotRun, format_args!("NOTIFY_SOCKET: {error}")))
}

fn say(note: &str) {
    // When standard error is closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{note}");
}

fn listen_address(args: &Args) -> Option<SocketAddr> {
    let has_other = args.textfile.is_some() || args.journald;
    args.listen.or_else(|| (!has_other).then(|| SocketAddr::from(([127, 0, 0, 1], 9743))))
}

fn publish(args: &Args, collector: &Collector, page: &Mutex<Page>) -> Result<(), Failure> {
    let exposition = collector.exposition(own_cpu());
    let text = exposition.render(false);
    if let Some(path) = &args.textfile {
        textfile::replace(path, &text).map_err(|error| {
            let path = path.display();
            Failure::new(Exit::CannotRun, format_args!("cannot write {path}: {error}"))
        })?;
    }
    let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
    *page = Page { openmetrics: exposition.render(true), text, completed: Some(Instant::now()) };
    Ok(())
}

fn listen(address: SocketAddr, page: Arc<Mutex<Page>>, every: Duration) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::CannotRun, format_args!("cannot listen on {address}: {error}"))
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    say(&format!("serving http://{bound}/metrics"));
    for _ in 0..HTTP_THREADS {
        let listener = listener.try_clone().map_err(cannot)?;
        let page = Arc::clone(&page);
        std::thread::spawn(move || {
            loop {
                match listener.accept() {
                    // A client that goes away is its own business.
                    Ok((client, _)) => {
                        drop(http::serve(client, |request| answer(request, &page, every)))
                    }
                    // Out of descriptors or a reset: do not spin.
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        });
    }
    Ok(())
}

fn answer(request: &Request, page: &Mutex<Page>, every: Duration) -> Response {
    let page = page.lock().unwrap_or_else(PoisonError::into_inner);
    let is_fresh =
        page.completed.is_some_and(|at| at.elapsed() < every * 3 + Duration::from_secs(1));
    match request.path.as_str() {
        // Old numbers are no statement about now: better none.
        "/metrics" | "/healthz" if !is_fresh => Response::plain("503 Service Unavailable"),
        "/healthz" => Response::plain("200 OK"),
        "/metrics" if request.accepts_openmetrics => Response {
            status: "200 OK",
            media_type: openmetrics::MEDIA_TYPE,
            body: page.openmetrics.clone(),
        },
        "/metrics" => Response {
            status: "200 OK",
            media_type: "text/plain; version=0.0.4; charset=utf-8",
            body: page.text.clone(),
        },
        _ => Response::plain("404 Not Found"),
    }
}

fn open_journal(path: &Path) -> Result<Journal, Failure> {
    Journal::open(path).map_err(|error| {
        let path = path.display();
        Failure::new(Exit::CannotRun, format_args!("cannot reach journald at {path}: {error}"))
    })
}

fn send_records(journal: &Journal, filter: &FilterMeta, records: &RecordBatch) {
    let mut lost = records.len().saturating_sub(JOURNAL_RECORDS_MAX);
    for record in records.iter().take(JOURNAL_RECORDS_MAX) {
        let mut entry = Entry::default();
        let message = format!("{}: {}", filter.name, offender(&filter.record, record));
        entry.field("MESSAGE", message.as_bytes());
        entry.field("PRIORITY", priority(filter, record).as_bytes());
        entry.field("SYSLOG_IDENTIFIER", b"kfilter");
        entry.field("KFILTER_FILTER", filter.name.as_bytes());
        for (field, value) in fields(&filter.record, record).filter(|(field, _)| !field.hidden) {
            let name = format!("KFILTER_{}", field.name);
            match value {
                None => {}
                Some(Value::Text(bytes)) => entry.field(&name, &bytes),
                Some(value) => entry.field(&name, scalar_text(&value).as_bytes()),
            }
        }
        lost += usize::from(journal.send(&entry).is_err());
    }
    if lost > 0 {
        say(&format!("{}: {lost} records did not reach the journal", filter.name));
    }
}

/// syslog's number: an error, a warning, or a notice for a record that says that all is well.
fn priority(filter: &FilterMeta, record: &[u8]) -> &'static str {
    let declared = match filter.severity {
        Some(Severity::Critical) => Status::Critical,
        Some(Severity::Warning) | None => Status::Warning,
    };
    match of_record(&filter.record, record).unwrap_or(declared) {
        Status::Critical => "3",
        Status::Warning | Status::Unknown => "4",
        Status::Ok => "5",
    }
}

/// The CPU time that this process has used, its sweeps in the kernel included.
fn own_cpu() -> Option<Duration> {
    let own = i32::try_from(std::process::id()).ok()?;
    let ns = kfilter_loader::sys::process_cpu_ns(own)?;
    Some(Duration::from_nanos(u64::try_from(ns).ok()?))
}
