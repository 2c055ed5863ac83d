//! The seam to the kernel: every bpf(2) call, every shared mapping and every file that the
//! loader needs goes through [`Sys`], which tests replace.
//!
//! **Invariant**: outside of the VM's engine, unsafe code is below this module only. A
//! call's buffers are borrowed for as long as the kernel sees them.

mod attr;
mod clock;
mod epoll;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod kernel;
mod memory;
mod module;
pub mod ring;

pub use clock::{boot_time_ns, process_cpu_ns};
pub use epoll::{Events, Interest, Wake};
pub use error::{Errno, SyscallError};
pub use kernel::Kernel;
pub use memory::{FileBytes, SharedMemory};
pub use module::{Device, Kept, ModuleFile};

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Program types by the kernel's number.
pub mod prog_type {
    /// Iterators and other tracing programs.
    pub const TRACING: u32 = 26;
    /// Programs that run when user space asks them to.
    pub const SYSCALL: u32 = 31;
}

/// The attach type of iterators.
pub const ATTACH_TRACE_ITER: u32 = 28;
/// A program that may sleep.
pub const PROG_SLEEPABLE: u32 = 1 << 4;
/// A map without memory for its entries beforehand.
pub const MAP_NO_PREALLOC: u32 = 1;
/// A map that programs cannot write.
pub const MAP_RDONLY_PROG: u32 = 1 << 7;
/// A map that can be mapped into memory.
pub const MAP_MMAPABLE: u32 = 1 << 10;

/// One bpf(2) call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Call<'a> {
    /// BPF_MAP_CREATE: a descriptor.
    MapCreate(MapCreate<'a>),
    /// BPF_MAP_LOOKUP_ELEM into `value`.
    MapLookup {
        /// The map.
        map: BorrowedFd<'a>,
        /// The key.
        key: &'a [u8],
        /// Where the value goes; of the map's value size.
        value: &'a mut [u8],
    },
    /// BPF_MAP_UPDATE_ELEM.
    MapUpdate {
        /// The map.
        map: BorrowedFd<'a>,
        /// The key.
        key: &'a [u8],
        /// The value, of the map's value size.
        value: &'a [u8],
    },
    /// BPF_MAP_FREEZE: user space writes it no more.
    MapFreeze(BorrowedFd<'a>),
    /// BPF_BTF_LOAD: a descriptor.
    BtfLoad {
        /// The data.
        data: &'a [u8],
        /// The kernel's reasons go here; empty for none.
        log: &'a mut [u8],
    },
    /// BPF_PROG_LOAD: a descriptor.
    ProgLoad(ProgLoad<'a>),
    /// BPF_PROG_TEST_RUN without data: the program's return value.
    ProgRun(BorrowedFd<'a>),
    /// The same with a context, which the program may change.
    ProgRunWith {
        /// The program.
        program: BorrowedFd<'a>,
        /// Its context.
        context: &'a mut [u8],
    },
    /// BPF_LINK_CREATE of an iterator: a descriptor.
    LinkCreateIter {
        /// The program.
        program: BorrowedFd<'a>,
        /// Only this thread; 0 for every one.
        tid: u32,
    },
    /// BPF_LINK_UPDATE: the link runs another program from now on.
    LinkUpdate {
        /// The link.
        link: BorrowedFd<'a>,
        /// The program.
        program: BorrowedFd<'a>,
    },
    /// BPF_ITER_CREATE: a descriptor to read from.
    IterCreate(BorrowedFd<'a>),
    /// BPF_OBJ_PIN.
    Pin {
        /// The program, map or link.
        object: BorrowedFd<'a>,
        /// Where, on a bpffs.
        path: &'a Path,
    },
    /// BPF_OBJ_GET: a descriptor.
    Get {
        /// Where, on a bpffs.
        path: &'a Path,
        /// Only for reading.
        read_only: bool,
    },
    /// BPF_OBJ_GET_INFO_BY_FD: bytes written to `info`.
    Info {
        /// The program, map or link.
        object: BorrowedFd<'a>,
        /// Where the kernel's struct goes.
        info: &'a mut [u8],
    },
}

/// The arguments of BPF_MAP_CREATE.
#[derive(Clone, Copy, Debug)]
pub struct MapCreate<'a> {
    /// Its name; what the kernel does not take is left out.
    pub name: &'a str,
    /// Its type.
    pub ty: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; bytes of a ring buffer.
    pub max_entries: u32,
    /// Flags.
    pub flags: u32,
    /// BTF with the ids of the key's and the value's type.
    pub btf: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// The arguments of BPF_PROG_LOAD.
#[derive(Debug)]
pub struct ProgLoad<'a> {
    /// Its name; what the kernel does not take is left out.
    pub name: &'a str,
    /// Its type.
    pub ty: u32,
    /// Where it will be attached, for the types that know it beforehand.
    pub attach_type: u32,
    /// The kernel's BTF id of the function that it is attached to; 0 for none.
    pub attach_btf_id: u32,
    /// Flags.
    pub flags: u32,
    /// The insns.
    pub insns: &'a [u8],
    /// The license.
    pub license: &'a str,
    /// BTF, function and line records.
    pub btf: Option<ProgBtf<'a>>,
    /// The verifier's words go here; empty for none.
    pub log: &'a mut [u8],
}

/// What a program's BTF says of its insns.
#[derive(Clone, Copy, Debug)]
pub struct ProgBtf<'a> {
    /// The BTF.
    pub fd: BorrowedFd<'a>,
    /// Records of 8 bytes: insn, type.
    pub functions: &'a [u8],
    /// Records of 16 bytes: insn, file, text, line and column.
    pub lines: &'a [u8],
}

/// What a call hands back.
#[derive(Debug)]
pub enum Reply {
    /// A new descriptor.
    Fd(OwnedFd),
    /// A number; 0 where there is nothing to say.
    Number(u32),
}

impl Call<'_> {
    /// The command's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MapCreate(_) => "BPF_MAP_CREATE",
            Self::MapLookup { .. } => "BPF_MAP_LOOKUP_ELEM",
            Self::MapUpdate { .. } => "BPF_MAP_UPDATE_ELEM",
            Self::MapFreeze(_) => "BPF_MAP_FREEZE",
            Self::BtfLoad { .. } => "BPF_BTF_LOAD",
            Self::ProgLoad(_) => "BPF_PROG_LOAD",
            Self::ProgRun(_) | Self::ProgRunWith { .. } => "BPF_PROG_TEST_RUN",
            Self::LinkCreateIter { .. } => "BPF_LINK_CREATE",
            Self::LinkUpdate { .. } => "BPF_LINK_UPDATE",
            Self::IterCreate(_) => "BPF_ITER_CREATE",
            Self::Pin { .. } => "BPF_OBJ_PIN",
            Self::Get { .. } => "BPF_OBJ_GET",
            Self::Info { .. } => "BPF_OBJ_GET_INFO_BY_FD",
        }
    }
}

/// The kernel, as far as the loader needs it.
pub trait Sys {
    /// Makes one bpf(2) call.
    ///
    /// # Errors
    /// [`SyscallError`] with the command's name.
    fn bpf(&self, call: Call<'_>) -> Result<Reply, SyscallError>;

    /// Maps `len` bytes from `offset` of a map's descriptor.
    ///
    /// # Errors
    /// [`SyscallError`] of mmap(2).
    fn map_shared(
        &self,
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        writable: bool,
    ) -> Result<SharedMemory, SyscallError>;

    /// The kernel's BTF.
    ///
    /// # Errors
    /// [`SyscallError`] when it has none or it cannot be read.
    fn kernel_btf(&self) -> Result<FileBytes, SyscallError>;

    /// A small text file of /proc or /sys.
    ///
    /// # Errors
    /// [`SyscallError`] of open(2) or read(2).
    fn read_text(&self, path: &Path) -> Result<String, SyscallError>;

    /// Waits until `fd` can be read; false when the time is up.
    ///
    /// # Errors
    /// [`SyscallError`] of poll(2).
    fn wait_readable(&self, fd: BorrowedFd<'_>, timeout: Duration) -> Result<bool, SyscallError>;

    /// What happens on `fd` from now on, and that it is readable now.
    ///
    /// # Errors
    /// [`SyscallError`] of epoll_create1(2) or epoll_ctl(2).
    fn events(&self, fd: BorrowedFd<'_>) -> Result<Events, SyscallError> {
        Events::of(fd)
    }

    /// Lets two paths change places in one step.
    ///
    /// # Errors
    /// [`SyscallError`] of renameat2(2).
    fn exchange(&self, one: &Path, other: &Path) -> Result<(), SyscallError>;

    /// Makes a call that yields a descriptor.
    ///
    /// # Errors
    /// As [`Sys::bpf`].
    fn bpf_fd(&self, call: Call<'_>) -> Result<OwnedFd, SyscallError> {
        let name = call.name();
        match self.bpf(call)? {
            Reply::Fd(fd) => Ok(fd),
            Reply::Number(_) => Err(SyscallError::new(name, Errno(libc::EBADMSG))),
        }
    }

    /// Makes a call that yields a number.
    ///
    /// # Errors
    /// As [`Sys::bpf`].
    fn bpf_number(&self, call: Call<'_>) -> Result<u32, SyscallError> {
        let name = call.name();
        match self.bpf(call)? {
            Reply::Number(number) => Ok(number),
            Reply::Fd(_) => Err(SyscallError::new(name, Errno(libc::EBADMSG))),
        }
    }
}
