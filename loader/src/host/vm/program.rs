//! A filter's `vm` program: verified, then run row by row.
//!
//! **Invariant**: nothing is run that was not verified for the very sizes of row, state,
//! parameters and record that it is given.

use super::super::Request;
use crate::record::RecordBatch;
use kernel_vm::abi::{SweepStats, Verdict};
use kernel_vm::isa::RawInsn;
use kernel_vm::object::FilterMeta;
use kernel_vm::run::{Env, Host as Helpers, Op, Stack};
use kernel_vm::verify::{Note, Scratch, Spec, State, VerifiedProgram, verify};

/// Functions that a run may enter: more than any compiled filter does.
const FUEL: u64 = 1 << 20;
/// Most records of one sweep; more are counted as dropped.
pub(super) const RECORDS_MAX: usize = 1 << 20;

/// A program that has been verified, with what it works on.
#[derive(Debug)]
pub(in crate::host) struct Program {
    insns: Vec<RawInsn>,
    row_size: u32,
    state_size: u32,
    /// Bytes that it emits.
    output_size: u32,
    rodata: Vec<u8>,
}

impl Program {
    /// The program that is run for each row. Of a filter with groups it emits a group of
    /// one, else a record.
    pub(in crate::host) fn of_rows(request: &Request<'_>) -> Result<Self, String> {
        let meta = request.filter;
        let output_size = meta.group.as_ref().map_or(meta.record.size, |group| group.size);
        Self {
            insns: slots(request.object.vm_program(meta)),
            row_size: meta.vm.row_size,
            state_size: meta.state_size,
            output_size,
            rodata: request.block().to_vec(),
        }
        .proven()
    }

    /// The program that is run for each group after the last row; `None` without groups.
    pub(super) fn of_groups(request: &Request<'_>) -> Result<Option<Self>, String> {
        let finish = finish_code(request);
        finish.map(|code| Self::finishing(request.filter, code, request.block())).transpose()
    }

    /// The program of `code` that is run for each group of `filter`.
    pub(super) fn finishing(
        filter: &FilterMeta,
        code: &[u8],
        block: &[u8],
    ) -> Result<Self, String> {
        Self {
            insns: slots(code),
            row_size: filter.group.as_ref().map_or(0, |group| group.size),
            state_size: 0,
            output_size: filter.record.size,
            rodata: block.to_vec(),
        }
        .proven()
    }

    fn proven(self) -> Result<Self, String> {
        self.verified(|_| ())?;
        Ok(self)
    }

    fn spec(&self) -> Spec<'static> {
        Spec {
            row_size: self.row_size,
            state_size: self.state_size,
            params_size: u32::try_from(self.rodata.len()).unwrap_or(0),
            record_size: self.output_size,
            maps: &[],
        }
    }

    /// Bytes that it emits.
    pub(in crate::host) fn output_size(&self) -> usize {
        usize::try_from(self.output_size).unwrap_or(0)
    }

    /// A row's state before the row is first seen.
    pub(super) fn fresh_state(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.state_size).unwrap_or(0)]
    }

    /// Shows the verified program to `with`. Verifying takes microseconds, and spares
    /// keeping a proof beside what it is about.
    pub(super) fn verified<T>(
        &self,
        with: impl FnOnce(&VerifiedProgram<'_>) -> T,
    ) -> Result<T, String> {
        let length = self.insns.len();
        let mut notes = vec![Note::default(); Scratch::notes_needed(length)];
        let mut states = vec![State::default(); Scratch::states_needed(length)];
        let mut scratch = Scratch { notes: &mut notes, states: &mut states };
        match verify(&self.insns, self.spec(), &mut scratch) {
            Ok(program) => Ok(with(&program.threaded(&mut vec![Op::BLANK; length]))),
            Err(rejection) => Err(rejection.to_string()),
        }
    }
}

/// The code of the program that is run for each group; `None` without groups.
pub(in crate::host) fn finish_code<'r>(request: &'r Request<'_>) -> Option<&'r [u8]> {
    let group = request.filter.group.as_ref()?;
    Some(request.object.vm_code(group.finish))
}

/// What a run over one row came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The row matched and emitted this; `None` when it emitted nothing.
    Match(Option<Vec<u8>>),
    /// Any other verdict; `None` for none that a filter has.
    Other(Option<Verdict>),
}

/// One sweep of a program.
pub(super) struct Run<'p> {
    verified: &'p VerifiedProgram<'p>,
    params: &'p [u8],
    stack: Box<Stack>,
    sink: Sink,
}

impl<'p> Run<'p> {
    pub(super) fn new(
        program: &'p Program,
        verified: &'p VerifiedProgram<'p>,
        now_ns: i64,
    ) -> Self {
        Self {
            verified,
            params: &program.rodata,
            stack: Box::default(),
            sink: Sink { now_ns: now_ns.cast_unsigned(), record: None },
        }
    }

    /// Runs the program over one row.
    pub(super) fn row(&mut self, row: &[u8], state: &mut [u8]) -> Outcome {
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
        match verdict {
            Some(Verdict::Match) => Outcome::Match(record),
            other => Outcome::Other(other),
        }
    }
}

/// Counts a row that did not match.
pub(super) fn count(stats: &mut SweepStats, verdict: Option<Verdict>) {
    let counter = match verdict {
        Some(Verdict::Pass) => return,
        Some(Verdict::Match) => &mut stats.matched,
        Some(Verdict::Warming) => &mut stats.warming,
        Some(Verdict::Unreadable) | None => &mut stats.unreadable,
    };
    *counter = counter.saturating_add(1);
}

/// Counts a match and keeps its record.
pub(super) fn keep(stats: &mut SweepStats, records: &mut RecordBatch, record: Option<Vec<u8>>) {
    count(stats, Some(Verdict::Match));
    let has_room = records.len() < RECORDS_MAX;
    if !record.is_some_and(|record| has_room && records.push(&record)) {
        stats.dropped = stats.dropped.saturating_add(1);
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
