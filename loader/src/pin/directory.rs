//! The directories of loaded filters, made and removed whole.
//!
//! **Invariant**: who changes anything holds the lock on the directory of all filters, so that
//! a `NAME~PID` that somebody else made was left by a killed process; every other directory is
//! complete. A `NAME~` is one that was to be replaced on a kernel that cannot exchange names.

use super::PinOptions;
use crate::error::LoadError;
use crate::sys::{Errno, Sys, SyscallError};
use std::fs::{self, File, TryLockError};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between a filter's name and the pid of who makes it.
const MAKING: char = '~';
/// How long somebody else's load or unload is waited for: each takes milliseconds.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// `BPF_FS_MAGIC`
const BPF_FS: u32 = 0xcafe_4a11;

/// The directory of all loaded filters.
pub(super) struct Directory<'a> {
    root: &'a Path,
}

/// A filter's directory that is being made; dropping it removes it.
pub(super) struct Making {
    path: PathBuf,
    target: PathBuf,
    done: bool,
    lock: Option<Lock>,
}

/// A filter's directory out of sight, still locked; its files are there.
pub(super) struct Aside {
    path: PathBuf,
    _lock: Lock,
}

/// The right to change the directory of all filters; the kernel takes it back from the dead.
struct Lock {
    root: PathBuf,
    _directory: File,
}

/// Which directory or file it is, whatever its name.
pub(super) fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn failed(call: &'static str, path: &Path, error: &Error) -> LoadError {
    let source = SyscallError::new(call, Errno::from(error)).on_object(path.display().to_string());
    LoadError::Syscall { doing: "keeping loaded filters".to_owned(), source }
}

impl<'a> Directory<'a> {
    pub(super) const fn new(root: &'a Path) -> Self {
        Self { root }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.root.join(name).is_dir()
    }

    /// The complete filters' names, sorted.
    pub(super) fn names(&self) -> Result<Vec<String>, LoadError> {
        let mut names: Vec<String> =
            self.entries()?.into_iter().filter(|name| !name.contains(MAKING)).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn entries(&self) -> Result<Vec<String>, LoadError> {
        let entries = match fs::read_dir(self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("readdir", self.root, &error)),
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Begins to make the filter `name`.
    pub(super) fn begin(&self, name: &str) -> Result<Making, LoadError> {
        let lock = self.lock(true)?;
        self.sweep_up();
        let path = self.aside(name);
        let target = self.root.join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| unsuitable("mkdir", &path, &error))?;
        Ok(Making { path, target, done: false, lock: Some(lock) })
    }

    /// Takes the filter `name` out of sight; `None` when there is none.
    pub(super) fn take(&self, name: &str) -> Result<Option<Aside>, LoadError> {
        if !self.has(name) {
            return Ok(None);
        }
        let lock = self.lock(false)?;
        self.sweep_up();
        let (path, aside) = (self.root.join(name), self.aside(name));
        match fs::rename(&path, &aside) {
            Ok(()) => Ok(Some(Aside { path: aside, _lock: lock })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unsuitable("rename", &path, &error)),
        }
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}{MAKING}{}", std::process::id()))
    }

    /// Waits until nobody else changes anything, but not for ever: who does may be stopped.
    fn lock(&self, create: bool) -> Result<Lock, LoadError> {
        let began = Instant::now();
        loop {
            if create {
                // Others may pass through to what they are granted, and see nothing else.
                let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(self.root);
                made.map_err(|error| unsuitable("mkdir", self.root, &error))?;
            }
            match self.try_lock() {
                Ok(Some(lock)) => return Ok(lock),
                Err(error) if error.kind() != ErrorKind::NotFound || !create => {
                    return Err(failed("open", self.root, &error));
                }
                Ok(None) | Err(_) => {}
            }
            if began.elapsed() > LOCK_WAIT_MAX {
                let source = SyscallError::new("flock", Errno(libc::EAGAIN))
                    .on_object(self.root.display().to_string());
                let doing = format!("waiting {LOCK_WAIT_MAX:?} for another load or unload to end");
                return Err(LoadError::Syscall { doing, source });
            }
            std::thread::sleep(LOCK_RETRY);
        }
    }

    fn try_lock(&self) -> std::io::Result<Option<Lock>> {
        let directory = File::open(self.root)?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The last one to leave removes the directory, perhaps this one.
        let is_same = identity(&fs::metadata(self.root)?) == identity(&directory.metadata()?);
        Ok(is_same.then(|| Lock { root: self.root.to_owned(), _directory: directory }))
    }

    /// Removes what killed loaders left, and puts back what they had just begun to replace:
    /// nobody else makes anything now.
    fn sweep_up(&self) {
        for entry in self.entries().unwrap_or_default() {
            let path = self.root.join(&entry);
            let replaced = entry.strip_suffix(MAKING).filter(|name| !self.has(name));
            if let Some(name) = replaced {
                let _ = fs::rename(&path, self.root.join(name));
            } else if entry.contains(MAKING) {
                let _ = remove_all(&path);
            }
        }
    }
}

impl Aside {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, file by file.
    pub(super) fn remove(self) -> Result<(), LoadError> {
        remove_all(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The last one closes the door; it does not matter if others are there.
        let _ = fs::remove_dir(&self.root);
    }
}

/// The call's error, or what is behind it.
fn unsuitable(call: &'static str, path: &Path, error: &Error) -> LoadError {
    lacking(call, path, Errno::from(error)).unwrap_or_else(|| failed(call, path, error))
}

/// What is missing where nothing can be kept at `path`.
pub(super) fn lacking(call: &'static str, path: &Path, errno: Errno) -> Option<LoadError> {
    let missing = |what: &str, way_out: &str| LoadError::Missing {
        what: what.to_owned(),
        why: format!("{call} {}: {errno}", path.display()),
        way_out: way_out.to_owned(),
    };
    if errno.0 == libc::EROFS {
        return Some(missing("a bpffs that can be written", "mount -o remount,rw /sys/fs/bpf"));
    }
    if !matches!(errno.0, libc::EPERM | libc::EACCES | libc::ENOENT) {
        return None;
    }
    let there = path.ancestors().find_map(|path| rustix::fs::statfs(path).ok())?;
    // The kernel's type of this number differs from machine to machine.
    let is_bpffs = there.f_type as u32 == BPF_FS;
    (!is_bpffs).then(|| missing("a bpffs", "mount -t bpf bpf /sys/fs/bpf"))
}

fn remove_all(path: &Path) -> Result<(), LoadError> {
    let entries = fs::read_dir(path).map_err(|error| failed("readdir", path, &error))?;
    for entry in entries.flatten() {
        let file = entry.path();
        fs::remove_file(&file).map_err(|error| failed("unlink", &file, &error))?;
    }
    fs::remove_dir(path).map_err(|error| failed("rmdir", path, &error))
}

impl Making {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place; what was there before is out of sight then.
    pub(super) fn finish(
        mut self,
        sys: &dyn Sys,
        replace: bool,
    ) -> Result<Option<Aside>, LoadError> {
        if replace && self.target.is_dir() {
            let old = self.replace(sys)?;
            self.done = true;
            return Ok(self.lock.take().map(|lock| Aside { path: old, _lock: lock }));
        }
        match fs::rename(&self.path, &self.target) {
            Ok(()) => {
                self.done = true;
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                let name = self.target.file_name().unwrap_or_default();
                Err(LoadError::AlreadyLoaded { name: name.to_string_lossy().into_owned() })
            }
            Err(error) => Err(failed("rename", &self.target, &error)),
        }
    }
}

impl Making {
    /// Takes the place of the old filter; where that is now.
    fn replace(&self, sys: &dyn Sys) -> Result<PathBuf, LoadError> {
        match sys.exchange(&self.path, &self.target) {
            Ok(()) => return Ok(self.path.clone()),
            // No bpffs can before Linux 5.16.
            Err(error) if error.errno.0 == libc::EINVAL => {}
            Err(error) => {
                return Err(LoadError::syscall("taking the place of the old filter")(error));
            }
        }
        let mut old = self.target.clone().into_os_string();
        old.push(MAKING.to_string());
        let old = PathBuf::from(old);
        fs::rename(&self.target, &old).map_err(|error| failed("rename", &self.target, &error))?;
        fs::rename(&self.path, &self.target).map_err(|error| {
            let _ = fs::rename(&old, &self.target);
            failed("rename", &self.path, &error)
        })?;
        Ok(old)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.done {
            let _ = remove_all(&self.path);
        }
    }
}

/// Grants what the options say: reading the `read` and `text` files, and nothing else.
pub(super) fn open_up(
    directory: &Path,
    options: &PinOptions,
    readable: bool,
) -> Result<(), LoadError> {
    let chmod = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| failed("chmod", path, &error))
    };
    let entries = fs::read_dir(directory).map_err(|error| failed("readdir", directory, &error))?;
    for entry in entries.flatten() {
        chmod(&entry.path(), 0o600)?;
    }
    if !readable {
        return Ok(());
    }
    let files = [super::file::READ, super::file::TEXT].map(|name| directory.join(name));
    let granted = options.mode & 0o044;
    if let Some(group) = options.group {
        for path in files.iter().map(PathBuf::as_path).chain([directory]) {
            std::os::unix::fs::chown(path, None, Some(group))
                .map_err(|error| failed("chown", path, &error))?;
        }
    }
    for path in &files {
        chmod(path, 0o600 | granted)?;
    }
    // Whoever may read the files must be able to get there, but sees no other name.
    chmod(directory, 0o700 | granted >> 2)
}
