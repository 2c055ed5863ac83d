//! The kernel module's device: open, write, read and ioctl.
//!
//! **Invariant**: an ioctl is given memory of the length that its number says.
#![allow(unsafe_code, reason = "ioctl(2) has no safe wrapper; see each SAFETY")]

use super::{Errno, SyscallError};
use kernel_vm::abi::SweepStats;
use kernel_vm::module::{
    Buffer, DESCRIPTION_BYTES_MAX, DEVICE, IOC_ATTACH, IOC_DESCRIBE, IOC_INFO, IOC_KEEP, IOC_LIST,
    IOC_PARAMS, IOC_REMOVE, IOC_STATS, IOC_WAITS, IOC_WHY, KEEP_HISTORY, KEEP_REPLACE, KEPT_MAX,
    Keep, NAME_BYTES_MAX, Wait, name_bytes,
};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Bytes that one read asks for.
const READ_BYTES: usize = 256 << 10;

/// An open file of the module's device: one filter.
pub trait ModuleFile {
    /// The version of the interface, and that of the schema.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn versions(&self) -> Result<(u32, u32), SyscallError>;

    /// Loads a filter, written as [`kernel_vm::module`] says.
    ///
    /// # Errors
    /// [`SyscallError`] of write(2); `EINVAL` when [`ModuleFile::why`] has an answer.
    fn load(&self, image: &[u8]) -> Result<(), SyscallError>;

    /// Where and why the last filter was refused.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn why(&self) -> Result<(u32, u32), SyscallError>;

    /// Gives the filter other parameters of the same length.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn set_params(&self, params: &[u8]) -> Result<(), SyscallError>;

    /// Says whom threads wait for, in the order of their ids, for the next sweep.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2): `EXDEV` outside of the first pid namespace, `E2BIG` when
    /// those are too many.
    fn set_waits(&self, waits: &[Wait]) -> Result<(), SyscallError>;

    /// Makes a sweep and appends its records to `into`.
    ///
    /// # Errors
    /// [`SyscallError`] of read(2).
    fn sweep(&self, into: &mut Vec<u8>) -> Result<(), SyscallError>;

    /// The counters of the last sweep: of the filter's until this file makes one.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn stats(&self) -> Result<SweepStats, SyscallError>;

    /// Lets the filter stay loaded under a name, with what is to be known about it.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2): `EEXIST` when the name is taken and not to be replaced,
    /// `ENOSPC` when no more are kept.
    fn keep(&self, name: &str, description: &[u8], replace: bool) -> Result<Kept, SyscallError>;

    /// Makes the file one of the kept filter `name`.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2): `ENOENT` when there is none.
    fn attach(&self, name: &str) -> Result<(), SyscallError>;

    /// What was said of the filter when it was kept.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn description(&self) -> Result<Vec<u8>, SyscallError>;

    /// Names of the kept filters, in the order in which they came.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn names(&self) -> Result<Vec<String>, SyscallError>;

    /// Lets the kept filter `name` go.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2): `ENOENT` when there is none.
    fn remove(&self, name: &str) -> Result<(), SyscallError>;
}

/// What became of a filter's forerunner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Kept {
    /// There was one of that name, and it is gone.
    pub replaced: bool,
    /// Its history goes on.
    pub history: bool,
}

/// The running kernel's module.
#[derive(Debug)]
pub struct Device {
    file: File,
    params_size: std::cell::Cell<usize>,
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// [`SyscallError`] of open(2): `ENOENT` when the module is not there.
    pub fn open() -> Result<Self, SyscallError> {
        let file = OpenOptions::new().read(true).write(true).open(DEVICE);
        let file = file.map_err(|error| failed("open", &error))?;
        Ok(Self { file, params_size: std::cell::Cell::new(0) })
    }

    fn words<const N: usize>(&self, request: u32) -> Result<[u32; N], SyscallError> {
        let mut words = [0_u32; N];
        let wanted = (request >> 16 & 0x3fff) as usize;
        if wanted != size_of_val(&words) {
            return Err(SyscallError::new("ioctl", Errno(libc::EINVAL)).on_object(DEVICE));
        }
        // SAFETY: the kernel writes as many bytes as the request's number says, which was
        // just compared with the array's; any bytes are integers.
        let result = unsafe {
            libc::ioctl(self.file.as_raw_fd(), request as libc::Ioctl, words.as_mut_ptr())
        };
        if result < 0 { Err(last("ioctl")) } else { Ok(words) }
    }

    /// An ioctl that is given `argument`, whose size its number says.
    fn give<T>(&self, request: u32, argument: &T) -> Result<u32, SyscallError> {
        if (request >> 16 & 0x3fff) as usize != size_of::<T>() {
            return Err(SyscallError::new("ioctl", Errno(libc::EINVAL)).on_object(DEVICE));
        }
        // SAFETY: the kernel reads as many bytes as the request's number says, which was just
        // compared. What is pointed to from there is the callers' to keep alive.
        let result = unsafe {
            libc::ioctl(self.file.as_raw_fd(), request as libc::Ioctl, std::ptr::from_ref(argument))
        };
        u32::try_from(result).map_err(|_| last("ioctl"))
    }

    fn give_name(&self, request: u32, name: &str) -> Result<(), SyscallError> {
        let name: [u8; NAME_BYTES_MAX] = name_bytes(name)
            .ok_or_else(|| SyscallError::new("ioctl", Errno(libc::EINVAL)).on_object(DEVICE))?;
        self.give(request, &name).map(drop)
    }

    /// What an ioctl writes of any length up to `most`.
    fn bytes(&self, request: u32, most: usize) -> Result<Vec<u8>, SyscallError> {
        let mut bytes = vec![0; most];
        let length = u32::try_from(most).unwrap_or(u32::MAX);
        // The kernel writes `length` bytes at most to where that many are, until it returns.
        let buffer = Buffer { bytes: bytes.as_mut_ptr() as u64, length, reserved: 0 };
        let length = self.give(request, &buffer)? as usize;
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl ModuleFile for Device {
    fn versions(&self) -> Result<(u32, u32), SyscallError> {
        let [interface, schema, _] = self.words(IOC_INFO)?;
        Ok((interface, schema))
    }

    fn load(&self, image: &[u8]) -> Result<(), SyscallError> {
        let written = (&self.file).write(image).map_err(|error| failed("write", &error))?;
        if written != image.len() {
            return Err(SyscallError::new("write", Errno(libc::EIO)).on_object(DEVICE));
        }
        let size = image.get(28..32).and_then(|bytes| bytes.try_into().ok());
        self.params_size.set(size.map_or(0, |bytes| u32::from_le_bytes(bytes) as usize));
        Ok(())
    }

    fn why(&self) -> Result<(u32, u32), SyscallError> {
        let [place, reason] = self.words(IOC_WHY)?;
        Ok((place, reason))
    }

    fn set_params(&self, params: &[u8]) -> Result<(), SyscallError> {
        if params.len() != self.params_size.get() {
            return Err(SyscallError::new("ioctl", Errno(libc::EINVAL)).on_object(DEVICE));
        }
        // SAFETY: the kernel reads as many bytes as the filter was loaded with, which was
        // just compared, from a slice that lives until the call returns.
        let result = unsafe {
            libc::ioctl(self.file.as_raw_fd(), IOC_PARAMS as libc::Ioctl, params.as_ptr())
        };
        if result < 0 { Err(last("ioctl")) } else { Ok(()) }
    }

    fn set_waits(&self, waits: &[Wait]) -> Result<(), SyscallError> {
        let length = u32::try_from(size_of_val(waits)).unwrap_or(u32::MAX);
        // The kernel reads that many bytes from there before the call returns.
        let buffer = Buffer { bytes: waits.as_ptr() as u64, length, reserved: 0 };
        self.give(IOC_WAITS, &buffer).map(drop)
    }

    fn sweep(&self, into: &mut Vec<u8>) -> Result<(), SyscallError> {
        let start = into.len();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // From the place 0 on is what makes a sweep.
            let place = (into.len() - start) as u64;
            match self.file.read_at(&mut buffer, place) {
                Ok(0) => return Ok(()),
                Ok(length) => into.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &error)),
            }
        }
    }

    fn stats(&self) -> Result<SweepStats, SyscallError> {
        let words: [u32; 18] = self.words(IOC_STATS)?;
        let word =
            |index: usize| u64::from(words[2 * index + 1]) << 32 | u64::from(words[2 * index]);
        Ok(SweepStats {
            sweeps: word(0),
            visited: word(1),
            matched: word(2),
            unreadable: word(3),
            warming: word(4),
            dropped: word(5),
            started_ns: word(6),
            took_ns: word(7),
            busy: word(8),
        })
    }

    fn keep(&self, name: &str, description: &[u8], replace: bool) -> Result<Kept, SyscallError> {
        let invalid = || SyscallError::new("ioctl", Errno(libc::EINVAL)).on_object(DEVICE);
        let keep = Keep {
            name: name_bytes(name).ok_or_else(invalid)?,
            // The kernel reads that many bytes from there before the call returns.
            description: description.as_ptr() as u64,
            length: u32::try_from(description.len()).map_err(|_| invalid())?,
            flags: if replace { KEEP_REPLACE } else { 0 },
        };
        let done = self.give(IOC_KEEP, &keep)?;
        Ok(Kept { replaced: done & KEEP_REPLACE != 0, history: done & KEEP_HISTORY != 0 })
    }

    fn attach(&self, name: &str) -> Result<(), SyscallError> {
        self.give_name(IOC_ATTACH, name)
    }

    fn description(&self) -> Result<Vec<u8>, SyscallError> {
        self.bytes(IOC_DESCRIBE, DESCRIPTION_BYTES_MAX as usize)
    }

    fn names(&self) -> Result<Vec<String>, SyscallError> {
        let bytes = self.bytes(IOC_LIST, KEPT_MAX as usize * NAME_BYTES_MAX)?;
        let names = bytes.chunks_exact(NAME_BYTES_MAX).map(|name| {
            let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            String::from_utf8_lossy(&name[..length]).into_owned()
        });
        Ok(names.collect())
    }

    fn remove(&self, name: &str) -> Result<(), SyscallError> {
        self.give_name(IOC_REMOVE, name)
    }
}

fn failed(call: &'static str, error: &std::io::Error) -> SyscallError {
    SyscallError::new(call, error.into()).on_object(DEVICE)
}

fn last(call: &'static str) -> SyscallError {
    SyscallError::new(call, Errno::last()).on_object(DEVICE)
}
