//! Loading programs: types, maps, insns, in this order, each only if it is used.
//!
//! **Invariant**: what [`load_programs`] returns is complete; on an error every descriptor
//! that it had made is closed.

use super::Types;
use super::maps::{Plan, records_bytes, thread_count};
use crate::btf::kernel::Wanted;
use crate::doctor::machine;
use crate::error::LoadError;
use crate::host::Request;
use crate::insn;
use crate::kernel_log::Rejection;
use crate::link::{self, Linked, MapRef, ProgramKind};
use crate::sys::{
    ATTACH_TRACE_ITER, Call, Errno, PROG_SLEEPABLE, ProgBtf, ProgLoad, Sys, SyscallError, prog_type,
};
use kernel_vm::schema::{self, ColumnId, Since, Table};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// First size of the verifier's log, and the factor by which it grows.
const LOG_BYTES: usize = 64 << 10;
const LOG_GROWTH: usize = 16;
/// Largest log that is asked for.
const LOG_BYTES_MAX: usize = 16 << 20;
/// Threads that are reckoned with when the kernel does not tell.
const THREADS_UNKNOWN: usize = 4096;
/// Characters of a filter's name that go before `.rodata` in a map's name of 15.
const PREFIX_CHARS: usize = 7;

/// Loaded programs and their maps. Closing them unloads them.
#[derive(Debug)]
pub struct Loaded {
    /// Where the first of them runs.
    pub kind: ProgramKind,
    /// The programs, in the order asked for.
    pub programs: Vec<OwnedFd>,
    /// The maps that they use.
    pub maps: Vec<LoadedMap>,
    /// The types of the object; programs that were loaded by others hold theirs.
    pub btf: Option<OwnedFd>,
}

/// A map of a load.
#[derive(Debug)]
pub struct LoadedMap {
    /// Its name in the object: a map's symbol, or a data section.
    pub name: String,
    /// Its descriptor.
    pub fd: OwnedFd,
    /// Bytes of a data section's value or of a ring buffer; else the most entries.
    pub size: u32,
}

/// A map that exists already and is to be used instead of a new one.
#[derive(Debug)]
pub struct Reuse {
    /// The map's name in the object.
    pub map: String,
    /// The map.
    pub fd: OwnedFd,
}

impl Loaded {
    /// The map that the object calls `name`.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&LoadedMap> {
        self.maps.iter().find(|map| map.name == name)
    }
}

/// Rows of a table for each thread: the kernel does not count files and mappings. A
/// thread brings two or three mappings, a process some dozens.
fn rows_a_thread(table: &str) -> usize {
    match Table::from_name(table) {
        Some(Table::Mapping) => 64,
        Some(Table::File) => 16,
        Some(Table::Process | Table::Thread) | None => 1,
    }
}

/// Loads the programs called `names`, with the maps that they use and no others; those of
/// `reuse` are not created.
///
/// # Errors
/// [`LoadError`]; nothing stays behind.
pub fn load_programs(
    sys: &dyn Sys,
    types: &Types,
    request: &Request<'_>,
    names: &[&str],
    mut reuse: Vec<Reuse>,
) -> Result<Loaded, LoadError> {
    refuse_foreign_columns(request)?;
    let linked = link_all(sys, types, request, names)?;
    let btf = load_btf(sys, request)?;
    let threads = thread_count(sys).unwrap_or(THREADS_UNKNOWN);
    let rows = threads.saturating_mul(rows_a_thread(&request.filter.table));
    let record = request.filter.record.size as usize;
    let prefix: String = request.filter.name.chars().take(PREFIX_CHARS).collect();
    let plan = Plan {
        sys,
        object: request.object,
        btf: btf.as_fd(),
        rodata: &request.rodata,
        records: (&request.filter.bpf.records, records_bytes(record, rows)),
        prefix: &prefix,
    };
    let mut refs: Vec<MapRef> = Vec::new();
    let mut maps: Vec<LoadedMap> = Vec::new();
    for map in linked.iter().flat_map(|program| &program.maps).map(|slot| slot.map) {
        if !refs.contains(&map) {
            let name = name_of(request, map);
            let known = reuse.iter().position(|reuse| reuse.map == name);
            let (fd, size) = match known {
                Some(index) => (reuse.swap_remove(index).fd, 0),
                None => plan.create(map)?,
            };
            refs.push(map);
            maps.push(LoadedMap { name, fd, size });
        }
    }
    let kind = linked.first().map_or(ProgramKind::Syscall, |program| program.kind);
    let mut programs = Vec::with_capacity(linked.len());
    for mut program in linked {
        for slot in &program.maps {
            let fd = refs.iter().zip(&maps).find(|(map, _)| **map == slot.map).map(|(_, m)| &m.fd);
            if let (Some(fd), Some(insn)) = (fd, program.insns.get_mut(slot.slot)) {
                insn.imm = fd.as_raw_fd();
            }
        }
        programs.push(load_program(sys, request, &program, btf.as_fd())?);
    }
    Ok(Loaded { kind, programs, maps, btf: Some(btf) })
}

/// A column that this host never has would make every row unreadable: another host is better.
fn refuse_foreign_columns(request: &Request<'_>) -> Result<(), LoadError> {
    for place in &request.filter.vm.columns {
        let column = schema::column_by_id(ColumnId(place.id));
        if column.is_some_and(|column| column.bpf == Since::Never) {
            return Err(LoadError::Missing {
                what: format!("column `{}`", place.name),
                why: "the kernel cannot tell it to a filter".to_owned(),
                way_out: "use `--host vm`".to_owned(),
            });
        }
    }
    Ok(())
}

fn name_of(request: &Request<'_>, map: MapRef) -> String {
    let name = match map {
        MapRef::Defined(index) => request.object.maps.get(index).map(|map| &map.name),
        MapRef::Data(index) => request.object.data.get(index).map(|data| &data.name),
    };
    name.cloned().unwrap_or_default()
}

/// Fits the programs to the kernel's types.
fn link_all(
    sys: &dyn Sys,
    types: &Types,
    request: &Request<'_>,
    names: &[&str],
) -> Result<Vec<Linked>, LoadError> {
    let object = request.object;
    let mut wanted = Wanted::default();
    let mut entries = Vec::new();
    for name in names {
        let entry = object.function(name);
        let kind = entry
            .and_then(|entry| object.functions.get(entry))
            .and_then(|function| ProgramKind::of_section(&function.section));
        let (Some(entry), Some(kind)) = (entry, kind) else {
            return Err(LoadError::Missing {
                what: format!("program `{name}`"),
                why: "the object has it in no section that can be loaded".to_owned(),
                way_out: "compile the filter again".to_owned(),
            });
        };
        link::want(object, &link::reach(object, entry), &mut wanted)?;
        entries.push((entry, kind));
    }
    let kernel = types.with(sys, wanted)?;
    let link = |(entry, kind)| link::link(object, &kernel, entry, kind).map_err(LoadError::from);
    entries.into_iter().map(link).collect()
}

fn load_btf(sys: &dyn Sys, request: &Request<'_>) -> Result<OwnedFd, LoadError> {
    let object = request.object;
    let data = crate::btf::for_kernel(&object.btf, object).map_err(|error| {
        LoadError::Object(crate::elf::ObjectError {
            section: ".BTF".to_owned(),
            offset: error.offset as u64,
            kind: crate::elf::ObjectErrorKind::Btf(error.kind),
        })
    })?;
    let first = match sys.bpf_fd(Call::BtfLoad { data: &data, log: &mut [] }) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_BYTES];
    let error = match sys.bpf_fd(Call::BtfLoad { data: &data, log: &mut log }) {
        Ok(fd) => return Ok(fd),
        Err(_) if first.errno.is_privilege() => first,
        Err(error) => SyscallError { log: text_of(&log), ..error },
    };
    Err(LoadError::syscall("loading the object's types")(error))
}

/// What a verifier says that does not take the address of a function for one (before 5.13).
const FUNCTION_UNKNOWN: &str = "number of funcs in func_info doesn't match";

/// What a verifier says of a helper that it does not know, and of an iterator that may not
/// sleep (before 5.18).
const HELPER_UNKNOWN: &str = "invalid func unknown#";
const MAY_NOT_SLEEP: &str = "programs can be sleepable";
/// What it says of an iterator that may sleep and keeps what it finds in a hash map (before 6.1).
const SLEEPS_WITH_MAPS: &str = "Sleepable programs can only use";
/// Helpers that kernels in use may lack, and the first that has them.
const HELPERS_SINCE: [(u32, &str, &str); 3] = [
    (175, "bpf_task_pt_regs", "5.15"),
    (181, "bpf_loop", "5.17"),
    (191, "bpf_copy_from_user_task", "5.18"),
];

/// Loads one program; a refused one is loaded again to hear why.
fn load_program(
    sys: &dyn Sys,
    request: &Request<'_>,
    program: &Linked,
    btf: BorrowedFd<'_>,
) -> Result<OwnedFd, LoadError> {
    let insns = insn::to_bytes(&program.insns);
    let load = |log: &mut [u8]| {
        let (ty, attach_type, flags) = match program.kind {
            ProgramKind::Syscall => (prog_type::SYSCALL, 0, PROG_SLEEPABLE),
            ProgramKind::IterTask { sleepable } => {
                let flags = if sleepable { PROG_SLEEPABLE } else { 0 };
                (prog_type::TRACING, ATTACH_TRACE_ITER, flags)
            }
            ProgramKind::IterTaskFile | ProgramKind::IterTaskVma => {
                (prog_type::TRACING, ATTACH_TRACE_ITER, 0)
            }
        };
        let btf = ProgBtf { fd: btf, functions: &program.func_info, lines: &program.line_info };
        sys.bpf_fd(Call::ProgLoad(ProgLoad {
            name: &program.name,
            ty,
            attach_type,
            attach_btf_id: program.attach_btf_id,
            flags,
            insns: &insns,
            license: &request.object.license,
            btf: Some(btf),
            log,
        }))
    };
    let first = match load(&mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = Vec::new();
    let mut size = LOG_BYTES;
    while size <= LOG_BYTES_MAX {
        log = vec![0; size];
        match load(&mut log) {
            Ok(fd) => return Ok(fd),
            Err(error) if error.errno.0 == libc::ENOSPC => size *= LOG_GROWTH,
            Err(_) => break,
        }
    }
    Err(refused(sys, request, program, first, &text_of(&log)))
}

/// The helper that a verifier does not know, and why that is so.
fn missing_helper(log: &str) -> (String, String) {
    let number = log.split_once(HELPER_UNKNOWN).and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<u32>().ok()
    });
    match HELPERS_SINCE.iter().find(|(known, ..)| Some(*known) == number) {
        Some((_, name, since)) => (
            format!("helper `{name}`"),
            format!("a column takes it, and kernels have it from Linux {since} on"),
        ),
        None => (
            number.map_or_else(|| "a helper".to_owned(), |number| format!("helper {number}")),
            "a column takes it, and this kernel is too old for it".to_owned(),
        ),
    }
}

/// The error for a program that was refused.
fn refused(
    sys: &dyn Sys,
    request: &Request<'_>,
    program: &Linked,
    error: SyscallError,
    log: &str,
) -> LoadError {
    // Without a word from the verifier it was not the verifier: privilege, memory, limits.
    if log.trim().is_empty() {
        return LoadError::syscall(format!("loading program `{}`", program.name))(error);
    }
    if log.contains(FUNCTION_UNKNOWN) {
        return LoadError::Missing {
            what: "calls of a filter's own functions from a loop".to_owned(),
            why: "a column takes a loop, and the verifier knows none before Linux 5.17".to_owned(),
            way_out: "use `--host vm`".to_owned(),
        };
    }
    let line_of = |slot| program.line_of(request.object, slot);
    let mut rejection = Rejection::from_log(&program.name, error.errno, log, line_of);
    // CAP_BPF alone gets a program as far as the verifier, which then trusts no pointer.
    if machine::lacks(sys, "CAP_PERFMON") {
        rejection.lacks = Some("CAP_PERFMON");
    }
    let lacks = rejection.slot.and_then(|slot| {
        program.poisoned.iter().find(|(poisoned, _)| *poisoned == slot).map(|(_, what)| what)
    });
    let refuses = |words: &str| lacks.is_none() && log.contains(words);
    let missing = |(what, why): (String, String)| LoadError::Missing {
        what,
        why,
        way_out: "use `--host vm`, or Linux 6.1 and later".to_owned(),
    };
    if refuses(MAY_NOT_SLEEP) || refuses(SLEEPS_WITH_MAPS) {
        let what = "an iterator that reads the memory of others and keeps what it finds";
        let why = "a column takes one to see who waits for a lock";
        return missing((what.to_owned(), why.to_owned()));
    }
    if refuses(HELPER_UNKNOWN) {
        return missing(missing_helper(log));
    }
    if let Some(what) = lacks {
        rejection.message = format!("this kernel has no {what}");
    }
    LoadError::Rejected(Box::new(rejection))
}

/// The text in a log buffer.
fn text_of(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// Whether the errno says that a second try may succeed.
pub(super) const fn is_transient(errno: Errno) -> bool {
    matches!(errno.0, libc::EAGAIN | libc::EINTR | libc::EBUSY)
}
