//! Programs that really misbehave, compiled when first needed.

use std::io::{BufRead as _, BufReader, Write as _};
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

    /// The same with another compiler, and so perhaps another C library; with its options
    /// after it. `tests/programs/NAME.cc` if there is no `NAME.c`.
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

    /// Whether `compiler` makes programs that run here.
    #[must_use]
    pub fn can_be_made_by(compiler: &str) -> bool {
        let (program, options) = words(compiler);
        let binary = directory().join(format!("program-probe-{}", file_name(compiler)));
        let made = Command::new(program)
            .args(options)
            .args(["-pthread", "-x", "c", "-o"])
            .arg(&binary)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .and_then(|mut child| {
                let source = b"int main(void) { return 0; }";
                child.stdin.take().expect("it is piped").write_all(source)?;
                child.wait()
            });
        let runs = || Command::new(&binary).status().is_ok_and(|status| status.success());
        made.is_ok_and(|status| status.success()) && runs()
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

/// A compiler and its options.
fn words(compiler: &str) -> (&str, Vec<&str>) {
    let mut words = compiler.split_whitespace();
    (words.next().expect("a compiler"), words.collect())
}

/// What may be part of a file's name.
fn file_name(compiler: &str) -> String {
    compiler.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// Where the tests are.
fn directory() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.to_owned()))
        .expect("tests are programs in a directory")
}

fn compiled(compiler: &str, name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let of_c = programs.join(format!("{name}.c"));
    let source = if of_c.exists() { of_c } else { programs.join(format!("{name}.cc")) };
    let stem = format!("program-{name}-{}", file_name(compiler));
    let binary = directory().join(&stem);
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if modified(&binary) < modified(&source) {
        // Two tests may compile it at once: each into a file of its own.
        let own = directory().join(format!("{stem}-{:?}", std::thread::current().id()));
        let (program, options) = words(compiler);
        let status = Command::new(program)
            .args(options)
            .args(["-O1", "-pthread", "-o"])
            .args([&own, &source])
            .status()
            .expect("a compiler");
        assert!(status.success(), "{} does not compile", source.display());
        std::fs::rename(&own, &binary).expect("the same directory");
    }
    binary
}
