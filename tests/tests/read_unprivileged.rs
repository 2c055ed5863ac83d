//! A loaded filter is read by a user without any privilege, who can do nothing else to it.

use kfilter_loader::host::bpf::system_values;
use kfilter_loader::params::Given;
use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::record::{self, Value};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, Object, Request};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::rc::Rc;

const SOURCE: &str = "filter own on process {\n    param wanted = 1\n    where pid == wanted\n    emit pid, comm\n}\n";
/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Unloads the filter whatever happens.
struct Loaded(Pins);

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.0.unload("own");
    }
}

fn as_nobody(program: &str, path: &Path) -> Output {
    Command::new(program).arg(path).uid(NOBODY).gid(NOBODY).output().expect("it runs")
}

#[test]
fn nobody_reads_the_records_and_nothing_else() {
    let compiled = kfilter_compiler::compile("own.kf", SOURCE).expect("a filter");
    let object = Object::parse(&compiled.object).expect("an object");
    let me = std::process::id();
    let params: Vec<Given> = vec![("wanted".to_owned(), me.to_string())];
    let request = Request::new(&object, "own", &params, system_values(&Kernel)).expect("known");
    let root = format!("/sys/fs/bpf/kfilter_test_{me}");
    let pins = Loaded(Pins::new(Rc::new(Kernel), &root));
    let options = PinOptions { mode: 0o644, params: params.clone(), ..PinOptions::new("own") };
    match pins.0.load(&request, &options) {
        Ok(pinned) => assert!(pinned.readable),
        Err(error) if error.class() != ErrorClass::Input => {
            return kfilter_tests::skipped("read_unprivileged", &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
    let path = pins.0.read_path("own");
    for _ in 0..2 {
        let output = as_nobody("cat", &path);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let layout = &request.filter.record;
        assert_eq!(output.stdout.len(), layout.size as usize, "one record");
        let pid = record::decode(&output.stdout, 0, &layout.fields[0]);
        assert!(matches!(pid, Some(Value::Int(pid, _)) if pid == i64::from(me)), "{pid:?}");
    }
    let directory = Path::new(&root).join("own");
    assert!(!as_nobody("ls", &directory).status.success(), "it sees no other name");
    assert!(!as_nobody("rm", &path).status.success(), "it cannot remove it");
    for other in ["rodata", "records", "sweep"] {
        assert!(!as_nobody("cat", &directory.join(other)).status.success(), "{other}");
    }
}
