//! What `kfilter check` says that the kernel spends on a row and on a group is what the kernel's
//! allocator says.

use kfilter_loader::host::bpf::{TASK_BYTES, kept};
use kfilter_loader::{HostKind, Object};
use kfilter_tests::program::Program;
use kfilter_tests::run::{Running, hosts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Threads alive: many more than other processes of this machine come and go with meanwhile.
const THREADS: u32 = 6000;
/// How often what differs is looked at.
const TRIES: usize = 8;

/// How many objects each of the caches for general use has handed out, by size.
fn handed_out() -> Option<BTreeMap<u32, i64>> {
    let text = std::fs::read_to_string("/proc/slabinfo").ok()?;
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("kmalloc-")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(active), Some(size)) = (words.get(1), words.get(3)) else { continue };
        *found.entry(size.parse().ok()?).or_default() += active.parse::<i64>().ok()?;
    }
    (!found.is_empty()).then_some(found)
}

/// The same once what others have given back, threads that have ended too, is back.
fn handed_out_at_rest() -> BTreeMap<u32, i64> {
    let mut before = handed_out().expect("it was there");
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        let now = handed_out().expect("it was there");
        let moved = |(size, count): (&u32, &i64)| (count - before.get(size).unwrap_or(&0)).abs();
        if now.iter().all(|one| moved(one) < i64::from(THREADS / 50)) {
            return now;
        }
        before = now;
    }
    before
}

/// Compares what a sweep leaves behind. Who starts thousands of threads in the same moment hides it:
/// then it is looked at again.
fn compare(source: &str, expected: &BTreeMap<u32, i64>) {
    let mut left = BTreeMap::new();
    for _ in 0..TRIES {
        // Threads of their own: a task keeps the head of its storage.
        let _threads = Program::start("hog", &format!("idle {THREADS} 60"));
        left = left_by_a_sweep(source);
        if left == *expected {
            return;
        }
    }
    panic!("{source} leaves {left:?}, not {expected:?}");
}

/// Objects of each size that the sweep leaves behind, rounded to whole multiples of [`THREADS`].
fn left_by_a_sweep(source: &str) -> BTreeMap<u32, i64> {
    let mut running = Running::load(HostKind::Bpf, source, &[]).expect("it loads");
    let before = handed_out_at_rest();
    let (_, stats) = running.sweep();
    assert!(stats.visited > u64::from(THREADS));
    let after = handed_out().expect("it was there");
    let times = |size: &u32| {
        let count = after[size] - before.get(size).copied().unwrap_or_default();
        (count as f64 / f64::from(THREADS)).round() as i64
    };
    after.keys().map(|size| (*size, times(size))).filter(|(_, times)| *times != 0).collect()
}

fn said(source: &str) -> kfilter_loader::host::bpf::Kept {
    let compiled = kfilter_compiler::compile("kept.kf", source).expect("it compiles");
    let object = Object::parse(&compiled.object).expect("our own object");
    kept(&object.filters()[0])
}

#[test]
fn a_row_and_a_group_take_what_check_says() {
    if !hosts("kept memory").contains(&HostKind::Bpf) {
        return;
    }
    if handed_out().is_none() {
        return kfilter_tests::skipped("kept memory", "/proc/slabinfo cannot be read");
    }
    for windows in [1, 4, 8, 14] {
        let means = (1..windows).map(|n| format!(" and mean(cpu_time, {}s) > 1000h", n + 1));
        let source = format!(
            "filter f on thread {{ where rate(minor_faults) > 1000000/s{} emit tid }}",
            means.collect::<String>()
        );
        let mut expected = BTreeMap::from([(TASK_BYTES, 1)]);
        *expected.entry(said(&source).row).or_default() += 1;
        compare(&source, &expected);
    }
    let mut sizes = Vec::new();
    for source in [
        "filter f on thread { group by tid emit tid, count() as n }",
        "filter f on thread { group by tid, comm emit tid, comm, sum(rss) as a, sum(swap) as b }",
        "filter f on thread { group by tid emit tid, count(distinct pid) as n }",
    ] {
        let kept = said(source);
        let mut expected = BTreeMap::new();
        for size in [kept.group, kept.distinct] {
            if size > 0 {
                *expected.entry(size).or_default() += 1;
            }
        }
        compare(source, &expected);
        sizes.push(expected);
    }
    assert_ne!(sizes[0], sizes[1], "larger groups take more");
}
