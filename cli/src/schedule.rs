//! When `kfilter run` sweeps, and when it has its answer.
//!
//! Without `--every` and `--count` a filter is swept until it can answer: once, or twice a
//! second apart when it compares with an earlier sweep, and on until a `for` has passed.
//!
//! **Invariant**: pure; the caller owns the clock.

use std::time::{Duration, Instant};

/// The time between sweeps unless `--every` says otherwise.
pub(crate) const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// When one filter is swept.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Sweeps until the filter can answer.
    Answer {
        /// Sweeps that only gather history.
        warm_up_sweeps: u64,
        /// The time from one sweep to the next.
        interval: Duration,
        /// How long a condition must have held after these.
        hold: Duration,
        /// Sweeps made.
        sweeps: u64,
        /// When the condition may have held long enough.
        answer_at: Option<Instant>,
    },
    /// Sweeps in step, a number of times or for ever.
    Stream {
        /// The time from one sweep to the next.
        interval: Duration,
        /// Sweeps that are left; `None` for no end.
        left: Option<u64>,
        /// When the next sweep is due.
        due: Option<Instant>,
    },
}

/// What follows a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Whether the sweep's records are an answer.
    pub(crate) is_answer: bool,
    /// When to sweep again; `None` when this filter is done.
    pub(crate) again_at: Option<Instant>,
}

impl Schedule {
    /// Until the filter can answer.
    pub(crate) const fn answer(needs_two_sweeps: bool, hold: Duration, interval: Duration) -> Self {
        Self::Answer {
            warm_up_sweeps: needs_two_sweeps as u64,
            interval,
            hold,
            sweeps: 0,
            answer_at: None,
        }
    }

    /// Every `interval`, `count` times.
    pub(crate) const fn stream(interval: Duration, count: Option<u64>) -> Self {
        Self::Stream { interval, left: count, due: None }
    }

    /// How long the first answer takes at least.
    pub(crate) fn first_answer_after(&self) -> Duration {
        match self {
            Self::Answer { warm_up_sweeps, interval, hold, .. } => {
                hold.saturating_add(if *warm_up_sweeps > 0 { *interval } else { Duration::ZERO })
            }
            Self::Stream { .. } => Duration::ZERO,
        }
    }

    /// Whether it goes on after an answer.
    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// Notes a sweep that ran from `began` to `ended`.
    pub(crate) fn swept(&mut self, began: Instant, ended: Instant) -> Next {
        match self {
            Self::Answer { warm_up_sweeps, interval, hold, sweeps, answer_at } => {
                *sweeps += 1;
                if *sweeps <= *warm_up_sweeps {
                    return Next { is_answer: false, again_at: Some(ended + *interval) };
                }
                // Counted from the end of the sweep, so that the last one begins late enough.
                let answer_at = *answer_at.get_or_insert(ended + *hold);
                if hold.is_zero() || began >= answer_at {
                    return Next { is_answer: true, again_at: None };
                }
                let again_at = (ended + *interval).min(answer_at);
                Next { is_answer: false, again_at: Some(again_at) }
            }
            Self::Stream { interval, left, due } => {
                if let Some(left) = left {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        return Next { is_answer: true, again_at: None };
                    }
                }
                // In step with the first sweep; a sweep that overran skips what it missed.
                let next = due.unwrap_or(began) + *interval;
                let next = if next < ended { ended } else { next };
                *due = Some(next);
                Next { is_answer: true, again_at: Some(next) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn answer(needs_two_sweeps: bool, hold_ms: u64) -> Schedule {
        Schedule::answer(needs_two_sweeps, Duration::from_millis(hold_ms), DEFAULT_INTERVAL)
    }

    /// Runs a schedule on a clock that jumps to what is due: (milliseconds, is an answer).
    fn timeline(mut schedule: Schedule, most: usize) -> Vec<(u128, bool)> {
        let start = Instant::now();
        let mut now = start;
        let mut seen = Vec::new();
        while seen.len() < most {
            let next = schedule.swept(now, now);
            seen.push(((now - start).as_millis(), next.is_answer));
            match next.again_at {
                None => break,
                Some(at) => now = at,
            }
        }
        seen
    }

    #[test]
    fn a_filter_without_history_answers_at_once() {
        assert_eq!(timeline(answer(false, 0), 9), [(0, true)]);
    }

    #[test]
    fn a_rate_needs_two_sweeps() {
        let seen = timeline(answer(true, 0), 9);
        assert_eq!(seen, [(0, false), (1000, true)]);
    }

    #[test]
    fn a_hold_is_swept_until_it_has_passed() {
        let seen = timeline(answer(true, 2500), 9);
        let expected = [(0, false), (1000, false), (2000, false), (3000, false), (3500, true)];
        assert_eq!(seen, expected);
        let short = timeline(answer(false, 10), 9);
        assert_eq!(short, [(0, false), (10, true)]);
    }

    #[test]
    fn a_stream_keeps_step_and_counts() {
        let stream = Schedule::stream(Duration::from_millis(250), Some(3));
        assert_eq!(timeline(stream, 9), [(0, true), (250, true), (500, true)]);
        let endless = Schedule::stream(Duration::from_millis(250), None);
        assert_eq!(timeline(endless, 5).len(), 5);
    }

    #[test]
    fn a_sweep_that_overruns_does_not_pile_up_others() {
        let mut schedule = Schedule::stream(Duration::from_millis(10), None);
        let start = Instant::now();
        let late = start + Duration::from_millis(95);
        assert_eq!(schedule.swept(start, late).again_at, Some(late));
        let next = schedule.swept(late, late + Duration::from_millis(1));
        assert_eq!(next.again_at, Some(late + Duration::from_millis(10)));
    }
}
