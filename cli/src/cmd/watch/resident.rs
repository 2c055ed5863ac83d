//! What a resident filter finds, shown as it comes.
//!
//! **Invariant**: the room of a record is freed only after it was written; records that found
//! no room are told.

use super::Args;
use crate::exit::{Exit, Failure};
use crate::output::records::{Look, Stream as Written};
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use crate::session::failure;
use kfilter_loader::LoadError;
use kfilter_loader::host::bpf::Stream;
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
            .help("give `kfilter watch --enforce` the filter's source or object"));
    }
    let look = Look { format: args.format, style: Style::for_stdout(color), width: stdout_width() };
    let mut shown = Shown { look, written: Written::default(), lost: 0, left: args.count };
    let pins = Pins::running();
    let follow = || {
        let (_, stream) = pins.follow(name)?;
        // Who reads what this writes may go while nothing matches.
        stream.end_with(std::io::stdout().as_fd());
        Ok(stream)
    };
    let mut stream = follow().map_err(|error| failure(&error))?;
    loop {
        // Asked first, so that what came before the end is shown.
        let has_ended = stream.has_ended();
        if shown.catch_up(name, &mut stream)? {
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
            Ok(next) => stream = next,
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
    fn catch_up(&mut self, name: &str, stream: &mut Stream) -> Result<bool, Failure> {
        self.tell_lost(name, stream);
        while let Some(mut batch) = stream.next_batch() {
            let filter = stream.filter();
            if let Some(top) = filter.top {
                batch.records.apply_top(&filter.record, top);
            }
            let text = self.written.render(filter, &batch.records, self.look);
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
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

/// A note beside the results.
fn say(name: &str, note: &str) {
    // When standard error is closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{name}: {note}");
}
