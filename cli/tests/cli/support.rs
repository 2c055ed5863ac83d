//! Runs the binary and keeps what it said.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A filter that always matches: the process that runs the test, by the number that it
/// knows itself by.
pub(crate) fn first() -> String {
    let id = std::process::id();
    format!(
        "filter first on process {{\n    where vpid == {id}\n    emit vpid, pid, comm, threads, rss\n}}\n"
    )
}

/// A filter that never matches.
pub(crate) const NEVER: &str =
    "filter never on process {\n    where threads == 0\n    emit pid\n}\n";

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit status; a signal is -1.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl Said {
    /// Asserts the exit status and that nothing panicked; shows all on failure.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }
}

/// A command with a clean environment.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kfilter"));
    command.args(args).stdin(Stdio::null());
    for name in ["NO_COLOR", "COLUMNS", "NOTIFY_SOCKET", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary.
pub(crate) fn kfilter<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Said {
    command(args).output().expect("the binary runs").into()
}

/// Runs the binary with `input` on standard input.
pub(crate) fn kfilter_reading(input: &[u8], args: &[&str]) -> Said {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // It may refuse and end before it has read all.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends").into()
}

/// A name of our own, unloaded at the end whatever happens.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(test: &str) -> Self {
        Self(format!("cli_{test}_{}", std::process::id()))
    }

    pub(crate) fn run(&self, command: &str) -> Said {
        kfilter([command, self.0.as_str()])
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = self.run("unload");
    }
}

/// A directory that is removed at the end of the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("kfilter-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and says its path.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, contents).expect("a scratch file");
        path.into_os_string().into_string().expect("a plain path")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says past the capture of output that a test did not run.
pub(crate) fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    if let Some(path) = std::env::var_os("KFILTER_SKIPPED_LOG") {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the log of skipped tests takes a line");
    }
}
