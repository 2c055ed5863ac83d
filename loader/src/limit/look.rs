//! What is looked at before an act: a process's status line and its cgroups.
//!
//! **Invariant**: only files that take no lock of the process's memory are read.

use super::ActError;
use std::io;
use std::path::{Path, PathBuf};

/// What is needed of /proc/PID/stat.
pub(super) struct Stat {
    pub(super) comm: String,
    pub(super) ppid: i32,
    pub(super) flags: u64,
    pub(super) start_ticks: i64,
}

impl Stat {
    pub(super) fn read(pid: i32) -> Result<Self, ActError> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).map_err(|_| ActError::Gone)?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or(ActError::Gone)
    }

    /// proc_pid_stat(5). The name is in parentheses and may hold some itself.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let comm = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        Some(Self {
            comm,
            ppid: fields.get(1)?.parse().ok()?,
            flags: fields.get(6)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// A mounted cgroup hierarchy; `controllers` is `None` for version 2.
pub(super) struct CgroupMount {
    root: String,
    point: PathBuf,
    pub(super) controllers: Option<Vec<String>>,
}

/// proc_pid_mountinfo(5).
pub(super) fn cgroup_mounts(mountinfo: &str) -> Vec<CgroupMount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, point) = (mount.next()?.to_owned(), PathBuf::from(mount.next()?));
            let mut filesystem = filesystem.split(' ');
            let controllers = match filesystem.next()? {
                "cgroup2" => None,
                "cgroup" => Some(filesystem.nth(1)?.split(',').map(str::to_owned).collect()),
                _ => return None,
            };
            Some(CgroupMount { root, point, controllers })
        })
        .collect()
}

/// The directories of the process's cgroups, the roots left out: cgroups(7).
pub(super) fn cgroups_of(
    pid: i32,
    mounts: &[CgroupMount],
) -> io::Result<Vec<(&CgroupMount, PathBuf)>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let mount = mounts.iter().find(|mount| match &mount.controllers {
                None => controllers.is_empty(),
                Some(list) => {
                    controllers.split(',').any(|each| list.iter().any(|have| have == each))
                }
            })?;
            let inside = path.strip_prefix(mount.root.trim_end_matches('/'))?;
            let inside = inside.trim_start_matches('/');
            (!inside.is_empty()).then(|| (mount, mount.point.join(inside)))
        })
        .collect())
}

/// How many processes a cgroup holds; `None` when one of `own` is among them, or unknown.
pub(super) fn population(directory: &Path, own: &[i32]) -> Option<usize> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    (!pids.iter().any(|pid| own.contains(pid))).then_some(pids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_are_read_whole() {
        let stat = Stat::parse("42 (a) b (c) S 7 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0")
            .expect("well formed");
        assert_eq!((stat.comm.as_str(), stat.ppid, stat.start_ticks), ("a) b (c", 7, 99));
        assert_eq!(stat.flags, 4_194_304);
        assert!(Stat::parse("42 (a").is_none());
    }

    #[test]
    fn mounts_of_both_versions_are_known() {
        let mounts = cgroup_mounts(
            "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             31 25 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             32 25 0:28 / /tmp rw - tmpfs tmpfs rw\n",
        );
        assert_eq!(mounts.len(), 2);
        assert!(mounts[0].controllers.is_none());
        assert!(mounts[1].controllers.as_ref().is_some_and(|list| list.contains(&"cpu".into())));
    }
}
