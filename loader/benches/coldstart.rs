//! From the bytes of an object to a finished first sweep, and the parts of that way.
//!
//! Run with `cargo bench -p kfilter-loader --bench coldstart`; needs privilege for all but
//! the first two parts. Each figure is the best and the median of many runs.

use kfilter_loader::btf::kernel::{KernelBtf, Wanted};
use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::sys::{Kernel, Sys};
use kfilter_loader::{Object, Request, Session};
use std::time::{Duration, Instant};

const OBJECT: &[u8] = include_bytes!("../tests/objects/sweep.o");
const RUNS: usize = 100;

fn measure(name: &str, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[RUNS / 2];
    println!("{name:<34} best {:>8.1?}  median {median:>8.1?}", times[0]);
    median
}

fn main() {
    let object = Object::parse(OBJECT).expect("the fixture is an object");
    measure("parse the object", || {
        Object::parse(OBJECT).expect("the fixture is an object");
    });
    if let Err(error) = Kernel.kernel_btf() {
        return println!("SKIPPED: {error}");
    }
    measure("scan the kernel's types", || {
        let mut wanted = Wanted::default();
        ["task_struct", "sched_entity", "bpf_iter_task_new"].iter().for_each(|n| wanted.add(n));
        let bytes = Kernel.kernel_btf().expect("readable before");
        KernelBtf::scan(bytes, wanted).expect("the kernel's own types");
    });
    let host = BpfHost::running();
    let load = || {
        let request = Request::new(&object, "hog", &[], system_values(&Kernel))?;
        host.load_session(&request)
    };
    if let Err(error) = load() {
        return println!("SKIPPED: {error}");
    }
    measure("load", || {
        load().expect("loaded before");
    });
    let mut session = load().expect("loaded before");
    measure("sweep", || {
        session.sweep().expect("a sweep");
    });
    let all = measure("object to finished first sweep", || {
        let object = Object::parse(OBJECT).expect("the fixture is an object");
        let request = Request::new(&object, "hog", &[], system_values(&Kernel)).expect("a filter");
        host.load_session(&request).expect("a load").sweep().expect("a sweep");
    });
    println!("{:.2} of the 5 ms that source to first sweep may take", all.as_secs_f64() / 0.005);
}
