//! Waiting for descriptors: epoll(7), edge-triggered.
//!
//! A ring buffer is readable as soon as its first record is there, but wakes nobody before
//! the sweep that writes it ends. Waiting for the edge is waiting for that.
//!
//! **Invariant**: an event that comes between two waits ends the second one.
#![allow(unsafe_code, reason = "epoll has no safe wrapper in std; see each SAFETY")]

use super::{Errno, SyscallError};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The events of some descriptors.
#[derive(Debug)]
pub struct Events {
    epoll: OwnedFd,
}

/// What is waited for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That it can be read.
    Readable,
    /// That its other end is gone.
    HungUp,
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is something to read.
    Event,
    /// The other end of a descriptor is gone.
    HungUp,
    /// The time is up, or a signal came.
    Nothing,
}

impl Events {
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self, SyscallError> {
        // SAFETY: the call takes a number and has no other precondition.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if raw < 0 {
            return Err(SyscallError::new("epoll_create1", Errno::last()));
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
        let events = Self { epoll };
        events.add(fd, Interest::Readable)?;
        Ok(events)
    }

    /// Waits for this one as well. It must stay open as long as the events are waited for.
    ///
    /// # Errors
    /// [`SyscallError`] of epoll_ctl(2); EPERM for files that are always ready.
    pub fn add(&self, fd: BorrowedFd<'_>, interest: Interest) -> Result<(), SyscallError> {
        let wanted = match interest {
            Interest::Readable => libc::EPOLLIN,
            // Told without being asked for.
            Interest::HungUp => 0,
        };
        let events = (wanted | libc::EPOLLET).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: interest as u64 };
        // SAFETY: `event` is one epoll_event that lives until the call returns.
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        };
        if result < 0 {
            return Err(SyscallError::new("epoll_ctl", Errno::last()));
        }
        Ok(())
    }

    /// Waits for the next event. Without a timeout it sleeps until there is one.
    ///
    /// # Errors
    /// [`SyscallError`] of epoll_wait(2).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Wake, SyscallError> {
        let timeout = timeout.map_or(-1, |timeout| {
            // Rounded up: a short wait must not become a busy loop.
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for the one event that is asked for, until the call returns.
        let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, timeout) };
        match ready {
            0 => Ok(Wake::Nothing),
            1.. if event.u64 == Interest::HungUp as u64 => Ok(Wake::HungUp),
            1.. => Ok(Wake::Event),
            _ => match Errno::last() {
                Errno(libc::EINTR) => Ok(Wake::Nothing),
                errno => Err(SyscallError::new("epoll_wait", errno)),
            },
        }
    }
}

impl AsFd for Events {
    /// A descriptor that is readable when there was an event: for event loops of others.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_event_is_told_once_and_not_lost_between_two_waits() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let events = Events::of(reader.as_fd()).unwrap();
        let now = Some(Duration::ZERO);
        assert_eq!(events.wait(now).unwrap(), Wake::Nothing);
        writer.write_all(b"x").unwrap();
        assert_eq!(events.wait(None).unwrap(), Wake::Event);
        // Nothing was read, and nothing new has come.
        assert_eq!(events.wait(now).unwrap(), Wake::Nothing);
        writer.write_all(b"y").unwrap();
        assert_eq!(events.wait(now).unwrap(), Wake::Event);
    }

    #[test]
    fn what_is_there_already_is_an_event() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(Events::of(reader.as_fd()).unwrap().wait(None).unwrap(), Wake::Event);
    }

    #[test]
    fn an_end_that_is_gone_is_told_and_a_file_has_none() {
        let (_writer, reader) = UnixStream::pair().unwrap();
        let events = Events::of(reader.as_fd()).unwrap();
        let (other, gone) = UnixStream::pair().unwrap();
        events.add(other.as_fd(), Interest::HungUp).unwrap();
        assert_eq!(events.wait(Some(Duration::ZERO)).unwrap(), Wake::Nothing);
        drop(gone);
        assert_eq!(events.wait(None).unwrap(), Wake::HungUp);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = events.add(file.as_fd(), Interest::HungUp).unwrap_err();
        assert_eq!(error.errno, Errno(libc::EPERM));
    }
}
