//! What a resident filter finds, shown as it comes.
//!
//! **Invariant**: the room of a record is freed only after it was written; records that found
//! no room are told.

use super::Args;
use super::follow::{identity, values};
use crate::exit::{Exit, Failure};
use crate::limits;
use crate::output::Format;
use crate::output::records::{Look, Stream as Written};
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use kernel_vm::abi::ActMark;
use kernel_vm::object::FilterMeta;
use kfilter_loader::LoadError;
use kfilter_loader::host::bpf::{Batch, Stream};
use kfilter_loader::limit::kernel::Actor;
use kfilter_loader::pin::Pins;
use kfilter_loader::sys::Wake;
use std::io::Write as _;
use std::os::fd::AsFd as _;

/// Shows records until the filter is unloaded, `--count` sweeps have found something, or nobody
/// reads them any more.
pub(super) fn run(args: &Args, name: &str, color: ColorChoice) -> Result<Exit, Failure> {
    if args.enforce {
        let message = format!("filter `{name}` sweeps by itself: nobody is there to act");
        return Err(Failure::new(Exit::BadInput, message)
            .help("give `kfilter watch --enforce` the filter's source or object")
            .help("or load it with --enforce, and the kernel does its TERM and KILL"));
    }
    let look = Look { format: args.format, style: Style::for_stdout(color), width: stdout_width() };
    let mut shown = Shown { look, written: Written::default(), lost: 0, left: args.count };
    let pins = Pins::running();
    let follow = || {
        let (meta, stream) = pins.follow(name)?;
        // Who reads what this writes may go while nothing matches.
        stream.end_with(std::io::stdout().as_fd());
        let actor = meta.acting.map(|spared| Actor {
            rule: meta.filter.name.clone(),
            rungs: limits::rungs(&meta.filter),
            protect: spared.names,
        });
        Ok((actor, stream))
    };
    let (mut actor, mut stream) = follow().map_err(|error| failure(&error))?;
    loop {
        // Asked first, so that what came before the end is shown.
        let has_ended = stream.has_ended();
        if shown.catch_up(name, &mut stream, actor.as_ref())? {
            return Ok(Exit::Success);
        }
        if !has_ended {
            if stream.wait(None).map_err(|error| failure(&error))? == Wake::HungUp {
                return Ok(Exit::Success);
            }
            continue;
        }
        // Another one may have taken its place.
        match follow() {
            Ok(next) => (actor, stream) = next,
            Err(LoadError::NotLoaded { .. }) => {
                say(name, "unloaded");
                return Ok(Exit::Success);
            }
            Err(error) => return Err(failure(&error)),
        }
        say(name, "replaced");
        shown.lost = 0;
    }
}

struct Shown {
    look: Look,
    written: Written,
    /// How many lost records were told.
    lost: u64,
    /// Sweeps until the end.
    left: Option<u64>,
}

impl Shown {
    /// Writes all that is there; true when that was enough.
    fn catch_up(
        &mut self,
        name: &str,
        stream: &mut Stream,
        actor: Option<&Actor>,
    ) -> Result<bool, Failure> {
        self.tell_lost(name, stream);
        while let Some(mut batch) = stream.next_batch() {
            let filter = stream.filter();
            let events = actor.map(|actor| events(actor, filter, &batch)).unwrap_or_default();
            if let Some(top) = filter.top {
                batch.records.apply_top(&filter.record, top);
            }
            let text = self.written.render(filter, &batch.records, self.look);
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            for event in &events {
                match self.look.format {
                    // Among the records, which have no `event`.
                    Format::Json => writeln!(out, "{event}")?,
                    Format::Table | Format::Csv => say(name, event),
                }
            }
            out.flush()?;
            stream.release();
            if batch.records.is_empty() {
                continue;
            }
            self.left = self.left.map(|left| left.saturating_sub(1));
            if self.left == Some(0) {
                return Ok(true);
            }
        }
        self.tell_lost(name, stream);
        Ok(false)
    }

    fn tell_lost(&mut self, name: &str, stream: &Stream) {
        let lost = stream.totals().lost;
        if lost > self.lost {
            let more = lost - self.lost;
            say(name, &format!("{more} records were lost: they were not read in time"));
            self.lost = lost;
        }
    }
}

/// What was done to those of a batch, as `kfilter watch` of a source tells of its own acts.
fn events(actor: &Actor, filter: &FilterMeta, batch: &Batch) -> Vec<String> {
    let time_ns = i64::try_from(batch.stats.started_ns).unwrap_or(i64::MAX);
    let event = |&(index, mark): &(usize, ActMark)| {
        let record = batch.records.iter().nth(index)?;
        let id = identity(&filter.record, record)?;
        let event = actor.event(mark, time_ns, id, values(&filter.record, record))?;
        serde_json::to_string(&event).ok()
    };
    batch.acts.iter().filter_map(event).collect()
}

/// A note beside the results.
fn say(name: &str, note: &str) {
    // When standard error is closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{name}: {note}");
}
