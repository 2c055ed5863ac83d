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
    let effective = sys.read_text(Path::new("/proc/self/status")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    let held = |number| effective.map(|bits| bits >> number & 1 != 0);
    CAPABILITIES
        .iter()
        .map(|&(number, name, purpose)| Capability { name, purpose, held: held(number) })
        .collect()
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
