//! Filters that sweep by themselves: starting and stopping them, reading what they found.
//!
//! **Invariant**: at most one [`Stream`] of a filter is open, and the room of a record is
//! freed only when its reader has said that it is done with it: what a killed reader had not
//! finished is read again by the next one.

use super::session::sweep_stats;
use crate::error::LoadError;
use crate::record::RecordBatch;
use crate::sys::ring::{Ring, page_bytes};
use crate::sys::{Call, Errno, Events, Interest, SharedMemory, Sys, SyscallError, Wake};
use kernel_vm::abi::{ActMark, RESIDENT_STATS_BYTES, ResidentStats, SWEEP_END_BYTES, SweepStats};
use kernel_vm::object::FilterMeta;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Runs the program that starts the ticks.
pub(crate) fn start(
    sys: &dyn Sys,
    filter: &str,
    program: BorrowedFd<'_>,
    period: Duration,
    first: Duration,
) -> Result<(), LoadError> {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_ne_bytes();
    let mut context = [ns(period), ns(first)].concat();
    let doing = || LoadError::syscall(format!("starting the ticks of filter `{filter}`"));
    let run = Call::ProgRunWith { program, context: &mut context };
    match sys.bpf_number(run).map_err(doing())? {
        0 => Ok(()),
        code => {
            let errno = Errno(code.cast_signed().saturating_neg());
            Err(doing()(SyscallError::new("the program", errno)))
        }
    }
}

/// Runs the program that stops the ticks, which wakes who waits for records.
pub(crate) fn stop(sys: &dyn Sys, filter: &str, program: BorrowedFd<'_>) -> Result<(), LoadError> {
    let doing = LoadError::syscall(format!("stopping the ticks of filter `{filter}`"));
    sys.bpf_number(Call::ProgRun(program)).map(|_| ()).map_err(doing)
}

/// The counters of a filter, mapped.
#[derive(Debug)]
pub(crate) struct Counters {
    memory: SharedMemory,
    sweep: usize,
    resident: usize,
}

impl Counters {
    /// Maps `.bss` of `bytes`; the offsets are those of the two kinds of counters.
    pub(crate) fn open(
        sys: &dyn Sys,
        bss: BorrowedFd<'_>,
        bytes: usize,
        sweep: u32,
        resident: u32,
    ) -> Result<Self, LoadError> {
        let memory = sys
            .map_shared(bss, 0, bytes.next_multiple_of(page_bytes()), false)
            .map_err(LoadError::syscall("mapping the statistics"))?;
        Ok(Self { memory, sweep: sweep as usize, resident: resident as usize })
    }

    pub(crate) fn sweep(&self) -> SweepStats {
        sweep_stats(|index| self.memory.load(self.sweep + index * 8).unwrap_or(0))
    }

    pub(crate) fn resident(&self) -> ResidentStats {
        const WORDS: usize = RESIDENT_STATS_BYTES / 8;
        let words: [u64; WORDS] =
            std::array::from_fn(|i| self.memory.load(self.resident + i * 8).unwrap_or(0));
        let [period_ns, ticks, skipped, emitted, lost, took_ns, due_ns, room, before] = words;
        ResidentStats { period_ns, ticks, skipped, emitted, lost, took_ns, due_ns, room, before }
    }
}

/// The records of one sweep of a resident filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What matched.
    pub records: RecordBatch,
    /// What the sweep counted.
    pub stats: SweepStats,
    /// What was done to whom, or was not, of a filter that acts: the index of the record, and
    /// the mark.
    pub acts: Vec<(usize, ActMark)>,
}

/// What a resident filter finds, as it finds it.
pub struct Stream {
    filter: FilterMeta,
    ring: Ring,
    counters: Counters,
    events: Events,
    /// Up to where it was read; the ring's own position is up to where it was released.
    read: u64,
    place: Place,
    /// Open as long as the stream, so that the buffer stays.
    _records: OwnedFd,
}

/// Where a loaded filter is, as far as who reads it must know.
pub(crate) trait StillThere {
    /// Whether it is where it was when it was opened.
    fn is_there(&self) -> bool;

    /// What becomes readable when that changes, if anything does.
    fn moved(&self) -> Option<BorrowedFd<'_>>;
}

/// Kept as long as the stream: it reserves the filter for one reader.
type Place = Box<dyn StillThere>;

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("filter", &self.filter.name).finish_non_exhaustive()
    }
}

impl Stream {
    /// Reads the ring buffer `records` of `bytes`, which `place` reserves.
    pub(crate) fn open(
        sys: &Rc<dyn Sys>,
        filter: FilterMeta,
        (records, bytes): (OwnedFd, usize),
        counters: Counters,
        place: Place,
    ) -> Result<Self, LoadError> {
        let doing = |what: &str| {
            LoadError::syscall(format!("{what} the ring buffer of filter `{}`", filter.name))
        };
        let ring = Ring::open(&**sys, records.as_fd(), bytes).map_err(doing("mapping"))?;
        let events = sys.events(records.as_fd()).map_err(doing("waiting for"))?;
        if let Some(moved) = place.moved() {
            events.add(moved, Interest::Readable).map_err(doing("waiting for"))?;
        }
        let read = ring.position();
        Ok(Self { filter, ring, counters, events, read, place, _records: records })
    }

    /// What the filter is.
    #[must_use]
    pub const fn filter(&self) -> &FilterMeta {
        &self.filter
    }

    /// The records of the oldest sweep that was not read yet; `None` when there is none now.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let mut records = RecordBatch::new(self.filter.record.size as usize);
        let mut foreign = 0;
        let mut acts = Vec::new();
        let mut end = None;
        let mut position = self.read;
        self.ring.read(&mut position, |record| {
            if record.len() == SWEEP_END_BYTES {
                end = Some(sweep_end(record));
                return ControlFlow::Break(());
            }
            if let Some(mark) = act_mark(record) {
                acts.extend(records.len().checked_sub(1).map(|record| (record, mark)));
                return ControlFlow::Continue(());
            }
            foreign += u64::from(!records.push(record));
            ControlFlow::Continue(())
        });
        // Without its end, the sweep is still running.
        let mut stats = end?;
        self.read = position;
        stats.dropped = stats.dropped.saturating_add(foreign);
        Some(Batch { records, stats, acts })
    }

    /// Frees the room of all batches that were read: they are done with.
    pub fn release(&self) {
        // What cannot be freed is read again.
        let _ = self.ring.release(self.read);
    }

    /// Waits also for the end of who reads `out`; a file has no such end.
    pub fn end_with(&self, out: BorrowedFd<'_>) {
        let _ = self.events.add(out, Interest::HungUp);
    }

    /// Sleeps until a sweep has found something, or the filter stops, is replaced or removed.
    ///
    /// # Errors
    /// [`LoadError`] of epoll_wait(2).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Wake, LoadError> {
        let doing = || LoadError::syscall(format!("waiting for filter `{}`", self.filter.name));
        self.events.wait(timeout).map_err(doing())
    }

    /// A descriptor that is readable after each sweep that found something.
    #[must_use]
    pub fn as_event(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Whether it ticks no more: it was unloaded, or another one took its place, by whatever
    /// means.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.counters.resident().period_ns == 0 || !self.place.is_there()
    }

    /// What it has counted since it was loaded.
    #[must_use]
    pub fn totals(&self) -> ResidentStats {
        self.counters.resident()
    }
}

/// The counters that end a sweep's records.
pub(crate) fn sweep_end(bytes: &[u8]) -> SweepStats {
    let (words, _) = bytes.as_chunks::<8>();
    sweep_stats(|index| words.get(index).map_or(0, |word| u64::from_ne_bytes(*word)))
}

/// The mark of an act, when these bytes are one.
fn act_mark(bytes: &[u8]) -> Option<ActMark> {
    let (words, []) = bytes.as_chunks::<4>() else { return None };
    let &[rung, outcome, detail] = words else { return None };
    Some(ActMark {
        rung: u32::from_ne_bytes(rung),
        outcome: u32::from_ne_bytes(outcome),
        detail: i32::from_ne_bytes(detail),
    })
}

/// Says what the kernel lacks for a filter that is to sweep by itself.
pub(crate) fn explain(error: LoadError) -> LoadError {
    let LoadError::Relocation(reloc) = &error else { return error };
    if !reloc.what.contains("bpf_wq_") {
        return error;
    }
    LoadError::Missing {
        what: "what lets a filter sweep by itself".to_owned(),
        why: format!("this kernel has no {} (Linux 6.10 is the first)", reloc.what),
        way_out: "load it without `--every` and sweep with `kfilter read`, \
                  or keep `kfilter run --every` running"
            .to_owned(),
    }
}
