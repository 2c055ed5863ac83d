//! What runs a filter: the kernel through bpf(2), or the VM over a snapshot.
//!
//! A host takes a parsed object, one of its filters and that filter's finished `.rodata`
//! block, and hands back a [`Session`], whose sweeps yield records and statistics.
//!
//! **Invariant**: hosts differ in speed and privilege only. Records, parameters and
//! statistics of one object mean the same on each.

use crate::elf::Object;
use crate::error::LoadError;
use crate::record::RecordBatch;
use kernel_vm::abi::SweepStats;
use kernel_vm::object::FilterMeta;
use std::time::Duration;

pub mod bpf;
pub mod module;
pub mod vm;

/// Which host runs a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostKind {
    /// The Linux kernel, through bpf(2).
    Bpf,
    /// kernel-vm over a snapshot of /proc.
    Vm,
    /// kernel-vm in the kernel: the module `kfilter.ko`.
    Module,
}

impl HostKind {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Vm => "vm",
            Self::Module => "module",
        }
    }
}

/// One filter, ready to be handed to a host.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The object that it is in.
    pub object: &'a Object,
    /// The filter, one of the object's.
    pub filter: &'a FilterMeta,
    /// The whole `.rodata` section with system values and parameters filled in; the
    /// filter's block is `filter.rodata`.
    pub rodata: Vec<u8>,
}

impl Request<'_> {
    /// The filter's block of `.rodata`: what `r3` of its `vm` program points to.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        let start = self.filter.rodata.offset as usize;
        let end = start.saturating_add(self.filter.rodata.size as usize);
        self.rodata.get(start..end).unwrap_or(&[])
    }
}

/// A place where filters run.
pub trait Host {
    /// Which one it is.
    fn kind(&self) -> HostKind;

    /// Loads a filter. When it fails, nothing of it stays behind.
    ///
    /// # Errors
    /// [`LoadError`] says whether the object, the host or the privilege was at fault.
    fn load(&mut self, request: &Request<'_>) -> Result<Box<dyn Session>, LoadError>;
}

/// A loaded filter. Dropping it unloads it.
pub trait Session {
    /// Makes one sweep over the filter's table.
    ///
    /// # Errors
    /// [`LoadError`] when the host cannot sweep (any more).
    fn sweep(&mut self) -> Result<Sweep, LoadError>;
}

/// What one sweep found.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The matching rows, unsorted and before `top`; see
    /// [`crate::record::RecordBatch::apply_top`].
    pub records: RecordBatch,
    /// The program's counters.
    pub stats: SweepStats,
    /// How long it took, seen from user space.
    pub took: Duration,
}
