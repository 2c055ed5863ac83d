//! The C and Python examples, built and run against the library.

use kfilter_loader::host::bpf::system_values;
use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, LoadError, Object, Request};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

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

/// An example in C, built; `None`, and SKIPPED is said, where there is no compiler.
fn built(test: &str, example: &str, scratch: &Scratch) -> Option<Command> {
    let library = library();
    let directory = library.parent().expect("a directory");
    let binary = scratch.0.join(example);
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", HERE])
        .arg(Path::new(HERE).join(format!("examples/{example}.c")))
        .arg("-o")
        .arg(&binary)
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", directory.display()))
        .output();
    let Ok(built) = built else {
        skipped(test, "there is no cc");
        return None;
    };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut program = Command::new(&binary);
    // Cargo's own library path may name an older build of the library.
    program.env("LD_LIBRARY_PATH", directory);
    Some(program)
}

#[test]
fn the_c_probe_builds_and_runs() {
    let scratch = Scratch::new("c");
    let test = "the_c_probe_builds_and_runs";
    if built(test, "hogs", &scratch).is_none() {
        return;
    }
    judge(&scratch, |filter, params| {
        let mut probe = built(test, "hogs", &scratch).expect("it was built before");
        probe.arg(filter).args(params).output().expect("the probe runs")
    });
}

/// A loaded filter; it is unloaded whatever happens.
struct Loaded(String);

impl Loaded {
    fn every(period: Duration, test: &str, text: &str, replace: bool) -> Result<Self, LoadError> {
        let name = format!("capi_{test}_{}", std::process::id());
        let compiled = kfilter_compiler::compile("a.kf", text).expect("it is valid");
        let object = Object::parse(&compiled.object).expect("our own");
        let request = Request::new(&object, "a", &[], system_values(&Kernel))?;
        let options = PinOptions { every: Some(period), replace, ..PinOptions::new(&name) };
        Pins::running().load(&request, &options).map(|_| Self(name))
    }

    fn unload(&self) {
        let _ = Pins::running().unload(&self.0);
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.unload();
    }
}

/// What a program has said when it has ended, which it must.
fn ends(mut child: Child) -> Output {
    for _ in 0..2000 {
        if child.try_wait().expect("it is ours").is_some() {
            return child.wait_with_output().expect("it has ended");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it is ours");
    panic!("it hangs: {:?}", child.wait_with_output());
}

#[test]
fn who_polls_a_resident_filter_sleeps_until_it_finds_something_or_is_gone() {
    let test = "who_polls_a_resident_filter_sleeps_until_it_finds_something_or_is_gone";
    let scratch = Scratch::new("follow");
    let Some(mut follow) = built(test, "follow", &scratch) else { return };
    let id = std::process::id();
    let nobody =
        format!("filter a on process {{ where vpid == {id} and threads == 0 emit vpid }}\n");
    let me = format!("filter a on process {{ where vpid == {id} emit vpid }}\n");
    let every = Duration::from_millis(20);
    let loaded = match Loaded::every(every, "follow", &nobody, false) {
        Ok(loaded) => loaded,
        Err(error) if error.class() == ErrorClass::Input => panic!("{error}"),
        Err(error) => return skipped(test, &error.to_string()),
    };
    follow.arg(&loaded.0);
    let mut spawn =
        || follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut child = spawn();
    let switches = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        counts.map(|(_, count)| count.trim().parse::<u64>().expect("a number")).sum()
    };
    std::thread::sleep(Duration::from_secs(2));
    let before = switches(child.id());
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(switches(child.id()), before, "nothing matches: it is not woken");
    // One with the same records takes its place and matches.
    let _again = Loaded::every(every, "follow", &me, true).expect("it was possible before");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("it says so");
    assert_eq!(line, format!("vpid={id} \n"));
    // Another one with other records.
    let _other = Loaded::every(every, "follow", &me.replace("emit vpid", "emit vpid, comm"), true)
        .expect("it was possible before");
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("a pipe can be read");
    let said = ends(child);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("replaced by one with other records"), "{stderr}");
    // None at all, while somebody waits.
    let _none = Loaded::every(every, "follow", &nobody, true).expect("it was possible before");
    let child = spawn();
    std::thread::sleep(Duration::from_secs(1));
    loaded.unload();
    let said = ends(child);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("is loaded"), "{stderr}");
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
