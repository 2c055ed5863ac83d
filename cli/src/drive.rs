//! Sweeps several filters, each at its own times.
//!
//! **Invariant**: at most one sweep runs at a time, and the filter that has been due the
//! longest is next.

use crate::exit::Failure;
use crate::schedule::Schedule;
use crate::session::Loaded;
use kfilter_loader::host::Sweep;
use std::time::{Duration, Instant};

/// Filters that are being swept.
pub(crate) struct Drive {
    running: Vec<Running>,
}

struct Running {
    loaded: Loaded,
    schedule: Schedule,
    due: Option<Instant>,
}

/// A sweep that answers.
pub(crate) struct Answer<'a> {
    /// Which filter, by its place.
    pub(crate) index: usize,
    /// The filter.
    pub(crate) loaded: &'a Loaded,
    /// What was found, `top` applied; or why the host could not sweep.
    pub(crate) sweep: Result<Sweep, Failure>,
}

impl Drive {
    /// Filters with a schedule each; all are due at once.
    pub(crate) fn new(loaded: Vec<Loaded>, schedule: impl Fn(&Loaded) -> Schedule) -> Self {
        let now = Instant::now();
        let running = loaded
            .into_iter()
            .map(|loaded| Running { schedule: schedule(&loaded), due: Some(now), loaded })
            .collect();
        Self { running }
    }

    /// How many filters there are.
    pub(crate) const fn len(&self) -> usize {
        self.running.len()
    }

    /// When the last of the first answers may be expected.
    pub(crate) fn first_answer_after(&self) -> Duration {
        self.running.iter().map(|one| one.schedule.first_answer_after()).max().unwrap_or_default()
    }

    /// Sweeps until a filter answers; `None` when all are done.
    pub(crate) fn next_answer(&mut self) -> Option<Answer<'_>> {
        loop {
            let next = self.running.iter().enumerate().filter_map(|(i, one)| Some((one.due?, i)));
            let (due, index) = next.min()?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let one = &mut self.running[index];
            let began = Instant::now();
            let mut sweep = one.loaded.sweep();
            let step = one.schedule.swept(began, Instant::now());
            one.due = step.again_at;
            if sweep.is_ok() && !step.is_answer {
                continue;
            }
            match &mut sweep {
                Ok(sweep) => {
                    let filter = &one.loaded.filter;
                    if let Some(top) = filter.top {
                        sweep.records.apply_top(&filter.record, top);
                    }
                }
                // A stream goes on and may recover; an answer will not come.
                Err(_) if !one.schedule.is_stream() => one.due = None,
                Err(_) => {}
            }
            return Some(Answer { index, loaded: &self.running[index].loaded, sweep });
        }
    }
}
