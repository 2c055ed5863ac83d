//! A loaded filter: run the sweep, take the records, read the statistics.
//!
//! A sweep is one call of the program; on kernels where it cannot walk by itself, one reading
//! of a file, for which the kernel calls another program row by row, or of several one after
//! another.
//!
//! **Invariant**: records that the program counted as dropped stay counted; a record of
//! another size than the filter's is never handed out.

use super::program::{Loaded, is_transient};
use crate::error::LoadError;
use crate::host::{Session, Sweep};
use crate::link::ProgramKind;
use crate::record::RecordBatch;
use crate::sys::ring::{Ring, page_bytes};
use crate::sys::{Call, Errno, SharedMemory, Sys, SyscallError};
use kernel_vm::abi::SweepStats;
use kernel_vm::object::{FilterMeta, PassMeta};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often a sweep that someone else makes is waited for, and for how long each time.
const BUSY_TRIES_MAX: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(2);

/// A filter in the kernel.
pub struct BpfSession {
    sys: Rc<dyn Sys>,
    filter: String,
    record_size: usize,
    way: Way,
    /// None when no program of the filter emits: its condition can never hold.
    ring: Option<Ring>,
    stats: Stats,
    /// Keeps the maps and the types alive as long as the program.
    loaded: Loaded,
}

/// How a sweep is made.
enum Way {
    /// The program walks.
    Call(OwnedFd),
    /// The kernel walks, once for each of these.
    Read(Vec<Reading>),
}

/// What a file to read is made of.
struct Reading {
    link: OwnedFd,
    /// Where in `.bss` it says whether it is to be read.
    needed: Option<usize>,
}

impl std::fmt::Debug for BpfSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BpfSession").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl BpfSession {
    /// A session over the first of the `loaded` programs, the sweep, or over all classic ones.
    ///
    /// # Errors
    /// [`LoadError`] when a map is missing or cannot be mapped.
    pub fn new(
        sys: Rc<dyn Sys>,
        filter: &FilterMeta,
        mut loaded: Loaded,
    ) -> Result<Self, LoadError> {
        if loaded.kind != ProgramKind::Syscall {
            let links = link_rows(&*sys, filter, &loaded)?;
            return Self::reading(sys, filter, loaded, links);
        }
        if loaded.programs.is_empty() {
            return Err(missing(&filter.bpf.sweep));
        }
        let program = loaded.programs.swap_remove(0);
        Self::open(sys, filter, loaded, Way::Call(program))
    }

    /// A session that makes its sweeps by reading what these links, one for each of the
    /// filter's classic programs, go over.
    ///
    /// # Errors
    /// As [`BpfSession::new`].
    pub(crate) fn reading(
        sys: Rc<dyn Sys>,
        filter: &FilterMeta,
        loaded: Loaded,
        links: Vec<OwnedFd>,
    ) -> Result<Self, LoadError> {
        let passes = links.into_iter().zip(&filter.bpf.classic);
        let reading = |(link, pass): (OwnedFd, &PassMeta)| Reading {
            link,
            needed: pass.needed.map(|offset| offset as usize),
        };
        let way = Way::Read(passes.map(reading).collect());
        Self::open(sys, filter, loaded, way)
    }

    fn open(
        sys: Rc<dyn Sys>,
        filter: &FilterMeta,
        loaded: Loaded,
        way: Way,
    ) -> Result<Self, LoadError> {
        let records = &filter.bpf.records;
        let ring = loaded
            .map(records)
            .map(|map| Ring::open(&*sys, map.fd.as_fd(), map.size as usize))
            .transpose()
            .map_err(LoadError::syscall(format!("mapping ring buffer `{records}`")))?;
        let bss = loaded.map(".bss").ok_or_else(|| missing(".bss"))?;
        let bytes = (bss.size as usize).next_multiple_of(page_bytes());
        let memory = sys
            .map_shared(bss.fd.as_fd(), 0, bytes, false)
            .map_err(LoadError::syscall("mapping the statistics"))?;
        let stats = Stats { memory, offset: filter.stats.offset as usize };
        Ok(Self {
            sys,
            filter: filter.name.clone(),
            record_size: filter.record.size as usize,
            way,
            ring,
            stats,
            loaded,
        })
    }

    /// The program that makes a sweep; where the kernel walks, the one that it calls for rows.
    #[must_use]
    pub fn program(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Call(program) => Some(program.as_fd()),
            Way::Read(_) => self.loaded.programs.last().map(AsFd::as_fd),
        }
    }

    /// The maps of the filter.
    #[must_use]
    pub const fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    fn drain(&self, visit: impl FnMut(&[u8])) {
        if let Some(ring) = &self.ring {
            ring.drain(visit);
        }
    }

    /// Runs the program until it has made a sweep.
    fn run(&self) -> Result<(), LoadError> {
        let doing = || LoadError::syscall(format!("sweeping with filter `{}`", self.filter));
        let program = match &self.way {
            Way::Call(program) => program,
            Way::Read(all) => return self.read_all(all).map_err(doing()),
        };
        for _ in 0..BUSY_TRIES_MAX {
            match self.sys.bpf_number(Call::ProgRun(program.as_fd())) {
                Ok(0) => return Ok(()),
                Ok(1) => {}
                Ok(code) => {
                    // A sweep that the kernel could not begin returns a negative errno.
                    let errno = Errno(code.cast_signed().saturating_neg());
                    return Err(doing()(SyscallError::new("the sweep", errno)));
                }
                Err(error) if is_transient(error.errno) => {}
                Err(error) => return Err(doing()(error)),
            }
            std::thread::sleep(BUSY_WAIT);
        }
        Err(LoadError::Busy { filter: self.filter.clone() })
    }
}

/// What is missing in an object that another compiler wrote.
fn missing(what: &str) -> LoadError {
    LoadError::Missing {
        what: format!("map or program `{what}`"),
        why: "the filter does not use it".to_owned(),
        way_out: "compile the filter again".to_owned(),
    }
}

/// A link to all rows for each of the `loaded` classic programs.
pub(crate) fn link_rows(
    sys: &dyn Sys,
    filter: &FilterMeta,
    loaded: &Loaded,
) -> Result<Vec<OwnedFd>, LoadError> {
    let link = |program: &OwnedFd| {
        sys.bpf_fd(Call::LinkCreateIter { program: program.as_fd(), tid: 0 })
            .map_err(LoadError::syscall(format!("linking filter `{}`", filter.name)))
    };
    loaded.programs.iter().map(link).collect()
}

impl BpfSession {
    /// Reads what is needed, in order.
    fn read_all(&self, all: &[Reading]) -> Result<(), SyscallError> {
        for reading in all {
            let needed = |offset| self.stats.memory.load(offset).is_none_or(|word| word != 0);
            if reading.needed.is_none_or(needed) {
                self.read_through(&reading.link)?;
            }
        }
        Ok(())
    }

    /// Has the kernel go over all rows, by reading a file that has nothing in it.
    fn read_through(&self, link: &OwnedFd) -> Result<(), SyscallError> {
        let mut file = File::from(self.sys.bpf_fd(Call::IterCreate(link.as_fd()))?);
        loop {
            match file.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The kernel pauses after a million rows.
                Err(error) if is_transient(Errno::from(&error)) => {}
                Err(error) => return Err(SyscallError::new("read", Errno::from(&error))),
            }
        }
    }
}

impl Session for BpfSession {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let begun = Instant::now();
        // What a sweep before this one left is not this one's.
        self.drain(|_| {});
        self.run()?;
        let mut records = RecordBatch::new(self.record_size);
        let mut foreign = 0;
        self.drain(|record| foreign += u64::from(!records.push(record)));
        let mut stats = self.stats.read();
        stats.dropped = stats.dropped.saturating_add(foreign);
        Ok(Sweep { records, stats, took: begun.elapsed() })
    }
}

/// The filter's block of `.bss`, mapped.
#[derive(Debug)]
struct Stats {
    memory: SharedMemory,
    offset: usize,
}

impl Stats {
    fn read(&self) -> SweepStats {
        sweep_stats(|index| self.memory.load(self.offset + index * 8).unwrap_or(0))
    }
}

/// A sweep's counters, by the index of each word.
pub(super) fn sweep_stats(word: impl Fn(usize) -> u64) -> SweepStats {
    SweepStats {
        sweeps: word(0),
        visited: word(1),
        matched: word(2),
        unreadable: word(3),
        warming: word(4),
        dropped: word(5),
        started_ns: word(6),
        took_ns: word(7),
        busy: word(8),
    }
}
