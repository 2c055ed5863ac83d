//! Open files: proc_pid_fd(5) and proc_pid_fdinfo(5).

use super::maps::last_part;
use super::task::{numbers, read};
use super::{kernel_device, parse};
use kernel_vm::schema::EnumKind;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One open file of a process; what could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenFile {
    /// The descriptor.
    pub fd: i64,
    /// Index of the name in `EnumKind::FileKind`.
    pub kind: Option<i64>,
    /// Device, as the kernel keeps it.
    pub device: Option<i64>,
    /// Inode number.
    pub inode: Option<i64>,
    /// Last part of the path.
    pub name: Option<Vec<u8>>,
    /// open(2) flags.
    pub flags: Option<i64>,
    /// Offset in bytes.
    pub position: Option<i64>,
    /// Size in bytes.
    pub size: Option<i64>,
}

/// The open files of a process; `None` when they may not be looked at.
pub(super) fn open_files(process: &Path, buffer: &mut Vec<u8>) -> Option<Vec<OpenFile>> {
    let mut fds = numbers(&process.join("fd"))?;
    fds.sort_unstable();
    Some(fds.into_iter().filter_map(|fd| open_file(process, fd, buffer)).collect())
}

fn open_file(process: &Path, fd: i32, buffer: &mut Vec<u8>) -> Option<OpenFile> {
    let link = process.join("fd").join(fd.to_string());
    // A descriptor that is closed meanwhile is no row.
    let target = fs::read_link(&link).ok()?;
    let target = target.as_os_str().as_bytes();
    let metadata = fs::metadata(&link).ok();
    let info = read(&process.join("fdinfo").join(fd.to_string()), buffer);
    let position = info.and_then(|text| parse::status_number(text, "pos", 0));
    let flags = info.and_then(|text| {
        let flags = std::str::from_utf8(parse::status_value(text, "flags")?).ok()?;
        i64::from_str_radix(flags, 8).ok()
    });
    Some(OpenFile {
        fd: i64::from(fd),
        kind: Some(index(kind(target, metadata.as_ref()))),
        device: metadata.as_ref().map(|metadata| kernel_device(metadata.dev())),
        inode: metadata.as_ref().map(|metadata| metadata.ino().cast_signed()),
        name: Some(name(target).to_vec()),
        flags,
        position,
        size: metadata.as_ref().map(|metadata| metadata.len().cast_signed()),
    })
}

fn kind(target: &[u8], metadata: Option<&fs::Metadata>) -> &'static str {
    if let Some(anon) = target.strip_prefix(b"anon_inode:".as_slice()) {
        return match anon {
            b"[eventfd]" => "eventfd",
            b"[eventpoll]" => "epoll",
            b"[timerfd]" => "timerfd",
            b"[signalfd]" => "signalfd",
            b"inotify" | b"[inotify]" => "inotify",
            b"[pidfd]" => "pidfd",
            b"[io_uring]" => "io_uring",
            anon if anon.starts_with(b"bpf") => "bpf",
            _ => "anon",
        };
    }
    if target.starts_with(b"pidfd:") {
        return "pidfd";
    }
    if target.starts_with(b"/memfd:") {
        return "memfd";
    }
    let Some(kind) = metadata.map(fs::Metadata::file_type) else { return "unknown" };
    if kind.is_file() {
        "regular"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_char_device() {
        "char_device"
    } else if kind.is_block_device() {
        "block_device"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "unknown"
    }
}

fn index(name: &str) -> i64 {
    let position = EnumKind::FileKind.values().iter().position(|value| *value == name);
    position.and_then(|index| i64::try_from(index).ok()).unwrap_or(0)
}

/// The name that the kernel keeps: none for pipes and sockets, whose links make one up.
fn name(target: &[u8]) -> &[u8] {
    if target.starts_with(b"pipe:[") || target.starts_with(b"socket:[") {
        return b"";
    }
    match target.strip_prefix(b"anon_inode:".as_slice()) {
        Some(anon) => anon,
        None => last_part(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_told_apart() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().expect("a socket");
        let file = fs::File::open("/proc/self/exe").expect("this program");
        use std::os::fd::AsRawFd;
        let files = open_files(Path::new("/proc/self"), &mut Vec::new()).expect("our own");
        let kind_of = |fd: i32| {
            let found = files.iter().find(|each| each.fd == i64::from(fd)).expect("it is open");
            EnumKind::FileKind.values()[found.kind.expect("known") as usize]
        };
        assert_eq!(kind_of(reader.as_raw_fd()), "pipe");
        assert_eq!(kind_of(socket.as_raw_fd()), "socket");
        assert_eq!(kind_of(file.as_raw_fd()), "regular");
        let of_file = files.iter().find(|each| each.fd == i64::from(file.as_raw_fd()));
        let metadata = file.metadata().expect("open");
        assert_eq!(of_file.and_then(|each| each.size), Some(metadata.len().cast_signed()));
        assert_eq!(of_file.and_then(|each| each.device), Some(kernel_device(metadata.dev())));
    }

    #[test]
    fn names_of_the_kernel_are_known() {
        for (target, kind_expected, name_expected) in [
            ("anon_inode:[eventfd]", "eventfd", "[eventfd]"),
            ("anon_inode:[eventpoll]", "epoll", "[eventpoll]"),
            ("anon_inode:bpf-map", "bpf", "bpf-map"),
            ("/memfd:ring (deleted)", "memfd", "memfd:ring"),
            ("pipe:[123]", "unknown", ""),
            ("/a/b c", "unknown", "b c"),
        ] {
            assert_eq!(kind(target.as_bytes(), None), kind_expected);
            assert_eq!(name(target.as_bytes()), name_expected.as_bytes());
        }
    }
}
