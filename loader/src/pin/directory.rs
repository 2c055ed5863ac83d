//! The directories of loaded filters, made and removed whole.
//!
//! **Invariant**: a directory called `NAME~PID` is being made by that process or was left by
//! a killed one; every other directory is complete.

use super::PinOptions;
use crate::error::LoadError;
use crate::sys::{Errno, Sys, SyscallError};
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Between a filter's name and the pid of who makes it.
const MAKING: char = '~';

/// The directory of all loaded filters.
pub(super) struct Directory<'a> {
    root: &'a Path,
}

/// A filter's directory that is being made; dropping it removes it.
pub(super) struct Making {
    path: PathBuf,
    target: PathBuf,
    done: bool,
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
        // Others may pass through to what they are granted, and see nothing else.
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(self.root);
        made.map_err(|error| mounted(self.root, &error))?;
        self.sweep_up();
        let path = self.root.join(format!("{name}{MAKING}{}", std::process::id()));
        let target = self.root.join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| mounted(&path, &error))?;
        Ok(Making { path, target, done: false })
    }

    /// Removes what killed loaders left.
    fn sweep_up(&self) {
        for entry in self.entries().unwrap_or_default() {
            let maker = entry.split_once(MAKING).and_then(|(_, pid)| pid.parse::<u32>().ok());
            let Some(pid) = maker else { continue };
            if !Path::new(&format!("/proc/{pid}")).exists() || pid == std::process::id() {
                let _ = remove_all(&self.root.join(&entry));
            }
        }
    }

    /// Removes the filter `name`: first out of sight, then file by file.
    pub(super) fn remove(&self, name: &str) -> Result<(), LoadError> {
        let path = self.root.join(name);
        let aside = self.root.join(format!("{name}{MAKING}{}", std::process::id()));
        fs::rename(&path, &aside).map_err(|error| failed("rename", &path, &error))?;
        remove_all(&aside)?;
        // The last one closes the door; it does not matter if others are there.
        let _ = fs::remove_dir(self.root);
        Ok(())
    }
}

/// The error of a directory that cannot be made, with the usual reason.
fn mounted(path: &Path, error: &Error) -> LoadError {
    if error.kind() != ErrorKind::NotFound {
        return failed("mkdir", path, error);
    }
    LoadError::Missing {
        what: "a bpffs".to_owned(),
        why: format!("mkdir {}: {}", path.display(), Errno::from(error)),
        way_out: "mount -t bpf bpf /sys/fs/bpf".to_owned(),
    }
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

    /// Puts it in its place; true when another one was there, which is removed.
    pub(super) fn finish(mut self, sys: &dyn Sys, replace: bool) -> Result<bool, LoadError> {
        if replace && self.target.is_dir() {
            sys.exchange(&self.path, &self.target)
                .map_err(LoadError::syscall("taking the place of the old filter"))?;
            // What has the temporary name now is the old filter.
            self.done = true;
            remove_all(&self.path)?;
            return Ok(true);
        }
        match fs::rename(&self.path, &self.target) {
            Ok(()) => {
                self.done = true;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                let name = self.target.file_name().unwrap_or_default();
                Err(LoadError::AlreadyLoaded { name: name.to_string_lossy().into_owned() })
            }
            Err(error) => Err(failed("rename", &self.target, &error)),
        }
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
