//! The maps of a load: which, how large, with what in them.
//!
//! **Invariant**: only maps that a loaded program uses are created; constants are frozen
//! before a program sees them.

use crate::elf::{DataKind, DataSection, MapDef, Object, map_type};
use crate::error::LoadError;
use crate::link::MapRef;
use crate::sys::ring::{self, page_bytes};
use crate::sys::{Call, MAP_MMAPABLE, MAP_RDONLY_PROG, MapCreate, Sys, SyscallError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Least bytes of a ring buffer for records.
const RECORDS_BYTES_MIN: usize = 64 << 10;
/// Most bytes of a ring buffer for records; what does not fit is counted as dropped.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// Bytes of the ring buffer for records of `record` bytes of a table with up to `rows` rows.
///
/// Every row may match. Rows that come into being after the load have half as much room
/// again.
#[must_use]
pub fn records_bytes(record: usize, rows: usize) -> usize {
    let each = ring::RECORD_HEADER_BYTES + record.next_multiple_of(8);
    let all = each.saturating_mul(rows.saturating_add(rows / 2));
    all.clamp(RECORDS_BYTES_MIN.max(page_bytes()), RECORDS_BYTES_MAX).next_power_of_two()
}

/// How many threads there are, by the last number but one of /proc/loadavg.
#[must_use]
pub fn thread_count(sys: &dyn Sys) -> Option<usize> {
    let text = sys.read_text(Path::new("/proc/loadavg")).ok()?;
    let (_, total) = text.split_whitespace().nth(3)?.split_once('/')?;
    total.parse().ok()
}

/// How the maps of one load are made.
pub(super) struct Plan<'a> {
    pub(super) sys: &'a dyn Sys,
    pub(super) object: &'a Object,
    pub(super) btf: BorrowedFd<'a>,
    /// The contents of `.rodata`.
    pub(super) rodata: &'a [u8],
    /// The ring buffer that is sized by the table, and its size.
    pub(super) records: (&'a str, usize),
    /// Put before the names of data sections, so that tools show whose they are.
    pub(super) prefix: &'a str,
}

impl Plan<'_> {
    /// Creates one map and fills it.
    pub(super) fn create(&self, map: MapRef) -> Result<(OwnedFd, u32), LoadError> {
        match map {
            MapRef::Defined(index) => match self.object.maps.get(index) {
                Some(def) => self.defined(def),
                None => Err(no_such_map(index)),
            },
            MapRef::Data(index) => match self.object.data.get(index) {
                Some(data) => self.data(data),
                None => Err(no_such_map(index)),
            },
        }
    }

    fn defined(&self, def: &MapDef) -> Result<(OwnedFd, u32), LoadError> {
        let mut max_entries = def.max_entries;
        if def.ty == map_type::RINGBUF {
            let bytes = if def.name == self.records.0 {
                self.records.1
            } else {
                (max_entries as usize).max(page_bytes()).next_power_of_two()
            };
            max_entries = u32::try_from(bytes).unwrap_or(1 << 31);
        }
        // The kernel takes types of keys and values for maps that have them only.
        let btf = (def.ty != map_type::RINGBUF && def.value_type != 0).then_some((
            self.btf,
            def.key_type,
            def.value_type,
        ));
        let create = MapCreate {
            name: &def.name,
            ty: def.ty,
            key_size: def.key_size,
            value_size: def.value_size,
            max_entries,
            flags: def.flags,
            btf,
        };
        let fd = self.sys.bpf_fd(Call::MapCreate(create)).map_err(|error| match error.errno.0 {
            libc::EINVAL if def.ty == map_type::TASK_STORAGE => no_task_storage(&def.name),
            _ => not_created(&def.name, error),
        })?;
        Ok((fd, max_entries))
    }

    fn data(&self, data: &DataSection) -> Result<(OwnedFd, u32), LoadError> {
        let constant = data.kind == DataKind::Constants;
        let bytes = if data.name == ".rodata" { self.rodata } else { &data.bytes };
        let value_size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let name = format!("{}{}", self.prefix, data.name);
        let doing = |what: &str| LoadError::syscall(format!("{what} map `{name}`"));
        let create = MapCreate {
            name: &name,
            ty: map_type::ARRAY,
            key_size: 4,
            value_size,
            max_entries: 1,
            flags: MAP_MMAPABLE | if constant { MAP_RDONLY_PROG } else { 0 },
            btf: None,
        };
        let created = self.sys.bpf_fd(Call::MapCreate(create));
        let fd = created.map_err(|error| not_created(&name, error))?;
        if bytes.iter().any(|&byte| byte != 0) {
            let update = Call::MapUpdate { map: fd.as_fd(), key: &[0; 4], value: bytes };
            self.sys.bpf(update).map_err(doing("filling"))?;
        }
        if constant {
            self.sys.bpf(Call::MapFreeze(fd.as_fd())).map_err(doing("freezing"))?;
        }
        Ok((fd, value_size))
    }
}

/// The error for a map that the kernel did not make. The object's types were loaded, which
/// takes the same privilege: EPERM then means an old kernel, which counts maps as locked memory.
fn not_created(name: &str, error: SyscallError) -> LoadError {
    if error.errno.0 == libc::EPERM {
        return LoadError::Missing {
            what: format!("locked memory for map `{name}`"),
            why: "before Linux 5.11 maps count as locked memory, and RLIMIT_MEMLOCK is too small"
                .to_owned(),
            way_out: "raise it with `ulimit -l unlimited`, or use `--host vm`".to_owned(),
        };
    }
    LoadError::syscall(format!("creating map `{name}`"))(error)
}

fn no_task_storage(map: &str) -> LoadError {
    LoadError::Missing {
        what: format!("task storage for map `{map}`"),
        why: "the filter keeps something of each task, and tasks have no room for it before \
              Linux 5.12"
            .to_owned(),
        way_out: "use `--host vm`, or a filter without rates and history".to_owned(),
    }
}

fn no_such_map(index: usize) -> LoadError {
    LoadError::Missing {
        what: format!("map {index}"),
        why: "the object does not define it".to_owned(),
        way_out: "compile the filter again".to_owned(),
    }
}
