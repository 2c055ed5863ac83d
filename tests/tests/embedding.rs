//! kernel-vm in a kernel that is not Linux: the guide's example, built with the host's C
//! compiler and asked as a user would ask it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SPINNERS: &str = "filter spinner on process {
    where rate(cpu_time) > 80% / system.cpus
    emit pid, cpu_time
}";
const THREADS: &str = "filter blocked on thread {
    where threads > 1 and state != running
    emit pid, tid, priority
}";
const UNKNOWN: &str = "filter big on process { where rss > 1MiB emit pid }";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The example, or why it cannot be built here.
fn build(into: &Path) -> Result<PathBuf, String> {
    for (tool, what) in [("cc", "a C compiler"), ("rustc", "rustc")] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(format!("{what} is not installed"));
        }
    }
    let (core, program) = (into.join("libkfilter_vm.a"), into.join("procmgr"));
    let built = run(Command::new(at("kernel-vm/core/build.sh")).arg("lib").arg(&core));
    assert!(built.status.success(), "{}", text(&built.stderr));
    let built = run(Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(at("kernel-vm/examples/procmgr.c"))
        .arg("-I")
        .arg(at("kernel-vm/include"))
        .arg("-I")
        .arg(at("kernel-vm/linux"))
        .arg(&core)
        // Drops what nothing reaches: the panic handler, whose call would not link.
        .arg("-Wl,--gc-sections"));
    assert!(built.status.success(), "{}", text(&built.stderr));
    Ok(program)
}

fn image(into: &Path, source: &str) -> PathBuf {
    let compiled = kfilter_compiler::compile("test.kf", source).expect("it compiles");
    let object = kfilter_loader::Object::parse(&compiled.object).expect("our own object");
    let system = kfilter_loader::params::SystemValues::default();
    let name = &object.filters()[0].name;
    let request = kfilter_loader::Request::new(&object, name, &[], system).expect("no parameters");
    let path = into.join(format!("{name}.image"));
    let image = kfilter_loader::host::module::image(&request).expect("the module has its columns");
    std::fs::write(&path, image).expect("a scratch file");
    path
}

#[test]
fn another_kernel_answers_filters() {
    let scratch = std::env::temp_dir().join(format!("kfilter-embedding-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch directory");
    let program = match build(&scratch) {
        Ok(program) => program,
        Err(reason) => return kfilter_tests::skipped("embedding", &reason),
    };
    let sweep = |image: &Path| run(Command::new(&program).arg(image));

    let said = sweep(&image(&scratch, SPINNERS));
    let expected = "swept 3 matched 0 unreadable 0\n\
                    record 0 8194 950000000\n\
                    swept 3 matched 1 unreadable 0\n";
    assert_eq!(text(&said.stdout), expected, "{}", text(&said.stderr));

    let said = sweep(&image(&scratch, THREADS));
    let said = text(&said.stdout);
    assert_eq!(said.matches("record 0 4097 ").count(), 8, "{said}");
    assert!(said.ends_with("record 0 8194 1 10\nswept 7 matched 5 unreadable 0\n"), "{said}");

    // A column that this kernel does not have is unknown, not zero.
    let said = sweep(&image(&scratch, UNKNOWN));
    assert!(text(&said.stdout).ends_with("swept 3 matched 0 unreadable 3\n"));

    // An image that was cut or damaged is refused, wherever.
    let whole = std::fs::read(image(&scratch, SPINNERS)).expect("it was written");
    let damaged = scratch.join("damaged");
    for cut in (0..whole.len()).step_by(37) {
        std::fs::write(&damaged, &whole[..cut]).expect("a scratch file");
        assert_eq!(sweep(&damaged).status.code(), Some(1), "cut to {cut} bytes");
    }
    for place in (0..whole.len()).step_by(17) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0xff;
        std::fs::write(&damaged, &bytes).expect("a scratch file");
        let said = sweep(&damaged);
        let code = said.status.code();
        assert!(matches!(code, Some(0 | 1)), "byte {place}: {code:?} {}", text(&said.stderr));
    }
    std::fs::remove_dir_all(&scratch).expect("nobody else uses it");
}
