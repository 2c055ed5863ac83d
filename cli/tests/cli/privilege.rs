//! What a user without privilege gets.

use crate::support::{Said, Scratch, command, first, skipped};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

/// Runs the binary as a user without any privilege; `None` where that cannot be arranged.
pub(crate) fn as_nobody(test: &str, scratch: &Scratch, args: &[&str]) -> Option<Said> {
    let binary = scratch.path().join("kfilter");
    std::fs::copy(env!("CARGO_BIN_EXE_kfilter"), &binary).expect("a copy of the binary");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), open).expect("an open directory");
    let template = command(args);
    let mut nobody = std::process::Command::new(binary);
    nobody.args(template.get_args()).current_dir("/").uid(65534).gid(65534);
    // Another test that starts a program just now has the copy open for writing until it does.
    let began = std::time::Instant::now();
    let output = loop {
        match nobody.output() {
            Err(error)
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy
                    && began.elapsed() < std::time::Duration::from_secs(10) =>
            {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            other => break other,
        }
    };
    match output {
        Ok(output) => Some(output.into()),
        Err(error) => {
            skipped(test, &format!("cannot become another user: {error}"));
            None
        }
    }
}

#[test]
fn the_bpf_host_says_that_privilege_is_missing() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", first());
    let args = ["run", "--host", "bpf", "--count", "1", path.as_str()];
    let test = "the_bpf_host_says_that_privilege_is_missing";
    if let Some(said) = as_nobody(test, &scratch, &args) {
        let said = said.exits(4);
        assert!(said.stderr.contains("CAP_BPF"), "{}", said.stderr);
        assert_eq!(said.stdout, "");
    }
}
#[test]
fn auto_falls_back_and_says_so() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", first());
    let test = "auto_falls_back_and_says_so";
    if let Some(said) = as_nobody(test, &scratch, &["run", "--count", "1", &path]) {
        let said = said.exits(0);
        assert!(said.stderr.contains("using the vm host"), "{}", said.stderr);
        assert!(said.stderr.contains("on the vm host"), "{}", said.stderr);
    }
}
