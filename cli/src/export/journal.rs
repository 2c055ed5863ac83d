//! Records for journald's native protocol, as structured fields.
//!
//! One datagram an entry: `NAME=value` lines, or for a value with a line break its name, a
//! line break, the length as a little-endian `u64`, and the bytes.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// journald's socket.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// An entry that is being written.
#[derive(Debug, Default)]
pub(crate) struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field. `name` is brought into the form that journald accepts.
    pub(crate) fn field(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(field_name(name).as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Capital letters, digits and underscores, no underscore or digit first, 64 at most.
fn field_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .take(64)
        .collect();
    let trimmed = name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit());
    if trimmed.is_empty() { "FIELD".to_owned() } else { trimmed.to_owned() }
}

/// A connection to journald.
#[derive(Debug)]
pub(crate) struct Journal(UnixDatagram);

impl Journal {
    /// Opens the socket at `path`.
    ///
    /// # Errors
    /// journald does not listen there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journal that stands still must not hold up the sweeps.
        socket.set_write_timeout(Some(std::time::Duration::from_millis(200)))?;
        Ok(Self(socket))
    }

    /// Sends one entry.
    ///
    /// # Errors
    /// It could not be sent; it is lost, and the caller counts it.
    pub(crate) fn send(&self, entry: &Entry) -> io::Result<()> {
        self.0.send(entry.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_and_framed() {
        let mut entry = Entry::default();
        entry.field("kfilter_filter", b"cpu_hog");
        entry.field("_object.name", b"two\nlines");
        assert_eq!(
            entry.as_bytes(),
            b"KFILTER_FILTER=cpu_hog\nOBJECT_NAME\n\x09\0\0\0\0\0\0\0two\nlines\n"
        );
    }

    #[test]
    fn an_entry_arrives() {
        let path = std::env::temp_dir().join(format!("kfilter-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut entry = Entry::default();
        entry.field("MESSAGE", b"hello");
        Journal::open(&path).unwrap().send(&entry).unwrap();
        let mut buffer = [0; 64];
        let length = daemon.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"MESSAGE=hello\n");
        std::fs::remove_file(&path).unwrap();
        assert!(Journal::open(&path).is_err());
    }
}
