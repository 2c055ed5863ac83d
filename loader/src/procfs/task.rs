//! One process or thread: the files that its columns need, read once.

use super::Procfs;
use super::maps::Maps;
use super::parse::{self, Stat};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// Files that columns are found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `stat`.
    Stat,
    /// `status`.
    Status,
    /// `status` of every thread of the process.
    ThreadStatus,
    /// `schedstat` of a thread.
    Schedstat,
    /// The CPU clock of the process.
    CpuClock,
    /// `io`.
    Io,
    /// `limits`.
    Limits,
    /// `oom_score_adj`.
    OomScoreAdj,
    /// `cgroup`.
    Cgroup,
    /// The number of entries of `fd`.
    FdCount,
    /// `maps`.
    Maps,
    /// Who waits for whom: looked up beside the row.
    Waits,
}

impl Source {
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of [`Source`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources(u16);

impl Sources {
    /// Adds one.
    pub fn insert(&mut self, source: Source) {
        self.0 |= source.bit();
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn contains(self, source: Source) -> bool {
        self.0 & source.bit() != 0
    }
}

/// What was read of one task. A file that could not be read is `None`.
#[derive(Debug, Default)]
pub struct Task {
    /// Process id.
    pub pid: i32,
    /// Thread id; the process id for a process.
    pub tid: i32,
    /// Whether the row is a thread.
    pub is_thread: bool,
    /// Nanoseconds since boot at the sweep.
    pub now_ns: i64,
    /// Nanoseconds of a clock tick.
    pub tick_ns: i64,
    /// `stat`.
    pub stat: Stat,
    /// `status`.
    pub status: Option<Vec<u8>>,
    /// Sums over the threads' `status`: voluntary and involuntary switches.
    pub thread_switches: Option<(i64, i64)>,
    /// CPU time in nanoseconds, where the kernel tells it so exactly.
    pub cpu_ns: Option<i64>,
    /// `io`.
    pub io: Option<Vec<u8>>,
    /// `limits`.
    pub limits: Option<Vec<u8>>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
    /// Inode of the cgroup's directory.
    pub cgroup: Option<i64>,
    /// Open file descriptors.
    pub fd_count: Option<i64>,
    /// `maps`.
    pub maps: Option<Maps>,
}

impl Task {
    /// Reads what `sources` ask for. `None` when the task has ended.
    pub fn read(
        procfs: &mut Procfs,
        (pid, tid): (i32, Option<i32>),
        sources: Sources,
        now_ns: i64,
        buffer: &mut Vec<u8>,
    ) -> Option<Self> {
        let process = procfs.root.join(pid.to_string());
        let own = match tid {
            Some(tid) => process.join("task").join(tid.to_string()),
            None => process.clone(),
        };
        let stat = Stat::parse(read(&own.join("stat"), buffer)?)?;
        let mut task = Self {
            pid,
            tid: tid.unwrap_or(pid),
            is_thread: tid.is_some(),
            now_ns,
            tick_ns: procfs.tick_ns,
            stat,
            ..Self::default()
        };
        let wants = |source| sources.contains(source);
        if wants(Source::Status) {
            task.status = read(&own.join("status"), buffer).map(<[u8]>::to_vec);
        }
        if wants(Source::ThreadStatus) {
            task.thread_switches = thread_switches(&process, buffer);
        }
        if wants(Source::Schedstat) {
            let first = read(&own.join("schedstat"), buffer)
                .and_then(|text| parse::number(parse::words(text).next()?));
            task.cpu_ns = first.filter(|_| task.is_thread);
        }
        if wants(Source::CpuClock) && !task.is_thread {
            task.cpu_ns = crate::sys::process_cpu_ns(pid);
        }
        if wants(Source::Io) {
            task.io = read(&own.join("io"), buffer).map(<[u8]>::to_vec);
        }
        if wants(Source::Limits) {
            task.limits = read(&process.join("limits"), buffer).map(<[u8]>::to_vec);
        }
        if wants(Source::OomScoreAdj) {
            task.oom_score_adj = read(&process.join("oom_score_adj"), buffer)
                .and_then(|text| parse::number(text.trim_ascii()));
        }
        if wants(Source::Cgroup) {
            let path = read(&own.join("cgroup"), buffer)
                .and_then(parse::unified_cgroup)
                .map(<[u8]>::to_vec);
            task.cgroup = path.and_then(|path| procfs.cgroup_id(&path));
        }
        if wants(Source::FdCount) {
            task.fd_count = fd_count(&process.join("fd"));
        }
        if wants(Source::Maps) {
            task.maps = read(&process.join("maps"), buffer)
                .map(|text| Maps::parse(text, &procfs.filesystems));
        }
        Some(task)
    }

    /// Nanoseconds since boot at which it started; with the id, who it is.
    #[must_use]
    pub fn start_ns(&self) -> Option<i64> {
        self.stat.field(22)?.checked_mul(self.tick_ns)
    }
}

/// Bytes that one read(2) asks for: more than most files of a task have.
const READ_BYTES: usize = 16 << 10;
/// Most bytes of a file: far more than 65,000 mappings take.
const FILE_BYTES_MAX: usize = 256 << 20;

/// The whole content of a file, in `buffer`, whose memory is used again and again. The
/// standard library's own way asks for the size first, which proc files do not have.
pub(super) fn read<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let mut length = 0;
    loop {
        if buffer.len() < length + READ_BYTES {
            buffer.resize(buffer.len().max(READ_BYTES).saturating_mul(2), 0);
        }
        match rustix::io::read(&file, &mut buffer[length..]) {
            Ok(0) => return buffer.get(..length),
            Ok(_) if length > FILE_BYTES_MAX => return None,
            Ok(more) => length += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// The directory's numbered entries.
pub(crate) fn numbers(directory: &Path) -> Option<Vec<i32>> {
    let entries = fs::read_dir(directory).ok()?;
    Some(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn thread_switches(process: &Path, buffer: &mut Vec<u8>) -> Option<(i64, i64)> {
    let task: PathBuf = process.join("task");
    let mut sums = (0_i64, 0_i64);
    for tid in numbers(&task)? {
        // A thread that ends meanwhile takes its part with it.
        if let Some(text) = read(&task.join(tid.to_string()).join("status"), buffer) {
            let value = |name| parse::status_number(text, name, 0).unwrap_or(0);
            sums.0 = sums.0.saturating_add(value("voluntary_ctxt_switches"));
            sums.1 = sums.1.saturating_add(value("nonvoluntary_ctxt_switches"));
        }
    }
    Some(sums)
}

fn fd_count(directory: &Path) -> Option<i64> {
    // From Linux 6.2 the directory's size is the number (fs/proc/fd.c, proc_fd_getattr).
    let metadata = fs::metadata(directory).ok()?;
    match i64::try_from(metadata.len()) {
        Ok(count) if count > 0 => Some(count),
        _ => i64::try_from(fs::read_dir(directory).ok()?.count()).ok(),
    }
}
