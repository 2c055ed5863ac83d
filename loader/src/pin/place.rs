//! A loaded filter's directory while somebody reads what the filter finds.
//!
//! **Invariant**: one reader of a ring buffer at a time: two would free each other's records.
//! A reader learns that the directory was moved or removed even when nobody stopped the
//! filter, as a killed `kfilter unload` or an `rm` does not.

use super::directory::identity;
use super::file;
use crate::error::LoadError;
use crate::host::bpf::resident::StillThere;
use crate::sys::{Errno, SyscallError};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_millis(1);

/// A reserved directory.
pub(super) struct Place {
    path: PathBuf,
    directory: File,
    moved: Option<OwnedFd>,
}

impl Place {
    /// Reserves the directory of filter `name` for who wants to know what becomes of it.
    pub(super) fn reserve(path: &Path, name: &str) -> Result<Self, LoadError> {
        let directory = Self::lock(path, name, Duration::ZERO)?.ok_or_else(|| LoadError::Name {
            name: name.to_owned(),
            reason: "somebody else reads what it finds".to_owned(),
        })?;
        // A user may have so many of these only. Without one, `stop` alone wakes.
        let moved = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let flags = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::DELETE;
        let moved = moved.filter(|moved| inotify::add_watch(moved, path, flags).is_ok());
        Ok(Self { path: path.to_owned(), directory, moved })
    }

    /// The directory, locked; `None` when somebody else has it all the time.
    pub(super) fn lock(
        path: &Path,
        name: &str,
        patience: Duration,
    ) -> Result<Option<File>, LoadError> {
        let failed = |call, error: &std::io::Error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return LoadError::NotLoaded { name: name.to_owned() };
            }
            let source =
                SyscallError::new(call, Errno::from(error)).on_object(path.display().to_string());
            LoadError::Syscall { doing: format!("reserving filter `{name}`"), source }
        };
        let directory = File::open(path).map_err(|error| failed("open", &error))?;
        let began = Instant::now();
        loop {
            match directory.try_lock() {
                Ok(()) => return Ok(Some(directory)),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                    std::thread::sleep(RETRY);
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed("flock", &error)),
            }
        }
    }
}

impl StillThere for Place {
    fn is_there(&self) -> bool {
        let (Ok(now), Ok(then)) = (std::fs::metadata(&self.path), self.directory.metadata()) else {
            return false;
        };
        // Without its timer it ticks no more.
        identity(&now) == identity(&then) && self.path.join(file::TIMER).exists()
    }

    fn moved(&self) -> Option<BorrowedFd<'_>> {
        self.moved.as_ref().map(|moved| moved.as_fd())
    }
}
