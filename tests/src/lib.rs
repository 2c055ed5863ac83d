//! What the end-to-end tests share: real misbehaving programs and ways to ask /proc the truth.

pub mod fuzz;
pub mod kept;
pub mod program;
pub mod run;

use std::io::Write as _;

/// Says that `test` did not run and why, past the test runner's capture of output, and in
/// the file that `KFILTER_SKIPPED_LOG` names, where CI counts.
///
/// # Panics
/// When that file cannot be written: a skip must not go unseen.
pub fn skipped(test: &str, reason: &str) {
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
