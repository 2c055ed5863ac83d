//! A bpffs of a test's own, in a mount namespace that nobody else sees: what is counted there
//! is the test's alone, and it may be missing or read-only.

use crate::support::{Said, command, skipped};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The usual one.
pub(crate) const BPFFS: &str = "mount -t bpf bpf /sys/fs/bpf";

/// The namespace, which ends with the test.
pub(crate) struct Private {
    holder: Child,
}

impl Private {
    /// A mount namespace in which `mount` was run; `None`, and SKIPPED is said, where that is not
    /// possible.
    pub(crate) fn new(test: &str, mount: &str) -> Option<Self> {
        let script = format!("{mount} && echo READY && exec sleep 600");
        let holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(holder) = holder else {
            skipped(test, "there is no unshare");
            return None;
        };
        let mut private = Self { holder };
        let mut line = String::new();
        let stdout = private.holder.stdout.take().expect("a pipe");
        if BufReader::new(stdout).read_line(&mut line).is_ok() && line == "READY\n" {
            return Some(private);
        }
        skipped(test, &format!("no mount namespace with `{mount}`"));
        None
    }

    /// Like [`Private::new`] with a bpffs, where filters can be loaded.
    pub(crate) fn with_bpffs(test: &str) -> Option<Self> {
        let private = Self::new(test, BPFFS)?;
        let doctor = private.kfilter(["list"]);
        if doctor.status == 0 {
            return Some(private);
        }
        skipped(test, doctor.stderr.trim());
        None
    }

    /// A command within.
    pub(crate) fn inside<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-m", "-t", &self.holder.id().to_string(), "--", program]).args(args);
        inside.stdin(Stdio::null());
        inside
    }

    /// The binary within. It takes the place of nsenter, so that its pid is the child's.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let kfilter = command(args);
        let mut inside = self.inside(env!("CARGO_BIN_EXE_kfilter"), kfilter.get_args());
        for (name, value) in kfilter.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Runs the binary within.
    pub(crate) fn kfilter<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        self.command(args).output().expect("nsenter runs").into()
    }

    /// Loads; `None`, and SKIPPED is said, where the kernel or the privilege is missing.
    pub(crate) fn load(&self, test: &str, args: &[&str]) -> Option<Said> {
        let said = self.kfilter(["load"].iter().chain(args));
        if matches!(said.status, 3 | 4) {
            skipped(test, said.stderr.trim());
            return None;
        }
        Some(said.exits(0))
    }

    /// All names below the bpffs but the kernel's own, the files of filters as `NAME/FILE`.
    pub(crate) fn names(&self) -> Vec<String> {
        let found = self.inside("find", ["/sys/fs/bpf", "-mindepth", "1", "-printf", "%P\n"]);
        let found = { found }.output().expect("find runs").stdout;
        let found = String::from_utf8(found).expect("plain names");
        let ours = found.lines().filter(|name| !name.ends_with(".debug"));
        ours.map(str::to_owned).collect()
    }

    /// The loaded filters, as `list --format json` says.
    pub(crate) fn list(&self) -> Vec<serde_json::Value> {
        let said = self.kfilter(["list", "--format", "json"]).exits(0);
        assert_eq!(said.stderr, "", "each of them is whole");
        said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The number after `word` and blanks, in what `show` says.
    pub(crate) fn ticks(&self, name: &str) -> u64 {
        let said = self.kfilter(["show", name]).exits(0).stdout;
        let line = said.lines().find_map(|line| line.strip_prefix("ticks    ")).expect("it ticks");
        line.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that does not outlive the test, however that ends.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn new(child: Child) -> Self {
        Self(Some(child))
    }
}

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("it is taken at its end only")
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is taken at its end only")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // As kill -9 does; it may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills as kill -9 does, after that time.
pub(crate) fn kill_after(child: Running, delay: Duration) {
    std::thread::sleep(delay);
    drop(child);
}

/// Waits for the end of a program that must not hang.
#[track_caller]
pub(crate) fn ends(mut child: Running, what: &str) -> Said {
    let began = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    let child = child.0.take().expect("it is taken once");
    child.wait_with_output().expect("it has ended").into()
}
