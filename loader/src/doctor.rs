//! What works on this machine, found out by trying; what is missing, with errno and a way
//! out.
//!
//! Data only: the command line renders it.
//!
//! **Invariant**: a feature is reported to work only after the kernel accepted a use of it;
//! a version number decides nothing. Whatever was loaded to try is gone afterwards.

pub(crate) mod machine;
mod probe;
mod probes;

use crate::sys::{Errno, Sys};
use kernel_vm::schema::Table;

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel's release, as in uname -r.
    pub kernel: String,
    /// The capabilities that matter, and whether this process has them.
    pub capabilities: Vec<Capability>,
    /// Features, in the order in which they build upon each other.
    pub checks: Vec<Check>,
    /// What the tables can be read with.
    pub tables: Vec<TableCheck>,
}

/// A capability of capabilities(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// Whether this process has it in effect; `None` when that cannot be read.
    pub held: Option<bool>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub feature: Feature,
    /// Whether it works.
    pub outcome: Outcome,
}

/// Whether something works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works; with a detail, which may be empty.
    Works(String),
    /// It does not.
    Missing {
        /// The kernel's errno, where it gave one.
        errno: Option<Errno>,
        /// What was tried and what happened.
        why: String,
        /// What can be done.
        way_out: String,
    },
}

impl Outcome {
    /// Whether it works.
    #[must_use]
    pub const fn works(&self) -> bool {
        matches!(self, Self::Works(_))
    }
}

/// A table and the hosts that can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCheck {
    /// The table.
    pub table: Table,
    /// The `bpf` host: the features that it lacks for this table; empty when it works.
    pub bpf_lacks: Vec<Feature>,
    /// The `vm` host over /proc.
    pub vm: Outcome,
}

/// A feature of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// The kernel's types.
    KernelBtf,
    /// Loading an object's types.
    LoadBtf,
    /// A `syscall` program, loaded and run.
    SyscallProgram,
    /// A ring buffer.
    RingBuffer,
    /// Storage that lives with a task.
    TaskStorage,
    /// The open-coded iterator over tasks.
    TaskIterator,
    /// The open-coded iterator over mappings.
    MappingIterator,
    /// A classic `iter/task` program.
    IterTask,
    /// A sleeping iterator that reads user memory.
    IterTaskSleepable,
    /// An iterator link for a single thread.
    SingleTaskLink,
    /// A timer in a map.
    Timer,
    /// A work queue in a map.
    WorkQueue,
    /// A mounted bpffs that takes pins.
    Pinning,
}

impl Feature {
    /// Every feature, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::KernelBtf,
        Self::LoadBtf,
        Self::SyscallProgram,
        Self::RingBuffer,
        Self::TaskStorage,
        Self::TaskIterator,
        Self::MappingIterator,
        Self::IterTask,
        Self::IterTaskSleepable,
        Self::SingleTaskLink,
        Self::Timer,
        Self::WorkQueue,
        Self::Pinning,
    ];

    /// Its name in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelBtf => "kernel types (BTF)",
            Self::LoadBtf => "object types (BTF)",
            Self::SyscallProgram => "syscall program",
            Self::RingBuffer => "ring buffer",
            Self::TaskStorage => "task storage",
            Self::TaskIterator => "task iterator",
            Self::MappingIterator => "mapping iterator",
            Self::IterTask => "iter/task program",
            Self::IterTaskSleepable => "iter.s/task program",
            Self::SingleTaskLink => "single-thread iterator",
            Self::Timer => "timer",
            Self::WorkQueue => "work queue",
            Self::Pinning => "pinning (bpffs)",
        }
    }

    /// What it is needed for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::KernelBtf => "every filter on the bpf host",
            Self::LoadBtf => "every filter on the bpf host",
            Self::SyscallProgram => "sweeps",
            Self::RingBuffer => "records",
            Self::TaskStorage => "history: rate, delta, mean, for",
            Self::TaskIterator => "sweeps over processes and threads",
            Self::MappingIterator => "sweeps over mappings",
            Self::IterTask => "filters that are read from a file; sweeps of older kernels",
            Self::IterTaskSleepable => "who waits for whose mutex",
            Self::SingleTaskLink => "filters that are read from a file",
            Self::Timer | Self::WorkQueue => "resident filters",
            Self::Pinning => "filters that stay loaded",
        }
    }

    /// What to do when the kernel does not know it, privilege aside.
    const fn way_out(self) -> &'static str {
        match self {
            Self::KernelBtf => "use a kernel with CONFIG_DEBUG_INFO_BTF=y, or `--host vm`",
            Self::LoadBtf | Self::SyscallProgram | Self::RingBuffer => {
                "use a kernel with CONFIG_BPF_SYSCALL=y, or `--host vm`"
            }
            Self::TaskStorage => "use kernel 5.12 or newer, or `--host vm`",
            Self::TaskIterator => {
                "sweeps go through iter/task programs, which cost more; kernel 6.10 has it"
            }
            Self::MappingIterator => {
                "sweeps go through iter/task_vma programs, which cost more; kernel 6.10 has it"
            }
            Self::IterTask => "use kernel 5.8 or newer, or `kfilter run`",
            Self::IterTaskSleepable => "use kernel 5.18 or newer",
            Self::SingleTaskLink => "use kernel 6.1 or newer, or `kfilter run`",
            Self::Timer => "use kernel 5.15 or newer, or `kfilter run --every`",
            Self::WorkQueue => "use kernel 6.10 or newer, or `kfilter run --every`",
            Self::Pinning => "mount -t bpf bpf /sys/fs/bpf",
        }
    }
}

/// What every filter on the `bpf` host needs.
const BASE: [Feature; 3] = [Feature::KernelBtf, Feature::LoadBtf, Feature::RingBuffer];
/// What a sweep takes besides, unless the kernel walks for it: [`Feature::IterTask`].
const SWEEP: [Feature; 2] = [Feature::SyscallProgram, Feature::TaskIterator];

/// Looks at the machine behind `sys`.
#[must_use]
pub fn examine(sys: &dyn Sys) -> Report {
    let checks = probes::run_all(sys);
    let lacks = |feature: &Feature| {
        !checks.iter().any(|check| check.feature == *feature && check.outcome.works())
    };
    let vm = machine::procfs(sys);
    let tables = Table::ALL
        .into_iter()
        .map(|table| {
            let extra = (table == Table::Mapping).then_some(Feature::MappingIterator);
            let mut bpf_lacks: Vec<_> = BASE.into_iter().filter(lacks).collect();
            if lacks(&Feature::IterTask) {
                bpf_lacks.extend(SWEEP.into_iter().chain(extra).filter(lacks));
            }
            TableCheck { table, bpf_lacks, vm: vm.clone() }
        })
        .collect();
    Report {
        kernel: machine::release(sys),
        capabilities: machine::capabilities(sys),
        checks,
        tables,
    }
}

#[cfg(test)]
mod tests;
