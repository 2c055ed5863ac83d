//! A system call that failed.

use std::fmt;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// Names of the numbers that the calls here return.
const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::ERANGE, "ERANGE"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::EBADMSG, "EBADMSG"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (524, "ENOTSUPP"),
];

impl Errno {
    /// The number that the last failed call of this thread left.
    #[must_use]
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// Its name, as in errno(3).
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Whether it says that privilege is missing.
    #[must_use]
    pub const fn is_privilege(self) -> bool {
        self.0 == libc::EPERM || self.0 == libc::EACCES
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl From<&std::io::Error> for Errno {
    fn from(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}{}: {errno}", self.on())]
pub struct SyscallError {
    /// The call, or the command of bpf(2).
    pub call: &'static str,
    /// What it was made on: a path, a map's or a program's name; may be empty.
    pub object: String,
    /// Why it failed.
    pub errno: Errno,
    /// The kernel's own words, when it gave any.
    pub log: String,
}

impl SyscallError {
    /// A failed call.
    #[must_use]
    pub const fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, object: String::new(), errno, log: String::new() }
    }

    /// The same, on `object`.
    #[must_use]
    pub fn on_object(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }

    fn on(&self) -> String {
        if self.object.is_empty() { String::new() } else { format!(" of {}", self.object) }
    }
}
