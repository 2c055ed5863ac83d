//! How long it takes from the text of a shipped filter to its object, in process.
//!
//! The bound is a millisecond; the ratio to it is printed for each filter.
#![allow(missing_docs, reason = "the macros of criterion write functions without any")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_millis(1);
const ROUNDS: u32 = 200;

fn shipped() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters");
    let entries = std::fs::read_dir(directory).expect("the shipped filters");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut filters: Vec<(String, String)> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "kf"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a readable filter"))
        })
        .collect();
    filters.sort();
    filters
}

fn compile(c: &mut Criterion) {
    for (name, source) in shipped() {
        let once = || kfilter_compiler::compile(&name, &source).expect("a shipped filter");
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(once());
        }
        let mean = start.elapsed() / ROUNDS;
        let ratio = mean.as_secs_f64() / BOUND.as_secs_f64();
        writeln!(std::io::stdout(), "{name}: {mean:?} a compilation, {ratio:.2} of the bound")
            .expect("stdout takes a line");
        c.bench_function(&format!("compile/{name}"), |bencher| bencher.iter(once));
    }
}

criterion_group!(benches, compile);
criterion_main!(benches);
