//! `kfilter watch`: follows offenders, says what happens to them, and with `--enforce` acts;
//! or shows what a resident filter finds.
//!
//! **Invariant**: with and without `--enforce` the same stream of events is written; only
//! then does anything happen to a process.

mod follow;
mod resident;

use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::terminal::ColorChoice;
use crate::session::Selection;
use follow::Follower;
use kfilter_loader::limit::Rails;
use kfilter_loader::limit::linux::{own_pids, protect_self};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Follow offenders and apply limits, or show what a resident filter finds
///
/// Given the name of a filter that `kfilter load --every` has loaded, it shows the records of
/// the filter's own sweeps as they come, and sleeps until something matches.
///
/// Else it writes one JSON object for each event: enter, limit, refused, failed, release, gone. The
/// filters must emit pid and start_time; those with a `limit` do so by themselves. Without
/// --enforce nothing is done, and `action` says "would".
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The time between sweeps
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse, default_value = "1s")]
    every: Duration,

    /// End after this many sweeps; of a resident filter, those that have found something
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How the records of a resident filter are written
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    /// Act: without this, only say what would be done
    #[arg(long)]
    enforce: bool,

    /// Act even where the OOM killer may end kfilter before its victims
    #[arg(long, requires = "enforce")]
    unprotected: bool,

    /// Never limit processes of this name; a trailing * matches any rest
    #[arg(long, value_name = "NAME")]
    protect: Vec<String>,

    /// Most processes that a cgroup may hold to be limited as a whole
    #[arg(long, value_name = "N", default_value = "16")]
    blast_radius: usize,

    /// How many sweeps in a row an offender must be absent to be released
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    absent: u32,

    /// Where to note what must be undone, should kfilter be killed
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/kfilter")]
    state: PathBuf,
}

/// Sweeps until it is told to stop, then undoes what was done.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    if let Some(name) = args.selection.resident() {
        return resident::run(args, &name, color);
    }
    if args.enforce {
        prepare(args)?;
    }
    let stop = stop_signals()?;
    let loaded = args.selection.load_with_leave(color, |note| eprintln!("{note}"))?;
    let mut rails = Rails {
        protect: args.protect.clone(),
        own_pids: own_pids(),
        blast_radius: args.blast_radius,
    };
    rails.own_pids.sort_unstable();
    let mut followers = Vec::new();
    for (filter, leave) in loaded {
        followers.push(Follower::new(args, filter, leave, rails.clone())?);
    }
    let swept = sweep_until(args, &mut followers, &stop);
    // Whatever ended it, nobody stays limited.
    let mut released = Ok(());
    for follower in &mut followers {
        released = released.and(follower.release_all());
    }
    let has_seen = followers.iter().any(Follower::has_seen);
    swept.and(released)?;
    Ok(if has_seen { Exit::Success } else { Exit::NothingMatched })
}

fn sweep_until(
    args: &Args,
    followers: &mut [Follower],
    stop: &Receiver<()>,
) -> Result<(), Failure> {
    let mut due = Instant::now();
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        match stop.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        for follower in followers.iter_mut() {
            follower.step()?;
        }
        due = (due + args.every).max(Instant::now());
    }
    Ok(())
}

/// A watchdog must outlive its victims and remember what it has done.
fn prepare(args: &Args) -> Result<(), Failure> {
    let protected = if args.unprotected { Ok(()) } else { protect_self() };
    protected.map_err(|error| {
        let is_privilege = error.kind() == std::io::ErrorKind::PermissionDenied;
        let exit = if is_privilege { Exit::NoPrivilege } else { Exit::CannotRun };
        Failure::new(exit, format_args!("cannot protect kfilter from the OOM killer: {error}"))
            .help("limits need CAP_SYS_RESOURCE, or oom_score_adj -1000 from who starts kfilter")
            .help("--unprotected acts all the same")
    })?;
    std::fs::create_dir_all(&args.state).map_err(|error| {
        let state = args.state.display();
        Failure::new(Exit::CannotRun, format_args!("cannot create {state}: {error}"))
    })
}

/// One message when SIGINT or SIGTERM asks for an orderly end.
fn stop_signals() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = channel();
    let cannot =
        |error| Failure::new(Exit::CannotRun, format_args!("cannot wait for signals: {error}"));
    let wanted = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals = signal_hook::iterator::Signals::new(wanted).map_err(cannot)?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The receiver is gone when the command ends by itself.
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}
