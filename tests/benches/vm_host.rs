//! How long the vm host takes for a row, and beside it the bpf host in the same run.
//!
//! `cargo bench -p kfilter-tests --bench vm_host`

use kfilter_loader::HostKind;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Running, hosts};

const SWEEPS: usize = 7;

const FILTERS: [(&str, &str); 6] = [
    ("thread: state", "filter f on thread { where state == dead emit pid }"),
    ("thread: CPU and its history", "filter f on thread { where rate(cpu_time) > 300% emit tid }"),
    (
        "thread: memory, switches",
        "filter f on thread { where rss + voluntary_switches * 1B > 1PiB emit tid }",
    ),
    ("thread: whom it waits for", "filter f on thread { where cycle(waits_for) emit tid }"),
    (
        "process: CPU and its history",
        "filter f on process { where rate(cpu_time) > 9000% emit pid }",
    ),
    ("process: files and limit", "filter f on process { where files > file_limit emit pid }"),
];

fn main() {
    let _idle = Program::start("hog", "idle 10000 300");
    let hosts = hosts("bench of the vm host");
    println!("{:<32} {:>8} {:>10} {:>10}", "best of 7 sweeps, µs a row", "rows", "vm", "bpf");
    for (name, source) in FILTERS {
        let best = |host: HostKind| {
            let mut filter = Running::load(host, source, &[]).expect("it loads");
            let sweeps = (0..SWEEPS).map(|_| filter.sweep().1);
            sweeps.min_by_key(|stats| stats.took_ns).expect("some")
        };
        let vm = best(HostKind::Vm);
        let a_row = |took: u64| took as f64 / 1000.0 / vm.visited.max(1) as f64;
        let bpf = hosts.contains(&HostKind::Bpf).then(|| best(HostKind::Bpf));
        let bpf = bpf.map_or("-".to_owned(), |bpf| format!("{:.3}", a_row(bpf.took_ns)));
        println!("{name:<32} {:>8} {:>10.2} {bpf:>10}", vm.visited, a_row(vm.took_ns));
    }
}
