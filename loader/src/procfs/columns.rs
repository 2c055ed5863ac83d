//! Where /proc has each column: the one place.
//!
//! **Invariant**: a column that the schema gives to this host has a reader here; a test
//! compares the two.

use super::files::OpenFile;
use super::maps::{self, Mapping};
use super::parse;
use super::task::{Source, Task};
use crate::waits::Wait;

/// A value of a row; what could not be read is `None` instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Any integer.
    Int(i64),
    /// A text, cut to its capacity by the row.
    Text(&'a [u8]),
    /// Device and inode.
    Object(i64, i64),
}

/// One row's sources.
#[derive(Debug)]
pub struct Row<'a> {
    /// The process, or the thread.
    pub task: &'a Task,
    /// Its open file, in the table `file`.
    pub file: Option<&'a OpenFile>,
    /// Its mapping, in the table `mapping`.
    pub mapping: Option<&'a Mapping>,
    /// What the thread waits for.
    pub wait: Option<&'a Wait>,
}

/// PF_EXITING and PF_KTHREAD of include/linux/sched.h.
const PF_EXITING: i64 = 0x4;
const PF_KTHREAD: i64 = 0x0020_0000;
/// Letters of the states, in the order of `EnumKind::State`.
const STATES: &[u8] = b"RSDTtXZPI";

/// The files that a column of `process` or `thread` needs besides `stat`.
#[must_use]
pub fn sources(name: &str, is_thread: bool) -> &'static [Source] {
    match name {
        "cpu_time" if is_thread => &[Source::Schedstat],
        "cpu_time" => &[Source::CpuClock],
        "vpid" | "vtid" | "uid" | "gid" | "euid" => &[Source::Status],
        "rss" | "rss_anon" | "rss_file" | "rss_shared" | "swap" | "virtual_size"
        | "page_tables" | "locked" | "stack" | "data" | "peak_rss" => &[Source::Status],
        "voluntary_switches" | "involuntary_switches" | "context_switches" if is_thread => {
            &[Source::Status]
        }
        "voluntary_switches" | "involuntary_switches" | "context_switches" => {
            &[Source::ThreadStatus]
        }
        "read_bytes" | "write_bytes" | "read_chars" | "write_chars" => &[Source::Io],
        "oom_score_adj" => &[Source::OomScoreAdj],
        "cgroup" => &[Source::Cgroup],
        "files" => &[Source::FdCount],
        "file_limit" => &[Source::Limits],
        "mappings" | "shared_mapped" | "shm_objects" | "shm_tmpfs" | "shm_sysv" | "shm_anon" => {
            &[Source::Maps]
        }
        "waits_on" | "waits_for" | "wait_class" | "cycle.id" | "cycle.length" => &[Source::Waits],
        _ => &[],
    }
}

/// The value of a column, or `None` when it could not be read.
#[must_use]
pub fn read<'a>(name: &str, row: &Row<'a>) -> Option<Cell<'a>> {
    if let Some(file) = row.file
        && let Some(cell) = of_file(name, file)
    {
        return cell;
    }
    if let Some(mapping) = row.mapping
        && let Some(cell) = of_mapping(name, mapping)
    {
        return cell;
    }
    let task = row.task;
    match name {
        "comm" => Some(Cell::Text(&task.stat.comm)),
        "waits_on" => row.wait.map(|wait| Cell::Int(wait.address)),
        "waits_for" => row.wait.map(|wait| Cell::Int(wait.owner)),
        "wait_class" => row.wait.map(|wait| Cell::Int(wait.class as i64)),
        "cycle.id" => row.wait.map(|wait| Cell::Int(wait.cycle_id)),
        "cycle.length" => row.wait.map(|wait| Cell::Int(wait.cycle_length)),
        _ => of_task(name, task).map(Cell::Int),
    }
}

fn of_task(name: &str, task: &Task) -> Option<i64> {
    let stat = |position| task.stat.field(position);
    let ticks = |position| stat(position)?.checked_mul(task.tick_ns);
    match name {
        "pid" => Some(i64::from(task.pid)),
        "tid" => Some(i64::from(task.tid)),
        "ppid" => stat(4),
        "pgrp" => stat(5),
        "session" => stat(6),
        "exiting" => Some(i64::from(stat(9)? & PF_EXITING != 0)),
        "kernel_thread" => Some(i64::from(stat(9)? & PF_KTHREAD != 0)),
        "state" => STATES
            .iter()
            .position(|&letter| letter == task.stat.state)
            .and_then(|index| i64::try_from(index).ok()),
        "minor_faults" => stat(10),
        "major_faults" => stat(12),
        "page_faults" => stat(10)?.checked_add(stat(12)?),
        "user_time" => ticks(14),
        "system_time" => ticks(15),
        "cpu_time" => task.cpu_ns.or_else(|| ticks(14)?.checked_add(ticks(15)?)),
        "children_time" => ticks(16)?.checked_add(ticks(17)?),
        "priority" => stat(18),
        "nice" => stat(19),
        "threads" => stat(20),
        "start_time" => task.start_ns(),
        "age" => Some(task.now_ns.saturating_sub(task.start_ns()?).max(0)),
        "processor" => stat(39),
        "rt_priority" => stat(40),
        "policy" => stat(41),
        "oom_score_adj" => task.oom_score_adj,
        "cgroup" => task.cgroup,
        "files" => task.fd_count,
        "file_limit" => parse::open_files_limit(task.limits.as_deref()?),
        "mappings" => i64::try_from(task.maps.as_ref()?.list.len()).ok(),
        "shared_mapped" => Some(task.maps.as_ref()?.shared_bytes(|_| true)),
        "shm_tmpfs" => Some(task.maps.as_ref()?.shared_bytes(maps::is_tmpfs)),
        "shm_sysv" => Some(task.maps.as_ref()?.shared_bytes(maps::is_sysv)),
        "shm_anon" => Some(task.maps.as_ref()?.shared_bytes(maps::is_shared_anon)),
        "shm_objects" => Some(task.maps.as_ref()?.shared_objects()),
        _ => of_status(name, task).or_else(|| of_io(name, task)),
    }
}

fn of_status(name: &str, task: &Task) -> Option<i64> {
    let status = task.status.as_deref();
    let switches = |index: usize| match (task.is_thread, task.thread_switches) {
        (false, sums) => sums.map(|sums| if index == 0 { sums.0 } else { sums.1 }),
        (true, _) => {
            let name = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"][index];
            parse::status_number(status?, name, 0)
        }
    };
    // A kernel thread and a zombie have no memory, and their status no line for it.
    let bytes = |name: &str| Some(parse::status_bytes(status?, name).unwrap_or(0));
    match name {
        "vpid" => parse::status_last(status?, "NStgid"),
        "vtid" => parse::status_last(status?, "NSpid"),
        "uid" => parse::status_number(status?, "Uid", 0),
        "euid" => parse::status_number(status?, "Uid", 1),
        "gid" => parse::status_number(status?, "Gid", 0),
        "rss" => bytes("VmRSS"),
        "rss_anon" => bytes("RssAnon"),
        "rss_file" => bytes("RssFile"),
        "rss_shared" => bytes("RssShmem"),
        "swap" => bytes("VmSwap"),
        "virtual_size" => bytes("VmSize"),
        "page_tables" => bytes("VmPTE"),
        "locked" => bytes("VmLck"),
        "stack" => bytes("VmStk"),
        "data" => bytes("VmData"),
        "peak_rss" => bytes("VmHWM"),
        "voluntary_switches" => switches(0),
        "involuntary_switches" => switches(1),
        "context_switches" => switches(0)?.checked_add(switches(1)?),
        _ => None,
    }
}

fn of_io(name: &str, task: &Task) -> Option<i64> {
    let line = match name {
        "read_bytes" => "read_bytes",
        "write_bytes" => "write_bytes",
        "read_chars" => "rchar",
        "write_chars" => "wchar",
        _ => return None,
    };
    parse::status_number(task.io.as_deref()?, line, 0)
}

/// `None` for columns that are not the file's own.
fn of_file<'a>(name: &str, file: &'a OpenFile) -> Option<Option<Cell<'a>>> {
    Some(match name {
        "fd" => Some(Cell::Int(file.fd)),
        "kind" => file.kind.map(Cell::Int),
        "device" => file.device.map(Cell::Int),
        "inode" => file.inode.map(Cell::Int),
        "name" => file.name.as_deref().map(Cell::Text),
        "flags" => file.flags.map(Cell::Int),
        "position" => file.position.map(Cell::Int),
        "size" => file.size.map(Cell::Int),
        _ => return None,
    })
}

/// `None` for columns that are not the mapping's own.
fn of_mapping<'a>(name: &str, mapping: &'a Mapping) -> Option<Option<Cell<'a>>> {
    let is = |byte: u8| Some(Cell::Int(i64::from(mapping.permissions.contains(&byte))));
    Some(match name {
        "address" => Some(Cell::Int(mapping.address)),
        "size" => Some(Cell::Int(mapping.size)),
        "permissions" => Some(Cell::Text(&mapping.permissions)),
        "shared" => is(b's'),
        "writable" => is(b'w'),
        "executable" => is(b'x'),
        "object" => Some(Cell::Object(mapping.device, mapping.inode)),
        "object.device" => Some(Cell::Int(mapping.device)),
        "object.inode" => Some(Cell::Int(mapping.inode)),
        "object.kind" => Some(Cell::Int(mapping.kind)),
        "object.name" => Some(Cell::Text(&mapping.name)),
        "resident" => mapping.resident.map(Cell::Int),
        "object.resident" => None,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Procfs;
    use crate::procfs::task::Sources;
    use kernel_vm::schema::{Since, Table, columns_of};

    /// This very process has every column of its tables, as the schema says.
    #[test]
    fn every_column_of_the_schema_is_found() {
        let mut procfs = Procfs::new();
        let pid = std::process::id().cast_signed();
        for table in [Table::Process, Table::Thread] {
            let tid = (table == Table::Thread).then_some(pid);
            let mut wanted = Sources::default();
            for column in columns_of(table) {
                sources(column.name, tid.is_some()).iter().for_each(|&each| wanted.insert(each));
            }
            let now_ns = i64::MAX / 2;
            let task = Task::read(&mut procfs, (pid, tid), wanted, now_ns, &mut Vec::new())
                .expect("this process runs");
            let wait = Wait::default();
            let row = Row { task: &task, file: None, mapping: None, wait: Some(&wait) };
            let missing: Vec<&str> = columns_of(table)
                .filter(|column| column.procfs != Since::Never)
                .map(|column| column.name)
                .filter(|name| read(name, &row).is_none())
                // A machine without the unified hierarchy has no such id.
                .filter(|&name| name != "cgroup")
                .collect();
            assert!(missing.is_empty(), "{}: {missing:?}", table.name());
        }
    }

    #[test]
    fn what_could_not_be_read_is_missing() {
        let task = Task::default();
        let row = Row { task: &task, file: None, mapping: None, wait: None };
        for name in ["rss", "uid", "read_bytes", "files", "file_limit", "ppid", "waits_on"] {
            assert_eq!(read(name, &row), None, "{name}");
        }
    }
}
