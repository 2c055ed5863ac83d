//! The kernel's tables as /proc shows them, for the `vm` host.
//!
//! [`parse`] reads the files' texts, [`task`] and [`maps`] hold what one row needs,
//! [`columns`] says in one place where each column is found, and [`walk`] makes the rows of
//! a table. Only the files that a filter's columns need are opened.
//!
//! **Invariant**: what cannot be read is missing, never 0; a row whose process ends while
//! it is read is left out.

pub mod columns;
pub mod files;
pub mod maps;
pub mod parse;
pub mod task;
pub mod walk;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mounted proc file system, and what is needed to interpret it.
#[derive(Debug)]
pub struct Procfs {
    root: PathBuf,
    /// Nanoseconds of a clock tick.
    tick_ns: i64,
    cgroup_root: Option<PathBuf>,
    /// Inodes of cgroup directories, by their path; forgotten after each sweep.
    cgroups: HashMap<Vec<u8>, Option<i64>>,
    /// File system types of mounted devices.
    filesystems: HashMap<i64, String>,
}

impl Procfs {
    /// The one at /proc.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new("/proc"))
    }

    /// One that is mounted, or was copied, elsewhere.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let mountinfo = fs::read(root.join("self/mountinfo")).unwrap_or_default();
        let mounts = parse::mounts(&mountinfo);
        Self {
            root: root.to_owned(),
            tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1).cast_signed(),
            cgroup_root: mounts
                .iter()
                .find(|mount| mount.filesystem == "cgroup2")
                .map(|mount| mount.point.clone()),
            cgroups: HashMap::new(),
            filesystems: mounts.into_iter().map(|mount| (mount.device, mount.filesystem)).collect(),
        }
    }

    /// Forgets what may have changed since the last sweep.
    pub fn begin_sweep(&mut self) {
        self.cgroups.clear();
    }

    /// The inode of a cgroup's directory in the unified hierarchy.
    fn cgroup_id(&mut self, path: &[u8]) -> Option<i64> {
        if let Some(known) = self.cgroups.get(path) {
            return *known;
        }
        use std::os::unix::ffi::OsStrExt;
        let inside = OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
        let id = self
            .cgroup_root
            .as_ref()
            .and_then(|root| fs::metadata(root.join(inside)).ok())
            .map(|metadata| metadata.ino().cast_signed());
        self.cgroups.insert(path.to_vec(), id);
        id
    }
}

impl Default for Procfs {
    fn default() -> Self {
        Self::new()
    }
}

/// A device number of stat(2) as the kernel keeps it: `major << 20 | minor`.
#[must_use]
pub fn kernel_device(dev: u64) -> i64 {
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    i64::from(major) << 20 | i64::from(minor)
}
