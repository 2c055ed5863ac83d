//! The `vm` host: kernel-vm over the tables that /proc shows, or that a file recorded.
//!
//! The object's `vm` program is verified as the kernel would verify its own, then run for
//! each row. No privilege is needed; what may not be read is missing.
//!
//! **Invariant**: a row's state belongs to its id and start time, and goes when the row is
//! no longer seen.

mod group;
mod program;
pub mod series;

use super::{Host, HostKind, Request, Session, Sweep};
use crate::error::LoadError;
use crate::procfs::Procfs;
use crate::procfs::walk::{Layout, RowKey};
use crate::record::RecordBatch;
use crate::snapshot::Playback;
use group::Groups;
use kernel_vm::abi::SweepStats;
use kernel_vm::object::{FilterMeta, GroupMeta};
use kernel_vm::schema::Table;
use program::{Outcome, Run};
pub(super) use program::{Program, finish_code};
use std::collections::HashMap;
use std::time::{Duration, Instant};

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
    filter: String,
    rows: Program,
    groups: Option<(GroupMeta, Program)>,
    layout: Layout,
    source: Source,
    states: HashMap<RowKey, RowState>,
    sweeps: u64,
}

/// Where rows come from.
#[derive(Debug)]
enum Source {
    Procfs(Box<Procfs>),
    Recorded(Playback),
}

#[derive(Debug)]
struct RowState {
    seen: u64,
    bytes: Vec<u8>,
}

impl VmSession {
    /// Verifies the filter's program and prepares to read its table from /proc.
    ///
    /// # Errors
    /// When the program is refused, or its rows do not fit this schema.
    pub fn new(request: &Request<'_>) -> Result<Self, LoadError> {
        Self::over(request, Source::Procfs(Box::default()))
    }

    /// As [`VmSession::new`], but each sweep is the next one of a recording.
    ///
    /// # Errors
    /// As [`VmSession::new`].
    pub fn recorded(request: &Request<'_>, playback: Playback) -> Result<Self, LoadError> {
        Self::over(request, Source::Recorded(playback))
    }

    /// Insns that a row takes at most, and then a group: the verifier's bound.
    ///
    /// # Errors
    /// When the program is refused after all.
    pub fn insns_max(&self) -> Result<u64, LoadError> {
        let refuse = |reason| LoadError::Vm { filter: self.filter.clone(), reason };
        let finish = self.groups.iter().map(|(_, finish)| finish);
        std::iter::once(&self.rows).chain(finish).try_fold(0_u64, |sum, program| {
            let most = program.verified(|verified| verified.max_insns()).map_err(refuse)?;
            Ok(sum.saturating_add(most))
        })
    }

    fn over(request: &Request<'_>, source: Source) -> Result<Self, LoadError> {
        let meta = request.filter;
        let refuse = |reason| LoadError::Vm { filter: meta.name.clone(), reason };
        let layout = Table::from_name(&meta.table)
            .and_then(|table| Layout::new(table, &meta.vm))
            .ok_or_else(|| refuse("its rows are of another schema".to_owned()))?;
        let rows = Program::of_rows(request).map_err(refuse)?;
        let finish = Program::of_groups(request).map_err(refuse)?;
        let groups = meta.group.clone().zip(finish);
        if let Some((group, _)) = &groups {
            group::check(group).map_err(refuse)?;
        }
        Ok(Self {
            filter: meta.name.clone(),
            rows,
            groups,
            layout,
            source,
            states: HashMap::new(),
            sweeps: 0,
        })
    }
}

impl Session for VmSession {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let began = Instant::now();
        self.sweeps = self.sweeps.saturating_add(1);
        let sweep = self.sweeps;
        let Self { filter, rows, groups, layout, source, states, .. } = self;
        let refuse = |reason| LoadError::Vm { filter: filter.clone(), reason };
        let now_ns = source.now_ns(layout.table()).map_err(refuse)?;
        let mut found = Found::new(groups.as_ref(), rows);
        let walked = rows
            .verified(|verified| {
                let mut run = Run::new(rows, verified, now_ns);
                let mut none = [0; 0];
                let keeps_state = !rows.fresh_state().is_empty();
                source.walk(layout, now_ns, |key, row| {
                    let state = if keeps_state {
                        let fresh = || RowState { seen: 0, bytes: rows.fresh_state() };
                        let state = states.entry(key).or_insert_with(fresh);
                        state.seen = sweep;
                        state.bytes.as_mut_slice()
                    } else {
                        none.as_mut_slice()
                    };
                    found.row(run.row(row, state));
                })
            })
            .map_err(refuse)?;
        let unreadable = walked.map_err(|error| LoadError::Missing {
            what: "/proc".to_owned(),
            why: error.to_string(),
            way_out: "mount it: mount -t proc proc /proc".to_owned(),
        })?;
        states.retain(|_, state| state.seen == sweep);
        let (records, mut stats) = found.finish(now_ns).map_err(refuse)?;
        stats.unreadable = stats.unreadable.saturating_add(unreadable);
        let took = began.elapsed();
        stats.sweeps = sweep;
        stats.started_ns = now_ns.cast_unsigned();
        stats.took_ns = nanoseconds(took);
        Ok(Sweep { records, stats, took })
    }
}

impl Source {
    /// The time of the sweep that comes next.
    fn now_ns(&mut self, table: Table) -> Result<i64, String> {
        match self {
            Self::Procfs(_) => Ok(crate::sys::boot_time_ns()),
            Self::Recorded(playback) => playback
                .next_sweep(table)
                .ok_or_else(|| format!("the recording has no further sweep of `{}`", table.name())),
        }
    }

    fn walk(
        &mut self,
        layout: &Layout,
        now_ns: i64,
        each: impl FnMut(RowKey, &[u8]),
    ) -> std::io::Result<u64> {
        match self {
            Self::Procfs(procfs) => procfs.walk(layout, now_ns, each),
            Self::Recorded(playback) => Ok(playback.walk(layout, each)),
        }
    }
}

/// What becomes of groups of one that another host's rows made.
#[derive(Debug)]
pub(super) struct GroupedFilter {
    meta: GroupMeta,
    finish: Program,
}

impl GroupedFilter {
    /// The groups of `filter`, with the `finish` program's code and its parameters; `None` for
    /// a filter without groups.
    ///
    /// # Errors
    /// When the program is refused, or the groups do not hold together.
    pub(super) fn new(
        filter: &FilterMeta,
        finish: &[u8],
        block: &[u8],
    ) -> Result<Option<Self>, String> {
        let Some(meta) = filter.group.clone() else { return Ok(None) };
        group::check(&meta)?;
        let finish = Program::finishing(filter, finish, block)?;
        Ok(Some(Self { meta, finish }))
    }

    /// The records of the groups that `ones` add up to. `stats` counted rows; now it counts
    /// groups, as every host does.
    ///
    /// # Errors
    /// When the `finish` program is refused.
    pub(super) fn merge<'o>(
        &self,
        ones: impl Iterator<Item = &'o [u8]>,
        stats: &mut SweepStats,
    ) -> Result<RecordBatch, String> {
        stats.matched = 0;
        let mut groups = Groups::new(&self.meta);
        ones.for_each(|one| groups.add(one.to_vec()));
        let records = RecordBatch::new(self.finish.output_size());
        let found = Found { stats: *stats, records, groups: Some((groups, &self.finish)) };
        let (records, counted) = found.finish(stats.started_ns.cast_signed())?;
        *stats = counted;
        Ok(records)
    }
}

/// What a sweep has found so far.
struct Found<'s> {
    stats: SweepStats,
    records: RecordBatch,
    groups: Option<(Groups<'s>, &'s Program)>,
}

impl<'s> Found<'s> {
    fn new(groups: Option<&'s (GroupMeta, Program)>, rows: &Program) -> Self {
        let record = groups.map_or(rows, |(_, finish)| finish).output_size();
        Self {
            stats: SweepStats::default(),
            records: RecordBatch::new(record),
            groups: groups.map(|(meta, finish)| (Groups::new(meta), finish)),
        }
    }

    fn row(&mut self, outcome: Outcome) {
        self.stats.visited = self.stats.visited.saturating_add(1);
        match (outcome, &mut self.groups) {
            (Outcome::Match(Some(one)), Some((groups, _))) => groups.add(one),
            (outcome, _) => self.verdict(outcome),
        }
    }

    fn verdict(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Match(record) => program::keep(&mut self.stats, &mut self.records, record),
            Outcome::Other(verdict) => program::count(&mut self.stats, verdict),
        }
    }

    fn finish(mut self, now_ns: i64) -> Result<(RecordBatch, SweepStats), String> {
        if let Some((groups, finish)) = self.groups.take() {
            let (groups, dropped) = groups.finish();
            self.stats.dropped = self.stats.dropped.saturating_add(dropped);
            finish.verified(|verified| {
                let mut run = Run::new(finish, verified, now_ns);
                for group in &groups {
                    self.verdict(run.row(group, &mut []));
                }
            })?;
        }
        Ok((self.records, self.stats))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
