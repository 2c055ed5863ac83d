//! The files of a loaded filter that anybody may be allowed to read.
//!
//! `read` gives records and then what the sweep counted, `text` lines for people. Both are
//! iterators linked to one thread, so that one read is one sweep; the same program is loaded
//! twice, with its switch in `.rodata` set one way and the other.
//!
//! **Invariant**: what is read from `read` is handed out only if its end is there.

use super::{PinOptions, Pins, file};
use crate::error::LoadError;
use crate::host::bpf::{Loaded, Reuse, Types, load_programs, sweep_end};
use crate::host::{Request, Session, Sweep};
use crate::record::RecordBatch;
use crate::sys::{Call, Errno, Sys, SyscallError};
use kernel_vm::abi::{SWEEP_END_BYTES, SweepStats};
use kernel_vm::object::{FilterMeta, ReaderMeta};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a sweep that someone else makes is waited for, and for how long each time.
const BUSY_TRIES_MAX: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(2);
/// The thread that a sweep which walks is linked to, so that one call is all of it: any does,
/// and the first one outlives the filter.
pub(super) const TID: u32 = 1;
/// One read(2) takes all that the kernel has.
const READ_BYTES: usize = 64 << 10;

/// Loads the reading program once more, to write lines; `loaded` has its maps.
pub(super) fn load_lines(
    sys: &dyn Sys,
    types: &Types,
    request: &Request<'_>,
    reader: &ReaderMeta,
    program: &str,
    loaded: &Loaded,
) -> Result<OwnedFd, LoadError> {
    let mut request = request.clone();
    let start = reader.as_lines.offset as usize;
    if let Some(switch) = request.rodata.get_mut(start..start.saturating_add(8)) {
        switch.copy_from_slice(&1_u64.to_le_bytes());
    }
    let mut reuse = Vec::new();
    for map in loaded.maps.iter().filter(|map| map.name != ".rodata") {
        let fd = map.fd.try_clone().map_err(|error| {
            let source = SyscallError::new("fcntl", Errno::from(&error));
            LoadError::Syscall { doing: format!("sharing map `{}`", map.name), source }
        })?;
        reuse.push(Reuse { map: map.name.clone(), fd });
    }
    let mut lines = load_programs(sys, types, &request, &[program], reuse)?;
    lines.programs.pop().ok_or_else(|| LoadError::Missing {
        what: format!("program `{program}`"),
        why: "it was not loaded".to_owned(),
        way_out: "compile the filter again".to_owned(),
    })
}

impl Pins {
    /// Links the reading programs to the thread `tid`, or to all rows if that is 0.
    pub(super) fn pin_readers(
        &self,
        directory: &Path,
        [records, lines]: [BorrowedFd<'_>; 2],
        tid: u32,
        options: &PinOptions,
    ) -> Result<(), LoadError> {
        for (program, name) in [(records, file::READ), (lines, file::TEXT)] {
            let doing = LoadError::syscall(format!("linking filter `{}`", options.name));
            let link = self.sys.bpf_fd(Call::LinkCreateIter { program, tid }).map_err(doing)?;
            self.pin(directory, name, link.as_fd())?;
        }
        Ok(())
    }

    /// The file of which each read is a sweep, for programs without privilege: records, then
    /// the first [`SWEEP_END_BYTES`] of the sweep's statistics.
    #[must_use]
    pub fn read_path(&self, name: &str) -> PathBuf {
        self.root.join(name).join(file::READ)
    }

    /// The same as lines for people.
    #[must_use]
    pub fn text_path(&self, name: &str) -> PathBuf {
        self.root.join(name).join(file::TEXT)
    }
}

/// A loaded filter that is swept by reading its file.
#[derive(Clone, Debug)]
pub struct FileSession {
    path: PathBuf,
    filter: String,
    record_bytes: usize,
}

impl FileSession {
    /// Sweeps by reading `path`, the `read` file of `filter`.
    #[must_use]
    pub fn new(path: PathBuf, filter: &FilterMeta) -> Self {
        let record_bytes = filter.record.size as usize;
        Self { path, filter: filter.name.clone(), record_bytes }
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        File::open(&self.path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Session for FileSession {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let begun = Instant::now();
        let failed = |errno| {
            let doing = LoadError::syscall(format!("sweeping with filter `{}`", self.filter));
            let object = self.path.display().to_string();
            doing(SyscallError::new("read", errno).on_object(object))
        };
        for _ in 0..BUSY_TRIES_MAX {
            match self.read() {
                // Another sweep is running.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    let (records, stats) = split(&bytes, self.record_bytes)
                        .ok_or_else(|| failed(Errno(libc::EBADMSG)))?;
                    return Ok(Sweep { records, stats, took: begun.elapsed() });
                }
                Err(error) => return Err(failed(Errno::from(&error))),
            }
            std::thread::sleep(BUSY_WAIT);
        }
        Err(LoadError::Busy { filter: self.filter.clone() })
    }
}

/// The records in what was read and the statistics at its end.
fn split(bytes: &[u8], record_bytes: usize) -> Option<(RecordBatch, SweepStats)> {
    let (records, end) = bytes.split_at_checked(bytes.len().checked_sub(SWEEP_END_BYTES)?)?;
    let mut batch = RecordBatch::new(record_bytes);
    let mut each = records.chunks(record_bytes.max(1));
    each.all(|record| batch.push(record)).then(|| (batch, sweep_end(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_its_end_is_an_answer() {
        let mut bytes = vec![7; 32];
        bytes.extend([0; SWEEP_END_BYTES]);
        bytes[32 + 16] = 9;
        let (records, stats) = split(&bytes, 16).expect("two records and their end");
        assert_eq!((records.len(), stats.matched), (2, 9));
        assert_eq!(split(&bytes[32..], 16).expect("none, and an end").0.len(), 0);
        for cut in [1, 15, 33, bytes.len()] {
            assert!(split(&bytes[cut..], 16).is_none(), "{cut} bytes are missing");
        }
    }
}
