//! The main job on real offenders: a spinner, a large allocator and ten thousand idle
//! threads are alive, and each host names the offenders, with the figures that /proc gives.

use kernel_vm::abi::FIXED_ONE;
use kfilter_loader::HostKind;
use kfilter_loader::sys::process_cpu_ns;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Record, Running, hosts, number, shipped};
use std::time::{Duration, Instant};

const GIB: i64 = 1 << 30;

fn pids(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| number(record, "pid")).collect()
}

fn of(records: &[Record], pid: i64) -> &Record {
    let found = records.iter().find(|record| number(record, "pid") == pid);
    found.unwrap_or_else(|| panic!("{pid} is not among {records:?}"))
}

fn vm_rss(pid: i64) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: i64 = line.trim_end_matches("kB").trim().parse().expect("a number");
    kib << 10
}

#[test]
fn hogs_among_ten_thousand_threads_are_named_with_their_figures() {
    let spinner = Program::start("hog", "spin 1 100 120");
    let allocator = Program::start("hog", "hold 2048 120");
    let idle = Program::start("hog", "idle 10000 120");
    for host in hosts("e2e_hogs") {
        memory(host, &spinner, &allocator, &idle);
        cpu(host, &spinner, &allocator, &idle);
        threads(host, &idle);
    }
}

fn memory(host: HostKind, spinner: &Program, allocator: &Program, idle: &Program) {
    // 2 GiB, whatever share of this machine that is.
    let mut filter = Running::load(host, &shipped("memory_hog"), &[("max", "1%")]).expect("loads");
    let total: i64 = {
        let text = std::fs::read_to_string("/proc/meminfo").expect("readable");
        let line = text.lines().next().expect("MemTotal is the first");
        let kib: i64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB");
        kib << 10
    };
    let (records, stats) = filter.sweep();
    assert!(stats.visited > 10 && stats.dropped == 0, "{stats:?}");
    let named = pids(&records);
    assert!(!named.contains(&spinner.pid()) && !named.contains(&idle.pid()), "{named:?}");
    let record = of(&records, allocator.pid());
    let (rss, truth) = (number(record, "rss"), vm_rss(allocator.pid()));
    assert!(rss >= 2 * GIB && (rss - truth).abs() * 50 <= truth, "{host:?}: {rss}, not {truth}");
    let share = number(record, "share");
    let expected = i128::from(rss) * i128::from(FIXED_ONE) / i128::from(total);
    assert_eq!(i128::from(share), expected);
    // Whoever else is named holds that much: no false alarm.
    for record in &records {
        assert!(number(record, "rss") * 100 > total, "{record:?}");
    }
}

fn cpu(host: HostKind, spinner: &Program, allocator: &Program, idle: &Program) {
    let params = [("max", "30%"), ("hold", "1s")];
    let mut filter = Running::load(host, &shipped("cpu_hog"), &params).expect("loads");
    let (first, stats) = filter.sweep();
    assert!(first.is_empty() && stats.warming > 10, "one sweep says nothing: {stats:?}");
    let spinner_pid = i32::try_from(spinner.pid()).expect("a pid");
    let mut before = (Instant::now(), process_cpu_ns(spinner_pid).expect("it runs"));
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(700));
        let after = (Instant::now(), process_cpu_ns(spinner_pid).expect("it runs"));
        let (records, _) = filter.sweep();
        let truth = (after.1 - before.1) as f64 / (after.0 - before.0).as_nanos() as f64;
        before = after;
        if round < 3 {
            continue;
        }
        let named = pids(&records);
        assert!(!named.contains(&allocator.pid()) && !named.contains(&idle.pid()), "{named:?}");
        if truth > 0.4 {
            let cpu = number(of(&records, spinner.pid()), "cpu") as f64 / FIXED_ONE as f64;
            assert!((cpu - truth).abs() < 0.02, "{host:?}: {cpu}, not {truth}");
        }
    }
}

fn threads(host: HostKind, idle: &Program) {
    let source = "filter crowd on process { where threads > 9000 emit pid, threads }";
    let (records, _) = Running::load(host, source, &[]).expect("loads").sweep();
    assert_eq!(number(of(&records, idle.pid()), "threads"), 10_001);
    let source = "filter all on thread { param of = 0 where pid == of emit tid }";
    let pid = idle.pid().to_string();
    let mut filter = Running::load(host, source, &[("of", &pid)]).expect("loads");
    let (records, stats) = filter.sweep();
    assert_eq!((records.len(), stats.dropped), (10_001, 0), "{host:?}");
}
