//! Filters that stay loaded: pinned below a bpffs, with no process of ours to keep them.
//!
//! ```text
//! /sys/fs/bpf/kfilter/NAME/
//!     meta      what the filter is, as JSON in a frozen map
//!     sweep     the program that makes a sweep
//!     records   the ring buffer that records go to
//!     bss       the statistics
//!     rodata    system values and parameters
//!     state     history, if the filter keeps any
//!     read      an iterator: reading it is a sweep, and gives records
//!     text      the same, as lines for people
//!     timer     what makes it sweep by itself, and the program that ends that,
//!     stop      if it is resident
//!     acts      its last acts, if it acts from the kernel
//!     pass0...  where no program walks by itself (before Linux 6.10) and a sweep takes several
//!               readings, in the place of `sweep`, `read` and `text`: what a session reads
//! ```
//!
//! **Invariant**: `NAME` is there whole or not at all. It is made beside its place and moved
//! there in one step; what a killed loader left is removed by the next one.

mod acting;
mod directory;
mod meta;
mod place;
mod reader;
mod resident;
mod rows;
mod turns;

pub use acting::{ActCounts, Spared};
pub use meta::PinMeta;
pub(crate) use meta::{code_digest, unreadable};
pub use reader::FileSession;
pub use resident::PERIOD_MIN;

use crate::error::LoadError;
use crate::host::bpf::resident::explain;
use crate::host::bpf::{BpfSession, Loaded, LoadedMap, Reuse, Types, is_too_old, load_programs};
use crate::host::{Request, Session};
use crate::limit::Rails;
use crate::link::ProgramKind;
use crate::sys::{Call, Sys};
use directory::{Aside, Directory};
use kernel_vm::object::FilterMeta;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use turns::Turns;

/// Where filters are pinned.
pub const ROOT: &str = "/sys/fs/bpf/kfilter";
/// Longest name of a loaded filter.
pub const NAME_BYTES_MAX: usize = 64;

/// The files of a loaded filter.
mod file {
    pub(super) const META: &str = "meta";
    pub(super) const SWEEP: &str = "sweep";
    pub(super) const RECORDS: &str = "records";
    pub(super) const BSS: &str = "bss";
    pub(super) const RODATA: &str = "rodata";
    pub(super) const STATE: &str = "state";
    pub(super) const READ: &str = "read";
    pub(super) const TEXT: &str = "text";
    pub(super) const TIMER: &str = "timer";
    pub(super) const STOP: &str = "stop";
    pub(super) const ACTS: &str = "acts";
}

/// How to keep a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinOptions {
    /// Under which name.
    pub name: String,
    /// Take the place of a filter of that name.
    pub replace: bool,
    /// Who may read its `read` and `text` files, as in chmod(2); the owner's bits are always
    /// set.
    pub mode: u32,
    /// The group that `mode` grants to.
    pub group: Option<u32>,
    /// The parameters as given, to be shown.
    pub params: Vec<crate::params::Given>,
    /// Sweep in the kernel, this far apart, with nobody to ask for it.
    pub every: Option<Duration>,
    /// Let the kernel send the signals of the filter's `limit`, within these rails.
    pub acting: Option<Rails>,
}

impl PinOptions {
    /// Private, not in anyone's place.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            replace: false,
            mode: 0o600,
            group: None,
            params: Vec::new(),
            every: None,
            acting: None,
        }
    }
}

/// What [`Pins::load`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// A filter of that name was there and is gone.
    pub replaced: bool,
    /// Its history goes on in the new one.
    pub history_kept: bool,
    /// It can be read as files.
    pub readable: bool,
}

/// The loaded filters.
#[derive(Clone)]
pub struct Pins {
    sys: Rc<dyn Sys>,
    types: Rc<Types>,
    root: PathBuf,
}

impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pins").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What a kernel that lacks a function cannot do, and the way out.
const TICKS: (&str, &str) = (
    "a filter that sweeps by itself walks by itself, which this kernel lets no program do",
    "load it without `--every` and sweep with `kfilter read`, or use Linux 6.10 and later",
);

impl Pins {
    /// Those below [`ROOT`] in the running kernel.
    #[must_use]
    pub fn running() -> Self {
        Self::new(Rc::new(crate::sys::Kernel), ROOT)
    }

    /// Those below `root`, a directory on a bpffs, which need not exist.
    #[must_use]
    pub fn new(sys: Rc<dyn Sys>, root: impl Into<PathBuf>) -> Self {
        Self { sys, types: Rc::default(), root: root.into() }
    }

    /// Loads a filter and keeps it. When this fails, what was there before is as it was.
    ///
    /// # Errors
    /// [`LoadError`]; `AlreadyLoaded` unless it may replace.
    pub fn load(&self, request: &Request<'_>, options: &PinOptions) -> Result<Pinned, LoadError> {
        check_name(&options.name)?;
        let directory = Directory::new(&self.root);
        let exists = directory.has(&options.name);
        if exists && !options.replace {
            return Err(LoadError::AlreadyLoaded { name: options.name.clone() });
        }
        let code = code_digest(request.object, request.filter);
        let history = if exists { self.history(&options.name, code) } else { None };
        let history_kept = history.is_some();
        let read = request.filter.bpf.reader.as_ref();
        let ticking = resident::wanted(request.filter, options)?;
        let acting = acting::wanted(&*self.sys, request.filter, options)?;
        if let Some(acting) = &acting {
            acting.ask(&*self.sys, &self.types, request.object)?;
        }
        let mut names = vec![request.filter.bpf.sweep.as_str()];
        names.extend(read.map(|reader| reader.program.as_str()));
        names.extend(ticking.iter().flat_map(|meta| {
            let start = acting.as_ref().map_or(&meta.start, |acting| &acting.meta.start);
            [start.as_str(), meta.stop.as_str()]
        }));
        let mut reuse = reuse_of(request.filter, history.as_ref());
        reuse.extend(acting.iter().flat_map(|acting| acting.reuse(self.last_acts(&options.name))));
        let loaded = match load_programs(&*self.sys, &self.types, request, &names, reuse) {
            Ok(loaded) => loaded,
            Err(refused) if ticking.is_some() => {
                return Err(explain(refused).or_too_old(TICKS));
            }
            Err(refused) if is_too_old(&refused) => return self.load_classic(request, options),
            // Some kernels have the functions, and do not let such programs call them.
            Err(refused @ LoadError::Rejected(_)) => {
                return self.load_classic(request, options).map_err(|_| refused);
            }
            Err(refused) => return Err(refused),
        };
        let lines = read
            .map(|reader| {
                let (sys, program) = (&*self.sys, reader.program.as_str());
                reader::load_lines(sys, &self.types, request, reader, program, &loaded)
            })
            .transpose()?;
        if let Some(acting) = &acting {
            acting.guard(&*self.sys, &loaded)?;
        }
        let description = PinMeta::new(request, options, code, false).store(&*self.sys)?;
        let making = directory.begin(&options.name)?;
        self.pin_all(making.path(), request.filter, &loaded, &description)?;
        let readable = match (&lines, loaded.programs.get(1)) {
            (Some(lines), Some(records)) => {
                let programs = [records.as_fd(), lines.as_fd()];
                self.pin_readers(making.path(), programs, reader::TID, options)?;
                true
            }
            _ => false,
        };
        if let Some(ticking) = ticking {
            self.pin_ticking(making.path(), ticking, &loaded, names.len())?;
        }
        if let Some(acts) = acting.as_ref().and_then(|acting| loaded.map(&acting.meta.acts)) {
            self.pin(making.path(), file::ACTS, acts.fd.as_fd())?;
        }
        directory::open_up(making.path(), options, readable)?;
        let before = self.get(&options.name, file::STOP).ok();
        if let (Some(period), Some(start)) = (options.every, loaded.programs.iter().nth_back(1)) {
            // The one that it replaces is to be gone by the time that this one sweeps.
            let first = if exists { period } else { Duration::ZERO };
            let name = &request.filter.name;
            crate::host::bpf::resident::start(&*self.sys, name, start.as_fd(), period, first)?;
        }
        let old = making.finish(&*self.sys, options.replace)?;
        let replaced = old.is_some();
        if let Some(stop) = before {
            self.stop(&options.name, &stop);
        }
        // It is out of sight: what cannot be removed now is by the next load.
        let _ = old.map(Aside::remove);
        Ok(Pinned { replaced, history_kept, readable })
    }

    /// Names of the loaded filters, sorted.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn list(&self) -> Result<Vec<String>, LoadError> {
        Directory::new(&self.root).names()
    }

    /// What a loaded filter is.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when it cannot be read.
    pub fn show(&self, name: &str) -> Result<PinMeta, LoadError> {
        let map = self.get(name, file::META)?;
        PinMeta::read(&*self.sys, name, map.as_fd())
    }

    /// A session that sweeps with a loaded filter; dropping it leaves the filter loaded.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when a part cannot be opened.
    pub fn open(&self, name: &str) -> Result<(PinMeta, Box<dyn Session>), LoadError> {
        let meta = self.show(name)?;
        // A sweep that is called for would put its records among those of the ticks; and where
        // the kernel walks, who reads the file keeps others away.
        if meta.every_ns.is_some() || meta.by_row && rows::reader(&meta.filter).is_some() {
            let session = FileSession::new(self.read_path(name), &meta.filter);
            return Ok((meta, Box::new(session)));
        }
        let mut maps = Vec::new();
        for (in_object, pin) in
            [(meta.filter.bpf.records.as_str(), file::RECORDS), (".bss", file::BSS)]
        {
            let fd = match self.get(name, pin) {
                Ok(fd) => fd,
                // A filter that never matches has none.
                Err(LoadError::NotLoaded { .. }) if pin == file::RECORDS => continue,
                Err(error) => return Err(error),
            };
            let info = self.map_info(name, fd.as_fd())?;
            let size = if pin == file::RECORDS { info.max_entries } else { info.value_size };
            maps.push(LoadedMap { name: in_object.to_owned(), fd, size });
        }
        let (kind, programs) = (ProgramKind::Syscall, Vec::new());
        let mut loaded = Loaded { kind, programs, maps, btf: None };
        let (sys, filter) = (Rc::clone(&self.sys), &meta.filter);
        let session = if meta.by_row {
            BpfSession::reading(sys, filter, loaded, self.passes(name, filter)?)?
        } else {
            loaded.programs.push(self.get(name, file::SWEEP)?);
            BpfSession::new(sys, filter, loaded)?
        };
        let (directory, name) = (self.root.join(name), name.to_owned());
        Ok((meta, Box::new(Turns { directory, name, session })))
    }

    /// Unloads a filter: its files are removed, and what nobody else holds is freed.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when a file cannot be removed.
    pub fn unload(&self, name: &str) -> Result<(), LoadError> {
        check_name(name)?;
        let not_loaded = || LoadError::NotLoaded { name: name.to_owned() };
        let aside = Directory::new(&self.root).take(name)?.ok_or_else(not_loaded)?;
        // Before its files go: who waits for its records is told, whatever becomes of us.
        if let Ok(stop) = self.get_at(name, aside.path(), file::STOP) {
            self.stop(name, &stop);
        }
        aside.remove()
    }

    fn get(&self, name: &str, pin: &str) -> Result<OwnedFd, LoadError> {
        check_name(name)?;
        self.get_at(name, &self.root.join(name), pin)
    }

    fn get_at(&self, name: &str, directory: &Path, pin: &str) -> Result<OwnedFd, LoadError> {
        let path = directory.join(pin);
        self.sys.bpf_fd(Call::Get { path: &path, read_only: false }).map_err(|error| {
            // A kernel without bpf(2) keeps none.
            if matches!(error.errno.0, libc::ENOENT | libc::ENOSYS) {
                return LoadError::NotLoaded { name: name.to_owned() };
            }
            LoadError::syscall(format!("opening `{pin}` of filter `{name}`"))(error)
        })
    }

    /// The history of the filter that is to be replaced, if the new one reads it alike:
    /// when its code is the same.
    fn history(&self, name: &str, code: u64) -> Option<OwnedFd> {
        let meta = self.show(name).ok().filter(|meta| meta.code == code)?;
        meta.filter.bpf.state.as_ref()?;
        self.get(name, file::STATE).ok()
    }

    fn pin_all(
        &self,
        directory: &Path,
        filter: &FilterMeta,
        loaded: &Loaded,
        description: &OwnedFd,
    ) -> Result<(), LoadError> {
        let pin = |file: &str, fd: BorrowedFd<'_>| self.pin(directory, file, fd);
        pin(file::META, description.as_fd())?;
        if let Some(sweep) = loaded.programs.first().filter(|_| loaded.kind == ProgramKind::Syscall)
        {
            pin(file::SWEEP, sweep.as_fd())?;
        }
        let maps = [
            (Some(&filter.bpf.records), file::RECORDS),
            (Some(&".bss".to_owned()), file::BSS),
            (Some(&".rodata".to_owned()), file::RODATA),
            (filter.bpf.state.as_ref(), file::STATE),
        ];
        for (name, file) in maps {
            if let Some(map) = name.and_then(|name| loaded.map(name)) {
                pin(file, map.fd.as_fd())?;
            }
        }
        Ok(())
    }

    fn pin(&self, directory: &Path, file: &str, fd: BorrowedFd<'_>) -> Result<(), LoadError> {
        let path = directory.join(file);
        let pinned = self.sys.bpf(Call::Pin { object: fd, path: &path });
        pinned.map(|_| ()).map_err(|error| {
            directory::lacking(error.call, &path, error.errno)
                .unwrap_or_else(|| LoadError::syscall(format!("pinning {}", path.display()))(error))
        })
    }

    fn map_info(&self, name: &str, map: BorrowedFd<'_>) -> Result<MapInfo, LoadError> {
        // struct bpf_map_info: type, id, key_size, value_size, max_entries.
        let mut info = [0_u8; 80];
        self.sys
            .bpf(Call::Info { object: map, info: &mut info })
            .map_err(LoadError::syscall(format!("looking at a map of filter `{name}`")))?;
        let word = |offset| crate::btf::word_at(&info, offset).unwrap_or(0);
        Ok(MapInfo { value_size: word(12), max_entries: word(16) })
    }
}

/// The history that a load goes on with.
fn reuse_of(filter: &FilterMeta, history: Option<&OwnedFd>) -> Vec<Reuse> {
    let fd = history.and_then(|fd| fd.try_clone().ok());
    let states = filter.bpf.state.iter().zip(fd);
    states.map(|(map, fd)| Reuse { map: map.clone(), fd }).collect()
}

/// What is asked of a map.
#[derive(Clone, Copy, Debug)]
struct MapInfo {
    value_size: u32,
    max_entries: u32,
}

/// Names become files: a bpffs takes no dots, and `~` marks what is being made.
pub(crate) fn check_name(name: &str) -> Result<(), LoadError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits {
        return Ok(());
    }
    Err(LoadError::Name {
        name: name.to_owned(),
        reason: format!("use 1 to {NAME_BYTES_MAX} letters, digits, `_` and `-`"),
    })
}

#[cfg(test)]
mod tests;
