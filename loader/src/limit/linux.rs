//! The real world: pidfds, nice values, resource limits and cgroups of both versions.
//!
//! Nothing here is in the path of a sweep. Of /proc only files that take no lock of the
//! victim's memory are read (`stat`, `cgroup`, `limits`, `task`), and only before an act.
//!
//! **Invariant**: signals go through a pidfd, so never to another process with the same pid.

use super::look::{CgroupMount, Stat, cgroup_mounts, cgroups_of, population};
use super::{ActError, Action, Facts, Identity, Rails, Saved, World};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpriority_process, pidfd_open, pidfd_send_signal,
    prlimit, setpriority_process,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The kernel's flag of tasks that run in the kernel only (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;
/// Period of a CPU limit in a cgroup of version 2, the kernel's default.
const CPU_PERIOD_US: i64 = 100_000;
/// Smallest quota that the kernel takes.
const CPU_QUOTA_MIN_US: i64 = 1_000;

/// Acts on the processes of this machine.
pub struct Linux<F: FnMut(Identity) -> bool> {
    evaluate: F,
    held: HashMap<Identity, OwnedFd>,
    mounts: Vec<CgroupMount>,
}

impl<F: FnMut(Identity) -> bool> Linux<F> {
    /// `evaluate` sweeps again and tells whether that process matches.
    ///
    /// # Errors
    /// When the mounts cannot be read.
    pub fn new(evaluate: F) -> io::Result<Self> {
        let mounts = cgroup_mounts(&std::fs::read_to_string("/proc/self/mountinfo")?);
        Ok(Self { evaluate, held: HashMap::new(), mounts })
    }

    fn pidfd(&self, id: Identity) -> Result<&OwnedFd, ActError> {
        self.held.get(&id).ok_or(ActError::Gone)
    }

    fn signal(&self, id: Identity, signal: Signal) -> Result<(), ActError> {
        pidfd_send_signal(self.pidfd(id)?, signal).map_err(call("pidfd_send_signal"))
    }

    /// The file `name` of the version 2 cgroup, else `name_v1` of `controller`'s.
    fn control(&self, id: Identity, v2: &str, controller: &str, v1: &str) -> Option<PathBuf> {
        let groups = cgroups_of(id.pid, &self.mounts).ok()?;
        let file =
            |directory: &Path, name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        groups.iter().find_map(|(mount, directory)| match &mount.controllers {
            None => file(directory, v2),
            Some(list) if list.iter().any(|each| each == controller) => file(directory, v1),
            Some(_) => None,
        })
    }

    fn save_file(path: PathBuf) -> Result<Vec<Saved>, ActError> {
        let old = std::fs::read_to_string(&path).map_err(file_call(&path))?.trim().to_owned();
        Ok(vec![Saved::File { path, old }])
    }
}

impl<F: FnMut(Identity) -> bool> World for Linux<F> {
    fn hold(&mut self, id: Identity) -> Result<(), ActError> {
        if let Entry::Vacant(entry) = self.held.entry(id) {
            let pid = Pid::from_raw(id.pid).ok_or(ActError::Gone)?;
            entry.insert(pidfd_open(pid, PidfdFlags::empty()).map_err(call("pidfd_open"))?);
        }
        // A pidfd becomes readable when its process ends (pidfd_open(2)).
        let mut fds = [PollFd::new(self.pidfd(id)?, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)).map_err(call("poll"))? {
            0 => Ok(()),
            _ => Err(ActError::Gone),
        }
    }

    fn still_offends(&mut self, id: Identity) -> bool {
        (self.evaluate)(id)
    }

    fn facts(&mut self, id: Identity) -> Result<Facts, ActError> {
        let stat = Stat::read(id.pid)?;
        let own = [std::process::id().cast_signed()];
        let populations: Option<Vec<usize>> = cgroups_of(id.pid, &self.mounts)
            .unwrap_or_default()
            .iter()
            .map(|(_, directory)| population(directory, &own))
            .collect();
        Ok(Facts {
            ppid: stat.ppid,
            comm: stat.comm,
            kernel_thread: stat.flags & PF_KTHREAD != 0,
            cgroup_processes: populations.and_then(|each| each.into_iter().max()),
        })
    }

    fn prepare(
        &mut self,
        id: Identity,
        action: Action,
        whole_cgroup: bool,
    ) -> Result<Vec<Saved>, ActError> {
        let control = |v2, controller, v1| {
            if whole_cgroup { self.control(id, v2, controller, v1) } else { None }
        };
        match action {
            Action::Notify | Action::Term | Action::Kill => Ok(Vec::new()),
            Action::Nice(_) => Ok(vec![Saved::Nice(nice_values(id.pid)?)]),
            Action::CpuRatio(_) => match control("cpu.max", "cpu", "cpu.cfs_quota_us") {
                Some(path) => Self::save_file(path),
                None => Ok(vec![Saved::Nice(nice_values(id.pid)?)]),
            },
            Action::MemoryBytes(_) => {
                match control("memory.high", "memory", "memory.soft_limit_in_bytes") {
                    Some(path) => Self::save_file(path),
                    None => Err(ActError::Unsupported {
                        what: "limiting the memory of a process that shares its cgroup",
                        way_out: "give it a cgroup of its own with a memory controller",
                    }),
                }
            }
            Action::Files(_) => Ok(vec![Saved::FilesSoftLimit(files_limit(id.pid)?.current)]),
            Action::Freeze => match control("cgroup.freeze", "freezer", "freezer.state") {
                Some(path) => Self::save_file(path),
                None => Ok(vec![Saved::Stopped]),
            },
        }
    }

    fn apply(&mut self, id: Identity, action: Action, saved: &[Saved]) -> Result<(), ActError> {
        let file = saved.iter().find_map(|each| match each {
            Saved::File { path, .. } => Some(path.as_path()),
            Saved::Nice(_) | Saved::FilesSoftLimit(_) | Saved::Stopped => None,
        });
        match (action, file) {
            (Action::Notify, _) => Ok(()),
            (Action::Nice(value), _) => set_nice(id.pid, value),
            (Action::CpuRatio(millionths), Some(path)) => {
                write(path, &cpu_quota(path, millionths)?)
            }
            // Alone it can only be made to yield: the lowest priority there is.
            (Action::CpuRatio(_), None) => set_nice(id.pid, 19),
            (Action::MemoryBytes(bytes), Some(path)) => write(path, &bytes.to_string()),
            (Action::MemoryBytes(_), None) => Ok(()),
            (Action::Files(count), _) => {
                let maximum = files_limit(id.pid)?.maximum;
                set_files_limit(id.pid, Some(count.cast_unsigned()), maximum)
            }
            (Action::Freeze, Some(path)) => {
                write(path, if path.ends_with("cgroup.freeze") { "1" } else { "FROZEN" })
            }
            (Action::Freeze, None) => self.signal(id, Signal::STOP),
            (Action::Term, _) => self.signal(id, Signal::TERM),
            (Action::Kill, _) => self.signal(id, Signal::KILL),
        }
    }

    fn restore(&mut self, id: Identity, saved: &Saved) -> Result<(), ActError> {
        match saved {
            // A cgroup outlives the process that was found in it.
            Saved::File { path, old } => write(path, old),
            Saved::Stopped => self.signal(id, Signal::CONT),
            Saved::Nice(values) => {
                self.same_process(id)?;
                for &(tid, value) in values {
                    // A thread that has ended meanwhile needs nothing.
                    match Pid::from_raw(tid).map(|tid| setpriority_process(Some(tid), value)) {
                        Some(Err(error)) if error != rustix::io::Errno::SRCH => {
                            return Err(call("setpriority")(error));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Saved::FilesSoftLimit(soft) => {
                self.same_process(id)?;
                let maximum = files_limit(id.pid)?.maximum;
                set_files_limit(id.pid, *soft, maximum)
            }
        }
    }

    fn release(&mut self, id: Identity) {
        self.held.remove(&id);
    }
}

impl<F: FnMut(Identity) -> bool> Linux<F> {
    /// What is not done through the pidfd must not hit a later process with the same pid.
    fn same_process(&mut self, id: Identity) -> Result<(), ActError> {
        self.hold(id)?;
        let ticks_per_second =
            i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        let started = Stat::read(id.pid)?.start_ticks;
        let expected = i128::from(id.start_ns) * i128::from(ticks_per_second) / 1_000_000_000;
        if i128::from(started) == expected { Ok(()) } else { Err(ActError::Gone) }
    }
}

/// Makes this process hard to lose: the OOM killer passes it by. Limits refuse to start
/// otherwise, as a watchdog that dies with its victim has released nothing.
///
/// # Errors
/// When the kernel refuses (CAP_SYS_RESOURCE lowers the score).
pub fn protect_self() -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    if std::fs::read_to_string(path)?.trim() == "-1000" {
        return Ok(());
    }
    std::fs::write(path, "-1000")
}

/// This process and its ancestors, for [`Rails::own_pids`].
#[must_use]
pub fn own_pids() -> Vec<i32> {
    let mut pids = vec![std::process::id().cast_signed()];
    while let Some(&last) = pids.last() {
        match Stat::read(last) {
            Ok(stat) if stat.ppid > 0 && !pids.contains(&stat.ppid) => pids.push(stat.ppid),
            _ => break,
        }
    }
    pids
}

/// Whether this process is in the pid namespace that all others are seen from.
#[must_use]
pub fn is_first_pid_namespace() -> bool {
    /// `PROC_PID_INIT_INO`
    const FIRST: u64 = 0xefff_fffc;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST)
}

impl Rails {
    /// The default rails around this process, with a list of protected names.
    #[must_use]
    pub fn for_this_process(protect: Vec<String>) -> Self {
        Self { protect, own_pids: own_pids(), ..Self::default() }
    }
}

fn threads(pid: i32) -> Result<Vec<i32>, ActError> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|_| ActError::Gone)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

fn nice_values(pid: i32) -> Result<Vec<(i32, i32)>, ActError> {
    Ok(threads(pid)?
        .into_iter()
        .filter_map(|tid| Some((tid, getpriority_process(Pid::from_raw(tid)).ok()?)))
        .collect())
}

fn set_nice(pid: i32, value: i32) -> Result<(), ActError> {
    threads(pid)?.into_iter().filter_map(Pid::from_raw).try_for_each(
        |tid| match setpriority_process(Some(tid), value) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(call("setpriority")(error)),
        },
    )
}

fn files_limit(pid: i32) -> Result<Rlimit, ActError> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/limits")).map_err(|_| ActError::Gone)?;
    let mut numbers = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .ok_or(ActError::Gone)?
        .split_whitespace()
        .map(|word| word.parse().ok());
    let (current, maximum) = (numbers.next().flatten(), numbers.next().flatten());
    Ok(Rlimit { current, maximum })
}

fn set_files_limit(pid: i32, current: Option<u64>, maximum: Option<u64>) -> Result<(), ActError> {
    let pid = Pid::from_raw(pid).ok_or(ActError::Gone)?;
    let current = match (current, maximum) {
        (Some(soft), Some(hard)) => Some(soft.min(hard)),
        (soft, hard) => soft.or(hard),
    };
    prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum })
        .map(drop)
        .map_err(call("prlimit"))
}

fn cpu_quota(path: &Path, millionths: i64) -> Result<String, ActError> {
    let quota =
        |period_us: i64| (millionths.saturating_mul(period_us) / 1_000_000).max(CPU_QUOTA_MIN_US);
    if path.ends_with("cpu.max") {
        return Ok(format!("{} {CPU_PERIOD_US}", quota(CPU_PERIOD_US)));
    }
    let period = path.with_file_name("cpu.cfs_period_us");
    let text = std::fs::read_to_string(&period).map_err(file_call(&period))?;
    Ok(quota(text.trim().parse().unwrap_or(CPU_PERIOD_US)).to_string())
}

fn write(path: &Path, text: &str) -> Result<(), ActError> {
    std::fs::write(path, text).map_err(file_call(path))
}

fn call(name: &'static str) -> impl Fn(rustix::io::Errno) -> ActError {
    move |error| match error {
        rustix::io::Errno::SRCH => ActError::Gone,
        error => ActError::Call { call: name.to_owned(), source: error.into() },
    }
}

fn file_call(path: &Path) -> impl Fn(io::Error) -> ActError {
    let call = path.display().to_string();
    move |source| ActError::Call { call: call.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Victim(Child);

    impl Victim {
        fn sleeping() -> Self {
            Self(Command::new("sleep").arg("60").spawn().expect("sleep is everywhere"))
        }
        fn id(&self) -> Identity {
            let pid = self.0.id().cast_signed();
            let ticks = Stat::read(pid).expect("it runs").start_ticks;
            Identity { pid, start_ns: ticks * 10_000_000 }
        }
        fn state(&self) -> char {
            let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))
                .expect("it was not waited for");
            text.rsplit_once(") ").and_then(|parts| parts.1.chars().next()).expect("a state")
        }
        fn wait_for_state(&self, state: char) {
            for _ in 0..500 {
                if self.state() == state {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            panic!("it is {}, not {state}", self.state());
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    fn world() -> Linux<impl FnMut(Identity) -> bool> {
        Linux::new(|_| true).expect("mountinfo can be read")
    }

    #[test]
    fn nice_files_and_freeze_are_done_and_undone() {
        let victim = Victim::sleeping();
        let (id, mut world) = (victim.id(), world());
        world.hold(id).expect("it runs");
        let nice = |id: Identity| nice_values(id.pid).expect("it runs")[0].1;
        let before = (nice(id), files_limit(id.pid).expect("it runs").current);

        for action in [Action::Nice(7), Action::Files(17), Action::Freeze] {
            let saved = world.prepare(id, action, false).expect("possible everywhere");
            world.apply(id, action, &saved).expect("our own child");
            if let Action::Nice(value) = action {
                assert_eq!(nice(id), value);
            } else if let Action::Files(count) = action {
                let limit = files_limit(id.pid).expect("it runs").current;
                assert_eq!(limit, Some(count.cast_unsigned()));
            } else {
                victim.wait_for_state('T');
            }
            match world.restore(id, &saved[0]) {
                // Without privilege a nice value cannot be lowered again.
                Err(ActError::Call { call, .. }) if call == "setpriority" => return,
                outcome => outcome.expect("our own child"),
            }
        }
        victim.wait_for_state('S');
        assert_eq!((nice(id), files_limit(id.pid).expect("it runs").current), before);
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut victim = Victim::sleeping();
        let (id, mut world) = (victim.id(), world());
        world.hold(id).expect("it runs");
        world.apply(id, Action::Kill, &[]).expect("our own child");
        victim.0.wait().expect("it was killed");
        assert!(matches!(world.hold(id), Err(ActError::Gone)));
        assert!(matches!(world.apply(id, Action::Term, &[]), Err(ActError::Gone)));
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_restored() {
        let victim = Victim::sleeping();
        let mut world = world();
        let other = Identity { start_ns: victim.id().start_ns - 5_000_000_000, ..victim.id() };
        let error = world.restore(other, &Saved::FilesSoftLimit(Some(3))).expect_err("not it");
        assert!(matches!(error, ActError::Gone), "{error}");
    }

    #[test]
    fn the_memory_of_one_process_cannot_be_limited_alone() {
        let victim = Victim::sleeping();
        let error = world().prepare(victim.id(), Action::MemoryBytes(1), false).expect_err("no");
        assert!(error.to_string().contains("cgroup of its own"), "{error}");
    }

    #[test]
    fn own_pids_reach_the_first_process() {
        let pids = own_pids();
        assert_eq!(pids[0], std::process::id().cast_signed());
        assert!(pids.len() > 1);
    }
}
