//! What files say of the machine: release, capabilities, mounts.
//!
//! **Invariant**: a file that cannot be read makes a fact unknown, never an error.

use super::{Capability, Outcome};
use crate::sys::Sys;
use std::path::Path;

/// Capabilities that matter: number, name, purpose.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "load filters into the kernel"),
    (38, "CAP_PERFMON", "let filters read tasks"),
    (19, "CAP_SYS_PTRACE", "read other users' processes on the vm host"),
    (21, "CAP_SYS_ADMIN", "mount bpffs; stands for the ones above"),
    (5, "CAP_KILL", "limits that signal other users' processes"),
];

pub(super) fn release(sys: &dyn Sys) -> String {
    match sys.read_text(Path::new("/proc/sys/kernel/osrelease")) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

pub(super) fn capabilities(sys: &dyn Sys) -> Vec<Capability> {
    let effective = effective(sys);
    let held = |number| effective.map(|bits| bits >> number & 1 != 0);
    CAPABILITIES
        .iter()
        .map(|&(number, name, purpose)| Capability { name, purpose, held: held(number) })
        .collect()
}

/// Whether this process is known to have neither `name` nor what stands for it.
pub(crate) fn lacks(sys: &dyn Sys, name: &str) -> bool {
    let bit = |name: &str| {
        CAPABILITIES.iter().find(|known| known.1 == name).map_or(0, |known| 1_u64 << known.0)
    };
    effective(sys).is_some_and(|bits| bits & (bit(name) | bit("CAP_SYS_ADMIN")) == 0)
}

/// Whether this process is known not to have `name` itself.
pub(crate) fn is_without(sys: &dyn Sys, name: &str) -> bool {
    let bit = CAPABILITIES.iter().find(|known| known.1 == name).map_or(0, |known| 1_u64 << known.0);
    effective(sys).is_some_and(|bits| bits & bit == 0)
}

/// The capabilities in effect, one a bit.
fn effective(sys: &dyn Sys) -> Option<u64> {
    let text = sys.read_text(Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether /proc can be walked.
pub(super) fn procfs(sys: &dyn Sys) -> Outcome {
    match sys.read_text(Path::new("/proc/self/stat")) {
        Ok(_) => Outcome::Works(String::new()),
        Err(error) => Outcome::Missing {
            errno: Some(error.errno),
            why: error.to_string(),
            way_out: "mount -t proc proc /proc".to_owned(),
        },
    }
}

/// Where a bpffs is mounted.
pub(super) fn bpffs(sys: &dyn Sys) -> Option<String> {
    let mounts = sys.read_text(Path::new("/proc/self/mounts")).ok()?;
    let mut found: Option<String> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(_), Some(path), Some("bpf")) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if path == "/sys/fs/bpf" || found.is_none() {
            found = Some(path.to_owned());
        }
    }
    found
}
