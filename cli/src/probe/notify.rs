//! The service manager's notification socket (sd_notify(3)).
//!
//! **Invariant**: the watchdog is fed only by whoever completed a sweep; nothing here runs
//! by itself.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to send notifications; to nobody when no service manager listens.
#[derive(Debug)]
pub(crate) struct Notifier {
    target: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The socket that the environment names.
    ///
    /// # Errors
    /// A name that is not one of a socket.
    pub(crate) fn from_environment() -> io::Result<Self> {
        match std::env::var_os("NOTIFY_SOCKET") {
            None => Ok(Self { target: None }),
            Some(name) => Self::to(&name),
        }
    }

    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(Self { target: Some((UnixDatagram::unbound()?, address)) })
    }

    /// Says that the service is up.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Says that a sweep has been completed, and what came out.
    pub(crate) fn swept(&self, status: &str) -> io::Result<()> {
        let status = status.replace(['\n', '\r'], " ");
        self.send(&format!("WATCHDOG=1\nSTATUS={status}"))
    }

    /// Says why no sweep could be completed. The watchdog is not fed.
    pub(crate) fn failed(&self, status: &str) -> io::Result<()> {
        let status = status.replace(['\n', '\r'], " ");
        self.send(&format!("STATUS={status}"))
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.target else { return Ok(()) };
        socket.send_to_addr(text.as_bytes(), address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("kfilter-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}"))).unwrap();
        let receive = || {
            let mut buffer = [0; 128];
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        notifier.ready().unwrap();
        assert_eq!(receive(), "READY=1");
        notifier.swept("OK\nREADY=0").unwrap();
        assert_eq!(receive(), "WATCHDOG=1\nSTATUS=OK READY=0");
        notifier.failed("refused").unwrap();
        assert_eq!(receive(), "STATUS=refused");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        Notifier { target: None }.ready().unwrap();
    }
}
