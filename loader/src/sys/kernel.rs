//! The running kernel.
//!
//! **Invariant**: every pointer in an argument block comes from a borrow that lives until
//! the call returns, with the length that the kernel is told.
#![allow(unsafe_code, reason = "the one place where the kernel is called; see each SAFETY")]

use super::attr::{ATTR_BYTES, Attr};
use super::{
    ATTACH_TRACE_ITER, Call, Errno, FileBytes, MapCreate, ProgLoad, Reply, SharedMemory, Sys,
    SyscallError,
};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Largest text file that is read.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// bpf(2) reports an interrupted or overtaken call so often that a few more tries do.
const TRIES_MAX: u32 = 8;

/// The commands of bpf(2), by the kernel's numbers.
mod command {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
    pub(super) const MAP_UPDATE_ELEM: u32 = 2;
    pub(super) const PROG_LOAD: u32 = 5;
    pub(super) const OBJ_PIN: u32 = 6;
    pub(super) const OBJ_GET: u32 = 7;
    pub(super) const PROG_TEST_RUN: u32 = 10;
    pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(super) const BTF_LOAD: u32 = 18;
    pub(super) const MAP_FREEZE: u32 = 22;
    pub(super) const LINK_CREATE: u32 = 28;
    pub(super) const LINK_UPDATE: u32 = 29;
    pub(super) const ITER_CREATE: u32 = 33;
}

/// BPF_OBJ_GET: for reading only.
const FLAG_RDONLY: u32 = 1 << 3;
/// Verifier log: what happened, and the statistics.
const LOG_LEVEL: u32 = 1 | 4;

/// The running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// What a command's return value is.
#[derive(Clone, Copy)]
enum Yields {
    Fd,
    Nothing,
    /// The `u32` at this offset of the argument block.
    Field(usize),
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().addr() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().addr() as u64
}

fn len(bytes: &[u8]) -> u32 {
    // Longer buffers are cut: the kernel takes no more.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn fd(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn c_path(call: &'static str, path: &Path) -> Result<CString, SyscallError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| SyscallError::new(call, Errno(libc::EINVAL)))
}

fn run(
    call: &'static str,
    command: u32,
    attr: &mut Attr,
    yields: Yields,
) -> Result<Reply, SyscallError> {
    let mut tries = 0;
    let result = loop {
        // SAFETY: `attr` is a writable block of ATTR_BYTES; the pointers that it holds were
        // taken from borrows that the caller of this function holds until it returns, with
        // their lengths beside them.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), ATTR_BYTES as libc::c_uint)
        };
        if result >= 0 {
            break result;
        }
        let errno = Errno::last();
        tries += 1;
        if !matches!(errno.0, libc::EAGAIN | libc::EINTR) || tries == TRIES_MAX {
            return Err(SyscallError::new(call, errno));
        }
    };
    Ok(match yields {
        Yields::Nothing => Reply::Number(0),
        Yields::Field(offset) => Reply::Number(attr.get_u32(offset)),
        Yields::Fd => {
            let raw =
                i32::try_from(result).map_err(|_| SyscallError::new(call, Errno(libc::EBADF)))?;
            // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
            Reply::Fd(unsafe { OwnedFd::from_raw_fd(raw) })
        }
    })
}

fn map_create(call: &'static str, map: &MapCreate<'_>) -> Result<Reply, SyscallError> {
    let mut attr = Attr::new()
        .u32(0, map.ty)
        .u32(4, map.key_size)
        .u32(8, map.value_size)
        .u32(12, map.max_entries)
        .u32(16, map.flags)
        .name(28, map.name);
    if let Some((btf, key, value)) = map.btf {
        attr = attr.u32(48, fd(btf)).u32(52, key).u32(56, value);
    }
    run(call, command::MAP_CREATE, &mut attr, Yields::Fd)
}

fn prog_load(call: &'static str, program: &mut ProgLoad<'_>) -> Result<Reply, SyscallError> {
    let license =
        CString::new(program.license).map_err(|_| SyscallError::new(call, Errno(libc::EINVAL)))?;
    let mut attr = Attr::new()
        .u32(0, program.ty)
        .u32(4, len(program.insns) / 8)
        .u64(8, address(program.insns))
        .u64(16, address(license.as_bytes_with_nul()))
        .u32(44, program.flags)
        .name(48, program.name)
        .u32(68, program.attach_type)
        .u32(108, program.attach_btf_id);
    if !program.log.is_empty() {
        attr = attr.u32(24, LOG_LEVEL).u32(28, len(program.log)).u64(32, address_mut(program.log));
    }
    if let Some(btf) = program.btf {
        attr = attr
            .u32(72, fd(btf.fd))
            .u32(76, 8)
            .u64(80, address(btf.functions))
            .u32(88, len(btf.functions) / 8)
            .u32(92, 16)
            .u64(96, address(btf.lines))
            .u32(104, len(btf.lines) / 16);
    }
    run(call, command::PROG_LOAD, &mut attr, Yields::Fd)
}

fn btf_load(call: &'static str, data: &[u8], log: &mut [u8]) -> Result<Reply, SyscallError> {
    let mut attr = Attr::new().u64(0, address(data)).u32(16, len(data));
    if !log.is_empty() {
        attr = attr.u64(8, address_mut(log)).u32(20, len(log)).u32(24, LOG_LEVEL & 1);
    }
    run(call, command::BTF_LOAD, &mut attr, Yields::Fd)
}

fn link_create_iter(
    call: &'static str,
    program: BorrowedFd<'_>,
    tid: u32,
) -> Result<Reply, SyscallError> {
    // union bpf_iter_link_info: the task's tid comes first.
    let mut info = [0_u8; 16];
    info[..4].copy_from_slice(&tid.to_ne_bytes());
    let mut attr = Attr::new().u32(0, fd(program)).u32(8, ATTACH_TRACE_ITER);
    if tid != 0 {
        attr = attr.u64(16, address(&info)).u32(24, len(&info));
    }
    run(call, command::LINK_CREATE, &mut attr, Yields::Fd)
}

impl Sys for Kernel {
    fn bpf(&self, mut request: Call<'_>) -> Result<Reply, SyscallError> {
        use Yields::{Fd, Field, Nothing};
        let name = request.name();
        let call = |command, mut attr: Attr, yields| run(name, command, &mut attr, yields);
        match &mut request {
            Call::MapCreate(map) => map_create(name, map),
            Call::MapLookup { map, key, value } => call(
                command::MAP_LOOKUP_ELEM,
                Attr::new().u32(0, fd(*map)).u64(8, address(key)).u64(16, address_mut(value)),
                Nothing,
            ),
            Call::MapUpdate { map, key, value } => call(
                command::MAP_UPDATE_ELEM,
                Attr::new().u32(0, fd(*map)).u64(8, address(key)).u64(16, address(value)),
                Nothing,
            ),
            Call::MapFreeze(map) => {
                call(command::MAP_FREEZE, Attr::new().u32(0, fd(*map)), Nothing)
            }
            Call::BtfLoad { data, log } => btf_load(name, data, log),
            Call::ProgLoad(program) => prog_load(name, program),
            Call::ProgRun(program) => {
                call(command::PROG_TEST_RUN, Attr::new().u32(0, fd(*program)), Field(4))
            }
            Call::ProgRunWith { program, context } => call(
                command::PROG_TEST_RUN,
                Attr::new()
                    .u32(0, fd(*program))
                    .u32(40, len(context))
                    .u64(48, address_mut(context)),
                Field(4),
            ),
            Call::LinkCreateIter { program, tid } => link_create_iter(name, *program, *tid),
            Call::LinkUpdate { link, program } => call(
                command::LINK_UPDATE,
                Attr::new().u32(0, fd(*link)).u32(4, fd(*program)),
                Nothing,
            ),
            Call::IterCreate(link) => call(command::ITER_CREATE, Attr::new().u32(0, fd(*link)), Fd),
            Call::Pin { object, path } => {
                let path = c_path(name, path)?;
                let attr =
                    Attr::new().u64(0, address(path.as_bytes_with_nul())).u32(8, fd(*object));
                call(command::OBJ_PIN, attr, Nothing)
            }
            Call::Get { path, read_only } => {
                let path = c_path(name, path)?;
                let flags = if *read_only { FLAG_RDONLY } else { 0 };
                let attr = Attr::new().u64(0, address(path.as_bytes_with_nul())).u32(12, flags);
                call(command::OBJ_GET, attr, Fd)
            }
            Call::Info { object, info } => call(
                command::OBJ_GET_INFO_BY_FD,
                Attr::new().u32(0, fd(*object)).u32(4, len(info)).u64(8, address_mut(info)),
                Field(4),
            ),
        }
    }

    fn map_shared(
        &self,
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        writable: bool,
    ) -> Result<SharedMemory, SyscallError> {
        SharedMemory::map(fd, offset, len, writable)
    }

    fn kernel_btf(&self) -> Result<FileBytes, SyscallError> {
        let error = |call, error: &std::io::Error| {
            SyscallError::new(call, error.into()).on_object(KERNEL_BTF)
        };
        let mut file = File::open(KERNEL_BTF).map_err(|e| error("open", &e))?;
        let size = file.metadata().map_err(|e| error("fstat", &e))?.len();
        // Kernels before 6.16 cannot map it.
        if let Ok(size) = usize::try_from(size)
            && let Ok(bytes) = FileBytes::map_kernel_btf(file.as_fd(), size)
        {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        file.by_ref()
            .take(crate::btf::BTF_BYTES_MAX as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| error("read", &e))?;
        Ok(FileBytes::from(bytes))
    }

    fn read_text(&self, path: &Path) -> Result<String, SyscallError> {
        let error = |call, error: &std::io::Error| {
            SyscallError::new(call, error.into()).on_object(path.display().to_string())
        };
        let file = File::open(path).map_err(|e| error("open", &e))?;
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| error("read", &e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn wait_readable(&self, fd: BorrowedFd<'_>, timeout: Duration) -> Result<bool, SyscallError> {
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one pollfd that lives until the call returns.
        let ready = unsafe { libc::poll(&raw mut poll, 1, timeout) };
        match ready {
            0 => Ok(false),
            1.. => Ok(true),
            _ => match Errno::last() {
                // A signal: the caller looks at what it was and waits again.
                Errno(libc::EINTR) => Ok(false),
                errno => Err(SyscallError::new("poll", errno)),
            },
        }
    }

    fn exchange(&self, one: &Path, other: &Path) -> Result<(), SyscallError> {
        const NAME: &str = "renameat2";
        let (from, to) = (c_path(NAME, one)?, c_path(NAME, other)?);
        // SAFETY: both paths end in a zero and live until the call returns.
        let result = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                from.as_ptr(),
                libc::AT_FDCWD,
                to.as_ptr(),
                libc::RENAME_EXCHANGE,
            )
        };
        if result == 0 {
            return Ok(());
        }
        Err(SyscallError::new(NAME, Errno::last()).on_object(other.display().to_string()))
    }
}
