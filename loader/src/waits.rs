//! Whom threads wait for, from /proc: the `vm` host's side of the wait columns.
//!
//! A blocked thread's system call shows which futex it waits on ([`futex`]); the lock around
//! that word, read from the process's memory, names its owner ([`lock`]); owners among the
//! threads make a graph whose rings are deadlocks ([`graph`]). Members of rings and locks of
//! owners that have gone are looked at twice, and dropped unless nothing moved in between.
//!
//! **Invariant**: what is reported existed at one time: same call, same owner, same start
//! time and no switch between the two looks.

mod futex;
mod graph;
mod lock;

pub use futex::Futex;
pub use lock::{Lock, Memory};

use crate::procfs::parse::{self, Stat};
use std::collections::HashMap;
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
    /// Thread id of its owner; 0 when it has ended.
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
}

/// Looks at all threads of `pids` under the proc file system at `root`.
#[must_use]
pub fn look(root: &Path, pids: &[i32]) -> Waits {
    let mut waits = Waits::default();
    let mut waiters = Vec::new();
    let mut inner = HashMap::new();
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
            if let Some((namespace, inner_tid)) = identity(&process, tid) {
                inner.insert((namespace, inner_tid), (pid, tid));
            }
        }
    }
    let unchanged = |first: &Waiter| {
        let process = root.join(first.pid.to_string());
        matches!(waiter(&process, first.pid, first.tid), Look::Waits(again) if *again == *first)
    };
    let owner = |waiter: &Waiter| {
        let &(pid, tid) = inner.get(&(waiter.namespace, waiter.lock.owner))?;
        // A lock that processes do not share belongs to a thread of this process; another
        // thread with that id has only inherited the number.
        (waiter.lock.shared || pid == waiter.pid).then_some(tid)
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
    let Ok(memory) = File::open(process.join("mem")) else { return Look::Unreadable };
    let Some(lock) = lock::find(&futex, &memory) else { return Look::Other };
    let found = (|| {
        let stat = Stat::parse(&fs::read(task.join("stat")).ok()?)?;
        let status = fs::read(task.join("status")).ok()?;
        let (namespace, inner_tid) = identity(process, tid)?;
        Some(Waiter {
            pid,
            tid,
            namespace,
            inner_tid,
            start: stat.field(22)?,
            switches: (
                parse::status_number(&status, "voluntary_ctxt_switches", 0)?,
                parse::status_number(&status, "nonvoluntary_ctxt_switches", 0)?,
            ),
            futex,
            lock,
        })
    })();
    found.map_or(Look::Other, |waiter| Look::Waits(Box::new(waiter)))
}

/// A thread's pid namespace and its id there.
fn identity(process: &Path, tid: i32) -> Option<(u64, i32)> {
    use std::os::unix::fs::MetadataExt;
    let task: PathBuf = process.join("task").join(tid.to_string());
    let status = fs::read(task.join("status")).ok()?;
    let inner = parse::status_last(&status, "NSpid").and_then(|id| i32::try_from(id).ok())?;
    let namespace = fs::metadata(process.join("ns/pid")).map_or(0, |metadata| metadata.ino());
    Some((namespace, inner))
}

impl Memory for File {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.read_exact_at(bytes, address).is_ok()
    }
}
