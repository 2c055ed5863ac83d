//! Memory that the kernel shares with us.
//!
//! **Invariant**: [`SharedMemory`] is never lent as a slice, as the kernel writes it while
//! we read; [`FileBytes`] is, as the kernel's BTF never changes.
#![allow(unsafe_code, reason = "mappings are raw memory; see each SAFETY")]

use super::{Errno, SyscallError};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapping that is undone when it is dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the mapping alone and is reached from any thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access reads only, or goes through atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        protection: i32,
        flags: i32,
    ) -> Result<Self, SyscallError> {
        let error = |errno| SyscallError::new("mmap", errno);
        let offset = i64::try_from(offset).map_err(|_| error(Errno(libc::EINVAL)))?;
        // SAFETY: without MAP_FIXED the kernel chooses a place where nothing else is.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(error(Errno::last()));
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| error(Errno(libc::EFAULT)))?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly this mapping was made by `new` and nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The contents of a file: mapped where the kernel allows it, read where not.
#[derive(Clone, Debug)]
pub struct FileBytes(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Mapped(Arc<Mapping>),
    Read(Arc<[u8]>),
}

impl FileBytes {
    /// Maps the kernel's BTF: memory that never changes while the kernel runs.
    pub(super) fn map_kernel_btf(fd: BorrowedFd<'_>, len: usize) -> Result<Self, SyscallError> {
        if len == 0 {
            return Err(SyscallError::new("mmap", Errno(libc::EINVAL)));
        }
        Mapping::new(fd, 0, len, libc::PROT_READ, libc::MAP_PRIVATE)
            .map(|mapping| Self(Bytes::Mapped(Arc::new(mapping))))
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Read(bytes.into()))
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Read(bytes) => bytes,
            // SAFETY: the mapping has `len` readable bytes of the kernel's BTF, which never
            // change, and it lives as long as `self`.
            Bytes::Mapped(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start.as_ptr(), mapping.len)
            },
        }
    }
}

/// Memory that the kernel writes while we read it: a ring buffer or a map's value.
#[derive(Debug)]
pub struct SharedMemory {
    memory: Memory,
    writable: bool,
}

#[derive(Debug)]
enum Memory {
    Mapped(Mapping),
    /// Stands for a mapping where no kernel is called.
    Owned(Arc<[AtomicU64]>),
}

impl SharedMemory {
    pub(super) fn map(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        writable: bool,
    ) -> Result<Self, SyscallError> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let mapping = Mapping::new(fd, offset, len, protection, libc::MAP_SHARED)?;
        Ok(Self { memory: Memory::Mapped(mapping), writable })
    }

    /// Memory of our own that behaves as a mapping, for tests of its users.
    #[must_use]
    pub const fn from_words(words: Arc<[AtomicU64]>, writable: bool) -> Self {
        Self { memory: Memory::Owned(words), writable }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.memory {
            Memory::Mapped(mapping) => mapping.len,
            Memory::Owned(words) => words.len() * 8,
        }
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The aligned word at byte `offset`, if it is there.
    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.len() {
            return None;
        }
        match &self.memory {
            Memory::Owned(words) => words.get(offset / 8),
            Memory::Mapped(mapping) => {
                // SAFETY: the eight bytes lie within the mapping, which starts at a page and
                // so is aligned, and which lives as long as `self`. Everyone who shares the
                // memory writes it in whole words or atomically.
                Some(unsafe { AtomicU64::from_ptr(mapping.start.as_ptr().add(offset).cast()) })
            }
        }
    }

    /// The word at `offset`; what the kernel wrote before it is seen as well.
    #[must_use]
    pub fn load(&self, offset: usize) -> Option<u64> {
        // An atomic load of read-only memory is a plain load on every 64-bit machine.
        self.word(offset).map(|word| word.load(Ordering::Acquire))
    }

    /// Stores the word at `offset` after everything before it; false when it cannot be.
    #[must_use]
    pub fn store(&self, offset: usize, value: u64) -> bool {
        let word = self.writable.then(|| self.word(offset)).flatten();
        word.map(|word| word.store(value, Ordering::Release)).is_some()
    }

    /// Appends `len` bytes from `offset`, an aligned one, to `bytes`; false when they are not
    /// there.
    #[must_use]
    pub fn copy_to(&self, offset: usize, len: usize, bytes: &mut Vec<u8>) -> bool {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len());
        if !fits || !offset.is_multiple_of(8) {
            return false;
        }
        bytes.reserve(len);
        let mut left = len;
        let mut at = offset;
        while left > 0 {
            let Some(word) = self.word(at) else { return false };
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            let taken = left.min(8);
            bytes.extend_from_slice(&word[..taken]);
            left -= taken;
            at += 8;
        }
        true
    }
}

/// The size of a page.
pub(super) fn page_bytes() -> usize {
    // SAFETY: sysconf takes a number and has no other precondition.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}
