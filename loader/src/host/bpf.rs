//! The kernel as a host: load through bpf(2), sweep with one system call, read a ring buffer.
//!
//! **Invariant**: descriptors are owned, so that a load that fails half-way closes what it
//! had opened and the kernel frees it. The lock limit (RLIMIT_MEMLOCK) is never touched.

mod kept;
mod maps;
mod program;
pub(crate) mod resident;
mod session;
mod types;

pub use kept::{Kept, TASK_BYTES, kept};
pub use maps::{records_bytes, thread_count};
pub use program::{Loaded, LoadedMap, Reuse, load_programs};
pub(crate) use resident::sweep_end;
pub use resident::{Batch, Stream};
pub use session::BpfSession;
pub(crate) use session::link_rows;
pub use types::Types;

use super::{Host, HostKind, Request, Session};
use crate::core_reloc::{RelocError, RelocErrorKind};
use crate::error::{ErrorClass, LoadError};
use crate::params::SystemValues;
use crate::sys::Sys;
use std::path::Path;
use std::rc::Rc;

/// The kernel.
#[derive(Clone)]
pub struct BpfHost {
    sys: Rc<dyn Sys>,
    types: Rc<Types>,
}

impl std::fmt::Debug for BpfHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BpfHost")
    }
}

impl BpfHost {
    /// The kernel behind `sys`.
    #[must_use]
    pub fn new(sys: Rc<dyn Sys>) -> Self {
        Self { sys, types: Rc::default() }
    }

    /// The running kernel.
    #[must_use]
    pub fn running() -> Self {
        Self::new(Rc::new(crate::sys::Kernel))
    }

    /// The running kernel, of which types and functions called `names` are looked for while
    /// the caller makes the object that refers to them.
    #[must_use]
    pub fn ahead<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { types: Rc::new(Types::ahead(names)), ..Self::running() }
    }

    /// As [`Host::load`], with the session's own type: the sweep if this kernel takes it, else
    /// the classic programs.
    ///
    /// # Errors
    /// As [`Host::load`].
    pub fn load_session(&self, request: &Request<'_>) -> Result<BpfSession, LoadError> {
        let refused = match self.load_these(request, &[&request.filter.bpf.sweep]) {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        // Not even a kernel that is older would be content with these.
        if refused.class() != ErrorClass::Host || matches!(refused, LoadError::Missing { .. }) {
            return Err(refused);
        }
        match self.load_classic(request) {
            Some(Ok(session)) => Ok(session),
            Some(Err(error)) if is_too_old(&refused) => Err(error.or_too_old(WALKS)),
            Some(Err(_)) | None => Err(refused.or_too_old(WALKS)),
        }
    }

    /// The classic programs, whether or not this kernel takes the sweep; `None` when the filter
    /// has none.
    ///
    /// # Errors
    /// As [`Host::load`].
    #[must_use]
    pub fn load_classic(&self, request: &Request<'_>) -> Option<Result<BpfSession, LoadError>> {
        let passes = &request.filter.bpf.classic;
        let names: Vec<&str> = passes.iter().map(|pass| pass.program.as_str()).collect();
        (!names.is_empty()).then(|| self.load_these(request, &names))
    }

    fn load_these(&self, request: &Request<'_>, names: &[&str]) -> Result<BpfSession, LoadError> {
        let loaded = load_programs(&*self.sys, &self.types, request, names, Vec::new())?;
        BpfSession::new(Rc::clone(&self.sys), request.filter, loaded)
    }
}

impl Host for BpfHost {
    fn kind(&self) -> HostKind {
        HostKind::Bpf
    }

    fn load(&mut self, request: &Request<'_>) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(self.load_session(request)?))
    }
}

/// What a kernel that lacks a function cannot do, and the way out.
pub(crate) const WALKS: (&str, &str) = (
    "the filter reads what no program of this kernel can walk to",
    "use `--host vm`, or Linux 6.10 and later",
);

/// Whether the kernel lacks a function that newer ones have.
pub(crate) fn is_too_old(error: &LoadError) -> bool {
    matches!(error, LoadError::Relocation(error) if error.kind == RelocErrorKind::NoKfunc)
}

impl LoadError {
    /// The same, said in the words given if it is that the kernel lacks a function.
    pub(crate) fn or_too_old(self, (why, way_out): (&str, &str)) -> Self {
        if let Self::Relocation(RelocError { what, kind: RelocErrorKind::NoKfunc, .. }) = self {
            return Self::Missing { what, why: why.to_owned(), way_out: way_out.to_owned() };
        }
        self
    }
}

/// The machine's memory and processors; 0 for what cannot be read.
#[must_use]
pub fn system_values(sys: &dyn Sys) -> SystemValues {
    let text = |path: &str| sys.read_text(Path::new(path)).unwrap_or_default();
    SystemValues {
        memory: total_memory(&text("/proc/meminfo")).unwrap_or(0),
        cpus: online_cpus(&text("/sys/devices/system/cpu/online")).unwrap_or(0),
    }
}

/// `MemTotal:  123 kB` in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How many processors `0-3,8` are.
fn online_cpus(list: &str) -> Option<u64> {
    list.trim().split(',').try_fold(0_u64, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)?.checked_add(sum)
    })
}

#[cfg(test)]
mod tests;
