//! The kernel module's device: open, write, read and ioctl.
//!
//! **Invariant**: an ioctl is given memory of the length that its number says.
#![allow(unsafe_code, reason = "ioctl(2) has no safe wrapper; see each SAFETY")]

use super::{Errno, SyscallError};
use kernel_vm::abi::SweepStats;
use kernel_vm::module::{DEVICE, IOC_INFO, IOC_PARAMS, IOC_STATS, IOC_WHY};
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

    /// Makes a sweep and appends its records to `into`.
    ///
    /// # Errors
    /// [`SyscallError`] of read(2).
    fn sweep(&self, into: &mut Vec<u8>) -> Result<(), SyscallError>;

    /// The counters of the last sweep.
    ///
    /// # Errors
    /// [`SyscallError`] of ioctl(2).
    fn stats(&self) -> Result<SweepStats, SyscallError>;
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
}

fn failed(call: &'static str, error: &std::io::Error) -> SyscallError {
    SyscallError::new(call, error.into()).on_object(DEVICE)
}

fn last(call: &'static str) -> SyscallError {
    SyscallError::new(call, Errno::last()).on_object(DEVICE)
}
