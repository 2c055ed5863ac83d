//! A kernel that tests put words into the mouth of.
//!
//! It hands out real descriptors, ends of socket pairs, so that a test sees which of them
//! are still open.

use super::{Call, Errno, FileBytes, Reply, SharedMemory, Sys, SyscallError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// One call as a test sees it: the command and what it was made on.
pub(crate) type Seen = (&'static str, String);

/// When to fail, with what.
struct Fault {
    call: &'static str,
    /// The object's name, or empty for any.
    object: &'static str,
    errno: i32,
    log: &'static str,
}

/// A kernel for tests.
#[derive(Default)]
pub(crate) struct Fake {
    faults: Vec<Fault>,
    files: HashMap<PathBuf, String>,
    btf: Option<Vec<u8>>,
    seen: RefCell<Vec<Seen>>,
    ends: RefCell<Vec<UnixStream>>,
    memory: RefCell<Vec<Arc<[AtomicU64]>>>,
    runs: RefCell<Vec<u32>>,
}

impl Fake {
    /// With the running kernel's types, or none where there are none.
    pub(crate) fn new() -> Self {
        let btf = super::Kernel.kernel_btf().ok().map(|bytes| bytes.to_vec());
        Self { btf, ..Self::default() }
    }

    pub(crate) fn without_btf() -> Self {
        Self::default()
    }

    /// Lets `call` (on `object`, when it is not empty) fail.
    pub(crate) fn failing(mut self, call: &'static str, object: &'static str, errno: i32) -> Self {
        self.faults.push(Fault { call, object, errno, log: "" });
        self
    }

    /// Lets BPF_PROG_LOAD fail with words of the verifier.
    pub(crate) fn refusing(mut self, errno: i32, log: &'static str) -> Self {
        self.faults.push(Fault { call: "BPF_PROG_LOAD", object: "", errno, log });
        self
    }

    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }

    /// What the next runs return, the last one first; 0 when there is none.
    pub(crate) fn runs(self, values: &[u32]) -> Self {
        self.runs.replace(values.to_vec());
        self
    }

    pub(crate) fn has_btf(&self) -> bool {
        self.btf.is_some()
    }

    /// The calls so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Descriptors that were handed out and are still open.
    pub(crate) fn open(&self) -> usize {
        let mut ends = self.ends.borrow_mut();
        ends.iter_mut()
            .filter_map(|end| end.read(&mut [0]).err())
            .filter(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            .count()
    }

    fn fd(&self) -> OwnedFd {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        self.ends.borrow_mut().push(ours);
        theirs.into()
    }
}

/// The name in a call.
fn object_of(call: &Call<'_>) -> String {
    match call {
        Call::MapCreate(map) => map.name.to_owned(),
        Call::ProgLoad(program) => program.name.to_owned(),
        Call::Pin { path, .. } | Call::Get { path, .. } => path.display().to_string(),
        Call::MapLookup { .. }
        | Call::MapUpdate { .. }
        | Call::MapFreeze(_)
        | Call::BtfLoad { .. }
        | Call::ProgRun(_)
        | Call::ProgRunWith { .. }
        | Call::LinkCreateIter { .. }
        | Call::LinkUpdate { .. }
        | Call::IterCreate(_)
        | Call::Info { .. } => String::new(),
    }
}

impl Sys for Fake {
    fn bpf(&self, mut call: Call<'_>) -> Result<Reply, SyscallError> {
        let (name, object) = (call.name(), object_of(&call));
        self.seen.borrow_mut().push((name, object.clone()));
        let fault =
            self.faults.iter().find(|fault| fault.call == name && object.ends_with(fault.object));
        if let Some(fault) = fault {
            if let Call::ProgLoad(program) = &mut call {
                // As the kernel does: a log that does not fit is cut and said to be too long.
                let fits = program.log.is_empty() || program.log.len() > fault.log.len();
                let taken = fault.log.len().min(program.log.len().saturating_sub(1));
                program
                    .log
                    .iter_mut()
                    .zip(fault.log.bytes().take(taken))
                    .for_each(|(to, b)| *to = b);
                if !fits {
                    return Err(SyscallError::new(name, Errno(libc::ENOSPC)));
                }
            }
            return Err(SyscallError::new(name, Errno(fault.errno)));
        }
        if let Call::Pin { path, .. } = &call {
            std::fs::write(path, "").unwrap();
        }
        Ok(match call {
            Call::MapCreate(_)
            | Call::BtfLoad { .. }
            | Call::ProgLoad(_)
            | Call::LinkCreateIter { .. }
            | Call::IterCreate(_)
            | Call::Get { .. } => Reply::Fd(self.fd()),
            Call::ProgRun(_) | Call::ProgRunWith { .. } => {
                Reply::Number(self.runs.borrow_mut().pop().unwrap_or(0))
            }
            Call::MapLookup { .. }
            | Call::MapUpdate { .. }
            | Call::MapFreeze(_)
            | Call::LinkUpdate { .. }
            | Call::Pin { .. }
            | Call::Info { .. } => Reply::Number(0),
        })
    }

    fn map_shared(
        &self,
        _fd: BorrowedFd<'_>,
        _offset: usize,
        len: usize,
        writable: bool,
    ) -> Result<SharedMemory, SyscallError> {
        self.seen.borrow_mut().push(("mmap", String::new()));
        if let Some(fault) = self.faults.iter().find(|fault| fault.call == "mmap") {
            return Err(SyscallError::new("mmap", Errno(fault.errno)));
        }
        let words: Arc<[AtomicU64]> = (0..len / 8).map(|_| AtomicU64::new(0)).collect();
        self.memory.borrow_mut().push(words.clone());
        Ok(SharedMemory::from_words(words, writable))
    }

    fn kernel_btf(&self) -> Result<FileBytes, SyscallError> {
        let missing = || SyscallError::new("open", Errno(libc::ENOENT));
        self.btf.clone().map(FileBytes::from).ok_or_else(missing)
    }

    fn read_text(&self, path: &Path) -> Result<String, SyscallError> {
        let missing = || SyscallError::new("open", Errno(libc::ENOENT));
        self.files.get(path).cloned().ok_or_else(missing)
    }

    fn wait_readable(&self, _fd: BorrowedFd<'_>, _timeout: Duration) -> Result<bool, SyscallError> {
        Ok(false)
    }

    fn exchange(&self, one: &Path, other: &Path) -> Result<(), SyscallError> {
        self.seen.borrow_mut().push(("exchange", String::new()));
        if let Some(fault) = self.faults.iter().find(|fault| fault.call == "exchange") {
            return Err(SyscallError::new("renameat2", Errno(fault.errno)));
        }
        super::Kernel.exchange(one, other)
    }
}
