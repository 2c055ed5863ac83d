//! Programs that really misbehave, compiled when first needed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running program of `tests/programs`; it is ended when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

impl Program {
    /// Compiles `tests/programs/NAME.c`, starts it with `args` and waits until it is in
    /// position.
    ///
    /// # Panics
    /// When there is no C compiler, or the program does not say READY.
    #[must_use]
    pub fn start(name: &str, args: &str) -> Self {
        Self::start_by("cc", name, args)
    }

    /// The same with another C compiler, and so perhaps another C library.
    ///
    /// # Panics
    /// As [`Program::start`].
    #[must_use]
    pub fn start_by(compiler: &str, name: &str, args: &str) -> Self {
        let binary = compiled(compiler, name);
        // Where things are built is on a disk; the directory for temporary files may not be.
        let directory = binary.parent().expect("it is in a directory");
        let mut child = Command::new(&binary)
            .args(args.split_whitespace())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program that was just compiled starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let program = Self { child };
        assert!(read.is_ok() && line == "READY\n", "{name} {args} did not get ready: {line:?}");
        program
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }

    /// Its process id and those of all processes below it, parents first.
    #[must_use]
    pub fn family(&self) -> Vec<i64> {
        let mut family = vec![self.pid()];
        let mut at = 0;
        while let Some(pid) = family.get(at) {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(path).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i64>().ok()));
            at += 1;
        }
        family
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Children first, as they do not end with their parent; then what may have to
        // clean up gets a moment to.
        for pid in self.family().into_iter().rev() {
            let _gone = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        for _ in 0..20 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn compiled(compiler: &str, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(format!("{name}.c"));
    let directory = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.to_owned()))
        .expect("tests are programs in a directory");
    let binary = directory.join(format!("program-{name}-{compiler}"));
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if modified(&binary) < modified(&source) {
        // Two tests may compile it at once: each into a file of its own.
        let own =
            directory.join(format!("program-{name}-{compiler}-{:?}", std::thread::current().id()));
        let status = Command::new(compiler)
            .args(["-O1", "-pthread", "-o"])
            .args([&own, &source])
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{} does not compile", source.display());
        std::fs::rename(&own, &binary).expect("the same directory");
    }
    binary
}
