//! Whom threads wait for, from /proc: the `vm` host's side of the wait columns.
//!
//! A blocked thread's system call shows which futex it waits on ([`futex`]); the lock around
//! that word, read from the process's memory, names its owner ([`lock`]); owners among the
//! threads make a graph whose rings are deadlocks ([`graph`]); those of locks that processes
//! share are looked for in every pid namespace ([`sharers`]). Members of rings and locks of
//! owners that have gone are looked at twice, and dropped unless nothing moved in between.
//!
//! **Invariant**: what is reported existed at one time: same call, same owner, same start
//! time and no switch between the two looks.

mod futex;
mod graph;
mod lock;
mod lock32;
mod sharers;

pub use futex::{Futex, Operation};
pub use lock::{Lock, Memory};
use sharers::Object;

use crate::procfs::parse::{self, Stat};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How a thread waits: the indices of `EnumKind::WaitClass`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// For no lock whose owner is known.
    #[default]
    None = 0,
    /// For an owner that runs, or waits for something else.
    Waiting = 1,
    /// Following the owners comes back here.
    Cycle = 2,
    /// For a lock that it owns itself.
    Own = 3,
    /// For a lock whose owner has ended.
    Abandoned = 4,
}

/// What one thread waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// Address of the lock.
    pub address: i64,
    /// Thread id of its owner, or what it was; 0 when that is not known here.
    pub owner: i64,
    /// How it waits.
    pub class: Class,
    /// Smallest thread id of the cycle; 0 for none.
    pub cycle_id: i64,
    /// Threads in the cycle; 0 for none.
    pub cycle_length: i64,
}

/// What all threads wait for.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    by_tid: HashMap<i32, Wait>,
    /// Threads that may not be looked at.
    unreadable: std::collections::HashSet<i32>,
}

impl Waits {
    /// What a thread waits for; `None` when it may not be looked at.
    #[must_use]
    pub fn of(&self, tid: i32) -> Option<Wait> {
        if self.unreadable.contains(&tid) {
            return None;
        }
        Some(self.by_tid.get(&tid).copied().unwrap_or_default())
    }

    /// The threads that wait, or may not be looked at, by their ids.
    #[must_use]
    pub fn all(&self) -> Vec<(i32, Option<Wait>)> {
        let tids: BTreeSet<i32> = self.by_tid.keys().chain(&self.unreadable).copied().collect();
        tids.into_iter().map(|tid| (tid, self.of(tid))).collect()
    }
}

/// One thread that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiter {
    pid: i32,
    tid: i32,
    /// The pid namespace and the thread's id in it.
    namespace: u64,
    inner_tid: i32,
    start: i64,
    switches: (i64, i64),
    futex: Futex,
    lock: Lock,
    /// Where a lock lies that processes share.
    object: Option<Object>,
}

/// Who owns a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// This thread.
    Alive(i32),
    /// Nobody any more.
    Gone,
    /// Nobody who could: what looked like a lock is none, or it was held when the process
    /// was forked.
    Foreign,
    /// One of several, or one that may not be looked at.
    Unknown,
}

/// Looks at all threads of this machine.
#[must_use]
pub fn look_everywhere() -> Waits {
    let root = Path::new("/proc");
    let mut pids = crate::procfs::task::numbers(root).unwrap_or_default();
    pids.sort_unstable();
    look(root, &pids)
}

/// Looks at all threads of `pids` under the proc file system at `root`.
#[must_use]
pub fn look(root: &Path, pids: &[i32]) -> Waits {
    let mut waits = Waits::default();
    let mut waiters = Vec::new();
    let mut inner = HashMap::new();
    // The same without their namespaces: who shares a lock may be in any.
    let mut anywhere = HashMap::new();
    for &pid in pids {
        let process = root.join(pid.to_string());
        for tid in crate::procfs::task::numbers(&process.join("task")).unwrap_or_default() {
            match waiter(&process, pid, tid) {
                Look::Waits(waiter) => waiters.push(*waiter),
                Look::Unreadable => {
                    waits.unreadable.insert(tid);
                }
                Look::Other => {}
            }
        }
    }
    if waiters.is_empty() {
        return waits;
    }
    // Owners are named by their ids in their own namespace: everybody's are needed.
    for &pid in pids {
        let process = root.join(pid.to_string());
        for tid in crate::procfs::task::numbers(&process.join("task")).unwrap_or_default() {
            if let Some((namespace, inner_tid)) = identity(&process, tid)
                && is_alive(&process, tid)
            {
                inner.insert((namespace, inner_tid), (pid, tid));
                anywhere.entry(inner_tid).or_insert_with(Vec::new).push((pid, tid));
            }
        }
    }
    let unchanged = |first: &Waiter| {
        let process = root.join(first.pid.to_string());
        matches!(waiter(&process, first.pid, first.tid), Look::Waits(again) if *again == *first)
    };
    let owner = |waiter: &Waiter| {
        if let Some(object) = waiter.object {
            let named = anywhere.get(&waiter.lock.owner).map_or(&[][..], Vec::as_slice);
            return sharers::owner(root, object, waiter.tid, named);
        }
        let Some(&(pid, tid)) = inner.get(&(waiter.namespace, waiter.lock.owner)) else {
            return Owner::Gone;
        };
        // A lock that processes do not share belongs to a thread of this process. A younger
        // thread with that id has only inherited the number.
        if pid == waiter.pid {
            return Owner::Alive(tid);
        }
        match start(&root.join(pid.to_string()), tid) {
            Some(start) if start <= waiter.start => Owner::Foreign,
            _ => Owner::Gone,
        }
    };
    waits.by_tid = graph::resolve(&waiters, owner, unchanged);
    waits
}

enum Look {
    /// It waits for a lock.
    Waits(Box<Waiter>),
    /// It does something else, or has ended.
    Other,
    /// It may not be looked at.
    Unreadable,
}

fn waiter(process: &Path, pid: i32, tid: i32) -> Look {
    let task = process.join("task").join(tid.to_string());
    let text = match fs::read(task.join("syscall")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Look::Unreadable;
        }
        Err(_) => return Look::Other,
    };
    let Some(futex) = Futex::parse(&text) else { return Look::Other };
    let Ok(memory) = File::open(task.join("mem")) else { return Look::Unreadable };
    let found = (|| {
        let (namespace, inner_tid) = identity(process, tid)?;
        let find = if futex.is_32 { lock32::find } else { lock::find };
        let lock = find(&futex, inner_tid, &memory)?;
        let object = if lock.shared { sharers::object(process, tid, lock.address)? } else { None };
        let status = fs::read(task.join("status")).ok()?;
        Some(Waiter {
            pid,
            tid,
            namespace,
            inner_tid,
            start: start(process, tid)?,
            switches: (
                parse::status_number(&status, "voluntary_ctxt_switches", 0)?,
                parse::status_number(&status, "nonvoluntary_ctxt_switches", 0)?,
            ),
            futex,
            lock,
            object,
        })
    })();
    found.map_or(Look::Other, |waiter| Look::Waits(Box::new(waiter)))
}

fn stat(process: &Path, tid: i32) -> Option<Stat> {
    Stat::parse(&fs::read(process.join("task").join(tid.to_string()).join("stat")).ok()?)
}

/// When a thread started, in clock ticks since boot.
fn start(process: &Path, tid: i32) -> Option<i64> {
    stat(process, tid)?.field(22)
}

/// Whether a thread has not ended: a process's first one stays until the others have.
fn is_alive(process: &Path, tid: i32) -> bool {
    stat(process, tid).is_some_and(|stat| !matches!(stat.state, b'Z' | b'X'))
}

/// A thread's pid namespace and its id there.
fn identity(process: &Path, tid: i32) -> Option<(u64, i32)> {
    use std::os::unix::fs::MetadataExt;
    let task: PathBuf = process.join("task").join(tid.to_string());
    let status = fs::read(task.join("status")).ok()?;
    let inner = parse::status_last(&status, "NSpid").and_then(|id| i32::try_from(id).ok())?;
    let namespace = fs::metadata(task.join("ns/pid")).map_or(0, |metadata| metadata.ino());
    Some((namespace, inner))
}

impl Memory for File {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.read_exact_at(bytes, address).is_ok()
    }
}
