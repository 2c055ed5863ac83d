//! The loader against the running kernel. Without privilege or BTF each test says SKIPPED
//! and why.

use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::params::SystemValues;
use kfilter_loader::record::{self, Value};
use kfilter_loader::sys::{Call, Kernel, Sys};
use kfilter_loader::{ErrorClass, LoadError, Object, Request, Session};

const SWEEP: &[u8] = include_bytes!("objects/sweep.o");

/// The request for the fixture's filter, with another entry program if one is given.
fn object(sweep: Option<&str>) -> Object {
    let Some(sweep) = sweep else { return Object::parse(SWEEP).unwrap() };
    // Same length, so that no offset in the file changes.
    let (from, to) = (b"\"sweep_hog\"", format!("\"{sweep}\""));
    assert_eq!(from.len(), to.len());
    let at = SWEEP.windows(from.len()).position(|window| window == from).unwrap();
    let mut bytes = SWEEP.to_vec();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    Object::parse(&bytes).unwrap()
}

/// Says that a test did not run, where CI counts it too.
fn skipped(reason: &str) {
    use std::io::Write as _;
    let line = format!("SKIPPED kernel: {}\n", reason.trim());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("KFILTER_SKIPPED_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// The error that says that this machine cannot run the test, as a reason to skip.
fn skip(error: &LoadError) -> Option<String> {
    let cannot = error.class() == ErrorClass::Privilege
        || matches!(error, LoadError::Missing { .. })
        || !std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    cannot.then(|| error.to_string())
}

#[test]
fn a_filter_is_loaded_swept_and_read() {
    let object = object(None);
    let params = [("least".to_owned(), "1".to_owned())];
    let request = Request::new(&object, "hog", &params, system_values(&Kernel)).unwrap();
    let mut session = match BpfHost::running().load_session(&request) {
        Ok(session) => session,
        Err(error) => return skipped(&skip(&error).expect("load")),
    };
    for sweeps in 1..=2 {
        let sweep = session.sweep().unwrap();
        assert_eq!(sweep.stats.sweeps, sweeps);
        assert_eq!(sweep.stats.matched, sweep.records.len() as u64);
        assert_eq!(sweep.stats.dropped, 0);
        // Shifts and offset of a bitfield and the size of a type, as the fixture adds them.
        assert!(sweep.stats.warming > 1000, "{:?}", sweep.stats);
        let me = i64::from(std::process::id());
        let mine = sweep.records.iter().find(|record| {
            let field = &request.filter.record.fields[0];
            matches!(record::decode(record, 0, field), Some(Value::Int(pid, _)) if pid == me)
        });
        let values: Vec<_> =
            record::fields(&request.filter.record, mine.unwrap()).map(|(_, v)| v).collect();
        // PIDTYPE_SID of the kernel.
        assert_eq!(values[1].as_ref().and_then(number), Some(3));
        assert!(matches!(&values[3], Some(Value::Text(comm)) if !comm.is_empty()));
    }
}

fn number(value: &Value) -> Option<i64> {
    if let Value::Int(value, _) = value { Some(*value) } else { None }
}

#[test]
fn a_refused_program_is_shown_with_its_line() {
    let object = object(Some("sweep_bad"));
    let request = Request::new(&object, "hog", &[], system_values(&Kernel)).unwrap();
    let error = BpfHost::running().load_session(&request).unwrap_err();
    let LoadError::Rejected(rejection) = &error else {
        return skipped(&skip(&error).expect("a rejection"));
    };
    let line = rejection.line.as_ref().unwrap();
    assert!(line.file.ends_with("sweep.bpf.c"), "{line:?}");
    assert_eq!(line.text.trim(), "return state->seen;");
    assert_eq!(rejection.message, "R0 invalid mem access 'map_value_or_null'");
    assert!(rejection.registers.is_some());
    assert!(rejection.log.contains("processed "));
}

/// A pin that is removed when it is dropped.
struct Pin(std::path::PathBuf);

impl Pin {
    fn new(what: &str) -> Self {
        Self(format!("/sys/fs/bpf/kfilter_test_{what}_{}", std::process::id()).into())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A pinned program's insns and lines as the kernel has them, without what differs from
/// load to load: the numbers of maps.
fn dump(pin: &Pin) -> Option<String> {
    let output = std::process::Command::new("bpftool")
        .args(["prog", "dump", "xlated", "pinned"])
        .arg(&pin.0)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.split("map[id:");
    let mut clean = parts.next()?.to_owned();
    for part in parts {
        clean.push_str("map[");
        clean.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    Some(clean)
}

#[test]
fn libbpf_relocates_to_the_same_insns() {
    let pins = [Pin::new("libbpf"), Pin::new("ours")];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/sweep.o");
    let loaded =
        std::process::Command::new("bpftool").args(["prog", "load", path]).arg(&pins[0].0).output();
    match loaded {
        Err(error) => return skipped(&format!("bpftool: {error}")),
        Ok(output) if !output.status.success() => {
            return skipped(&format!("bpftool: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(_) => {}
    }
    let object = object(None);
    let request = Request::new(&object, "hog", &[], SystemValues::default()).unwrap();
    let session = match BpfHost::running().load_session(&request) {
        Ok(session) => session,
        Err(error) => return skipped(&skip(&error).expect("load")),
    };
    Kernel.bpf(Call::Pin { object: session.program().unwrap(), path: &pins[1].0 }).unwrap();
    let [theirs, ours] = pins.each_ref().map(dump);
    assert!(theirs.as_ref().is_some_and(|text| text.lines().count() > 100));
    similar(&theirs.unwrap(), &ours.unwrap());
}

/// Asserts that two listings are equal, naming the first line that is not.
fn similar(one: &str, other: &str) {
    for (number, (a, b)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(a, b, "line {number}");
    }
    assert_eq!(one.lines().count(), other.lines().count());
}
