//! The C and Python examples, built and run against the library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo has put the shared library: beside this test, or one up.
fn library() -> PathBuf {
    let deps = std::env::current_exe().expect("this test").parent().expect("deps").to_owned();
    let up = deps.parent().expect("the profile's directory").to_owned();
    let found = [deps, up].map(|directory| directory.join("libkfilter.so"));
    found.into_iter().find(|path| path.is_file()).expect("cargo builds libkfilter.so")
}

fn skipped(test: &str, reason: &str) {
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

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kfilter-capi-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a scratch file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a probe on filters that match this process, nobody, and that are broken.
fn judge(scratch: &Scratch, run: impl Fn(&Path, &[&str]) -> Output) {
    let id = std::process::id();
    let text = format!(
        "filter me on process {{ param least = 1 where vpid == {id} and threads >= least \
         emit vpid, comm, threads }}\n"
    );
    let me = scratch.file("me.kf", &text);
    let found = run(&me, &[]);
    let stdout = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(stdout.contains(&format!("vpid={id} comm=")), "{stdout}");
    assert_eq!(run(&me, &["least=100000"]).status.code(), Some(0));
    let wrong = run(&me, &["nope=1"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("nope"), "{wrong:?}");
    let broken = run(&scratch.file("broken.kf", "filter a on proces { emit pid }"), &[]);
    assert_eq!(broken.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("broken.kf:1: "), "{broken:?}");
}

#[test]
fn the_c_probe_builds_and_runs() {
    let scratch = Scratch::new("c");
    let library = library();
    let directory = library.parent().expect("a directory");
    let binary = scratch.0.join("hogs");
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", HERE])
        .arg(Path::new(HERE).join("examples/hogs.c"))
        .arg("-o")
        .arg(&binary)
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", directory.display()))
        .output();
    let Ok(built) = built else { return skipped("the_c_probe_builds_and_runs", "there is no cc") };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    judge(&scratch, |filter, params| {
        // Cargo's own library path may name an older build of the library.
        let mut probe = Command::new(&binary);
        probe.env("LD_LIBRARY_PATH", directory).arg(filter).args(params);
        probe.output().expect("the probe runs")
    });
}

#[test]
fn the_python_probe_runs() {
    let scratch = Scratch::new("python");
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("the_python_probe_runs", "there is no python3");
    }
    judge(&scratch, |filter, params| {
        let mut probe = Command::new("python3");
        probe.arg(Path::new(HERE).join("examples/hogs.py")).arg(filter).args(params);
        probe.env("KFILTER_LIBRARY", library()).output().expect("python runs")
    });
}
