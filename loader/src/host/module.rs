//! The `module` host: kernel-vm inside a kernel whose module `kfilter.ko` is loaded.
//!
//! An open file of the module's device is a loaded filter. The `vm` program of the object is
//! verified here, for words when it is refused, and again in the kernel, which trusts
//! nobody. Groups come out of the kernel as groups of one and are merged here, by the code
//! of the `vm` host. Whom threads wait for is found out here too, and said to the module before a
//! sweep ([`crate::waits`]).
//!
//! **Invariant**: a column or table that the module does not have is refused by name before
//! anything is written.

mod image;
mod keep;

pub use image::image;

use super::vm::{GroupedFilter, Program, finish_code};
use super::{Host, HostKind, Request, Session, Sweep};
use crate::error::LoadError;
use crate::procfs::columns::sources;
use crate::procfs::task::Source;
use crate::record::RecordBatch;
use crate::sys::{Device, Errno, ModuleFile, SyscallError};
use kernel_vm::module::{DEVICE, REFUSALS, VERSION, Wait};
use kernel_vm::object::FilterMeta;
use kernel_vm::schema::SCHEMA_VERSION;
use std::rc::Rc;
use std::time::Instant;

/// Opens the module's device.
type Opener = dyn Fn() -> Result<Box<dyn ModuleFile>, SyscallError>;

/// The module of a kernel.
#[derive(Clone)]
pub struct ModuleHost {
    open: Rc<Opener>,
}

impl std::fmt::Debug for ModuleHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModuleHost")
    }
}

impl ModuleHost {
    /// The module behind the device that `open` opens.
    #[must_use]
    pub fn new(open: Rc<Opener>) -> Self {
        Self { open }
    }

    /// The running kernel's.
    #[must_use]
    pub fn running() -> Self {
        Self::new(Rc::new(|| Ok(Box::new(Device::open()?))))
    }

    /// As [`Host::load`], with the session's own type.
    ///
    /// # Errors
    /// As [`Host::load`].
    pub fn load_session(&self, request: &Request<'_>) -> Result<ModuleSession, LoadError> {
        let image = image(request)?;
        let refuse = |reason| LoadError::Module { filter: request.filter.name.clone(), reason };
        // The words of a refusal are those of the verifier here.
        Program::of_rows(request).map_err(refuse)?;
        let finish = finish_code(request).unwrap_or_default();
        let groups = GroupedFilter::new(request.filter, finish, request.block()).map_err(refuse)?;
        let file = speaking((self.open)().map_err(opening)?)?;
        file.load(&image).map_err(|error| refused(request, &*file, error))?;
        Ok(ModuleSession::new(request.filter, file, groups))
    }
}

impl Host for ModuleHost {
    fn kind(&self) -> HostKind {
        HostKind::Module
    }

    fn load(&mut self, request: &Request<'_>) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(self.load_session(request)?))
    }
}

fn opening(error: SyscallError) -> LoadError {
    if !is_absent(&error) {
        return LoadError::syscall("opening the kernel module")(error);
    }
    LoadError::Missing {
        what: DEVICE.to_owned(),
        why: "the kernel module is not loaded".to_owned(),
        way_out: "insmod kfilter.ko".to_owned(),
    }
}

/// The file, if its module speaks this version's language.
fn speaking(file: Box<dyn ModuleFile>) -> Result<Box<dyn ModuleFile>, LoadError> {
    let versions = file.versions().map_err(LoadError::syscall("asking the kernel module"))?;
    if versions == (VERSION, SCHEMA_VERSION) {
        return Ok(file);
    }
    Err(LoadError::Missing {
        what: format!("a kfilter module of interface {VERSION}, schema {SCHEMA_VERSION}"),
        why: format!("the one here has interface {}, schema {}", versions.0, versions.1),
        way_out: "build kfilter.ko of this version".to_owned(),
    })
}

/// Whether there is no module to open.
const fn is_absent(error: &SyscallError) -> bool {
    matches!(error.errno, Errno(libc::ENOENT | libc::ENODEV | libc::ENXIO))
}

/// What the kernel module had against a filter that was fine here.
fn refused(request: &Request<'_>, file: &dyn ModuleFile, error: SyscallError) -> LoadError {
    let reason = match (error.errno, file.why()) {
        (Errno(libc::EINVAL), Ok((place, number))) => {
            match REFUSALS.iter().find(|(known, ..)| *known == number) {
                Some((_, _, words)) => format!("{words} ({place})"),
                None => format!("its verifier refuses insn {place} (reason {number})"),
            }
        }
        _ => return LoadError::syscall("loading into the kernel module")(error),
    };
    LoadError::Module { filter: request.filter.name.clone(), reason }
}

/// A filter in the module. It lives as long as this, or stays loaded under a name.
pub struct ModuleSession {
    filter: String,
    file: Box<dyn ModuleFile>,
    output_size: usize,
    groups: Option<GroupedFilter>,
    /// A column is of whom the thread waits for.
    needs_waits: bool,
}

impl ModuleSession {
    fn new(filter: &FilterMeta, file: Box<dyn ModuleFile>, groups: Option<GroupedFilter>) -> Self {
        let output = filter.group.as_ref().map_or(filter.record.size, |group| group.size);
        let needs_waits = filter
            .vm
            .columns
            .iter()
            .any(|column| sources(&column.name, true).contains(&Source::Waits));
        Self {
            filter: filter.name.clone(),
            file,
            output_size: output as usize,
            groups,
            needs_waits,
        }
    }
}

/// What is said to the module of whom threads wait for.
fn waits() -> Vec<Wait> {
    let all = crate::waits::look_everywhere().all().into_iter();
    all.map(|(tid, wait)| {
        let known = wait.unwrap_or_default();
        Wait {
            tid: tid.unsigned_abs().into(),
            is_known: wait.is_some().into(),
            waits_on: known.address,
            waits_for: known.owner,
            wait_class: known.class as i64,
            cycle_id: known.cycle_id,
            cycle_length: known.cycle_length,
        }
    })
    .collect()
}

impl std::fmt::Debug for ModuleSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleSession").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Session for ModuleSession {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let began = Instant::now();
        let sweeping = || LoadError::syscall(format!("sweeping with filter `{}`", self.filter));
        let mut bytes = Vec::new();
        if self.needs_waits {
            self.file.set_waits(&waits()).map_err(|error| match error.errno {
                Errno(libc::EXDEV) => LoadError::Missing {
                    what: "the first pid namespace".to_owned(),
                    why: "the loader reads whom threads wait for, and sees another one's"
                        .to_owned(),
                    way_out: "run it outside of the container, or use --host bpf".to_owned(),
                },
                _ => sweeping()(error),
            })?;
        }
        self.file.sweep(&mut bytes).map_err(sweeping())?;
        let mut stats = self.file.stats().map_err(sweeping())?;
        let rows = bytes.chunks_exact(self.output_size.max(1));
        let records = match &self.groups {
            None => {
                let mut records = RecordBatch::new(self.output_size);
                rows.for_each(|row| _ = records.push(row));
                records
            }
            Some(groups) => groups
                .merge(rows, &mut stats)
                .map_err(|reason| LoadError::Module { filter: self.filter.clone(), reason })?,
        };
        Ok(Sweep { records, stats, took: began.elapsed() })
    }
}
