//! The `vm` host: kernel-vm over the tables that /proc shows.
//!
//! The object's `vm` program is verified as the kernel would verify its own, then run for
//! each row. No privilege is needed; what may not be read is missing.
//!
//! **Invariant**: a row's state belongs to its id and start time, and goes when the row is
//! no longer seen.

use super::{Host, HostKind, Request, Session, Sweep};
use crate::elf::Object;
use crate::error::LoadError;
use crate::procfs::Procfs;
use crate::procfs::walk::{Layout, RowKey};
use crate::record::RecordBatch;
use kernel_vm::abi::{SweepStats, Verdict};
use kernel_vm::isa::RawInsn;
use kernel_vm::run::{Env, Host as Helpers, Stack};
use kernel_vm::schema::Table;
use kernel_vm::verify::{Note, Scratch, Spec, State, VerifiedProgram, verify};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Functions that a run may enter: more than any compiled filter does.
const FUEL: u64 = 1 << 20;
/// Most records of one sweep; more are counted as dropped.
const RECORDS_MAX: usize = 1 << 20;

/// Runs filters in this process.
#[derive(Debug, Default)]
pub struct VmHost;

impl Host for VmHost {
    fn kind(&self) -> HostKind {
        HostKind::Vm
    }

    fn load(&mut self, request: &Request<'_>) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(VmSession::new(request)?))
    }
}

/// A filter that runs here.
#[derive(Debug)]
pub struct VmSession {
    program: Program,
    layout: Layout,
    procfs: Procfs,
    states: HashMap<RowKey, RowState>,
    sweeps: u64,
}

#[derive(Debug)]
struct RowState {
    seen: u64,
    bytes: Vec<u8>,
}

impl VmSession {
    /// Verifies the filter's program and prepares to read its table.
    ///
    /// # Errors
    /// When the program is refused, or its rows do not fit this schema.
    pub fn new(request: &Request<'_>) -> Result<Self, LoadError> {
        let meta = request.filter;
        let layout =
            Table::from_name(&meta.table)
                .and_then(|table| Layout::new(table, &meta.vm))
                .ok_or_else(|| unusable("a column", "the rows are of another schema".to_owned()))?;
        let program = Program::new(request.object, request)
            .map_err(|why| unusable("a program that kernel-vm accepts", why))?;
        Ok(Self { program, layout, procfs: Procfs::new(), states: HashMap::new(), sweeps: 0 })
    }
}

impl Session for VmSession {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let began = Instant::now();
        let now_ns = crate::sys::boot_time_ns();
        self.sweeps = self.sweeps.saturating_add(1);
        let sweep = self.sweeps;
        let Self { program, layout, procfs, states, .. } = self;
        let outcome = program.verified(|verified| {
            let mut run = Run::new(program, verified, now_ns);
            let walked = procfs.walk(layout, now_ns, |key, row| {
                let state = states.entry(key).or_insert_with(|| program.fresh_state());
                state.seen = sweep;
                run.row(row, &mut state.bytes);
            });
            walked.map(|unreadable| (run.records, run.stats, unreadable))
        });
        let walked = outcome.map_err(|why| unusable("the program", why))?;
        let (records, mut stats, unreadable) = walked.map_err(|error| LoadError::Missing {
            what: "/proc".to_owned(),
            why: error.to_string(),
            way_out: "mount it: mount -t proc proc /proc".to_owned(),
        })?;
        stats.unreadable = stats.unreadable.saturating_add(unreadable);
        states.retain(|_, state| state.seen == sweep);
        let took = began.elapsed();
        stats.sweeps = sweep;
        stats.started_ns = now_ns.cast_unsigned();
        stats.took_ns = nanoseconds(took);
        Ok(Sweep { records, stats, took })
    }
}

fn unusable(what: &str, why: String) -> LoadError {
    LoadError::Missing {
        what: what.to_owned(),
        why,
        way_out: "compile the filter again with this version".to_owned(),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A program that has been verified, with what it works on.
#[derive(Debug)]
pub(crate) struct Program {
    insns: Vec<RawInsn>,
    row_size: u32,
    state_size: u32,
    record_size: u32,
    rodata: Vec<u8>,
}

impl Program {
    /// Takes the filter's program out of the object and verifies it.
    pub(crate) fn new(object: &Object, request: &Request<'_>) -> Result<Self, String> {
        let meta = request.filter;
        let program = Self {
            insns: slots(object.vm_program(meta)),
            row_size: meta.vm.row_size,
            state_size: meta.state_size,
            record_size: meta.record.size,
            rodata: request.block().to_vec(),
        };
        program.verified(|_| ())?;
        Ok(program)
    }

    fn spec(&self) -> Spec<'static> {
        Spec {
            row_size: self.row_size,
            state_size: self.state_size,
            params_size: u32::try_from(self.rodata.len()).unwrap_or(0),
            record_size: self.record_size,
            maps: &[],
        }
    }

    /// Shows the verified program to `with`. Verifying takes microseconds, and spares
    /// keeping a proof beside what it is about.
    fn verified<T>(&self, with: impl FnOnce(&VerifiedProgram<'_>) -> T) -> Result<T, String> {
        let length = self.insns.len();
        let mut notes = vec![Note::default(); Scratch::notes_needed(length)];
        let mut states = vec![State::default(); Scratch::states_needed(length)];
        let mut scratch = Scratch { notes: &mut notes, states: &mut states };
        match verify(&self.insns, self.spec(), &mut scratch) {
            Ok(program) => Ok(with(&program)),
            Err(rejection) => Err(rejection.to_string()),
        }
    }

    fn fresh_state(&self) -> RowState {
        RowState { seen: 0, bytes: vec![0; usize::try_from(self.state_size).unwrap_or(0)] }
    }
}

/// One sweep of a program.
pub(crate) struct Run<'p> {
    verified: &'p VerifiedProgram<'p>,
    params: &'p [u8],
    stack: Box<Stack>,
    sink: Sink,
    pub(crate) records: RecordBatch,
    pub(crate) stats: SweepStats,
}

impl<'p> Run<'p> {
    pub(crate) fn new(
        program: &'p Program,
        verified: &'p VerifiedProgram<'p>,
        now_ns: i64,
    ) -> Self {
        let record = usize::try_from(program.record_size).unwrap_or(0);
        Self {
            verified,
            params: &program.rodata,
            stack: Box::default(),
            sink: Sink { now_ns: now_ns.cast_unsigned(), record: None },
            records: RecordBatch::new(record),
            stats: SweepStats::default(),
        }
    }

    /// Runs the program over one row.
    pub(crate) fn row(&mut self, row: &[u8], state: &mut [u8]) {
        self.stats.visited = self.stats.visited.saturating_add(1);
        let mut env = Env {
            row,
            state,
            params: self.params,
            maps: &mut [],
            host: &mut self.sink,
            fuel: FUEL,
        };
        let verdict = self.verified.run(&mut env, &mut self.stack).ok().and_then(Verdict::from_r0);
        let record = self.sink.record.take();
        let counter = match verdict {
            Some(Verdict::Pass) => return,
            Some(Verdict::Match) => {
                let kept = record.is_some_and(|record| {
                    self.records.len() < RECORDS_MAX && self.records.push(&record)
                });
                if !kept {
                    self.stats.dropped = self.stats.dropped.saturating_add(1);
                }
                &mut self.stats.matched
            }
            Some(Verdict::Warming) => &mut self.stats.warming,
            Some(Verdict::Unreadable) | None => &mut self.stats.unreadable,
        };
        *counter = counter.saturating_add(1);
    }
}

/// The helpers' other side: keeps the record of the row that is being run.
struct Sink {
    now_ns: u64,
    record: Option<Vec<u8>>,
}

impl Helpers for Sink {
    fn emit(&mut self, record: &[u8]) -> bool {
        self.record = Some(record.to_vec());
        true
    }

    fn boot_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn waits_for(&mut self, _: u64) -> u64 {
        // Rows have the columns for it, which were looked at twice.
        0
    }
}

/// The slots of a program's bytes; a rest of less than a slot is left out and so refused.
fn slots(bytes: &[u8]) -> Vec<RawInsn> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| RawInsn::from_bytes(*bytes)).collect()
}
