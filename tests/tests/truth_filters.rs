//! Every shipped filter names programs that really do what it looks for, on both hosts, and
//! none of those that only look like it.

use kfilter_loader::HostKind;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Running, hosts, number, shipped, shipped_names};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A shipped filter, impatient, and programs that it has to tell apart.
struct Case {
    filter: &'static str,
    params: &'static [(&'static str, &'static str)],
    guilty: &'static [&'static str],
    innocent: &'static [&'static str],
}

/// What is not a number of this machine. `memory_hog` is given its share of 100 MiB later.
const CASES: [Case; 14] = [
    Case {
        filter: "cpu_hog",
        params: &[("max", "5%"), ("hold", "600ms")],
        guilty: &["hog spin 1 100"],
        innocent: &["hog spin 1 1", "hog idle 150", "hog hold 200"],
    },
    Case {
        filter: "memory_hog",
        params: &[],
        guilty: &["hog hold 200"],
        innocent: &["hog reserve 4000", "hog hold 20", "hog idle 150"],
    },
    Case {
        filter: "memory_leak",
        params: &[("growth", "500KiB/s"), ("window", "2s"), ("hold", "1s"), ("least", "1MiB")],
        guilty: &["hog leak 4000"],
        innocent: &["hog hold 200", "hog reserve 4000", "hog shm memfd 64", "hog idle 150"],
    },
    Case {
        filter: "fd_hog",
        params: &[],
        guilty: &["hog files pipe 900 1000", "hog files regular 90 100"],
        innocent: &["hog files pipe 900 4000", "hog files eventfd 40 50"],
    },
    Case {
        filter: "shm_hog",
        params: &[("max", "32MiB")],
        guilty: &["hog shm memfd 64", "hog shm tmpfs 64", "hog shm sysv 64", "hog shm anon 64"],
        innocent: &["hog shm file 64", "hog shm memfd 4", "hog hold 200", "hog reserve 4000"],
    },
    Case {
        filter: "shm_object",
        params: &[],
        guilty: &["hog shm memfd 64", "hog shm tmpfs 64", "hog shm sysv 64", "hog shm anon 64"],
        innocent: &["hog shm file 64", "hog shm memfd 4", "hog hold 200", "hog reserve 4000"],
    },
    Case {
        filter: "mutex_deadlock",
        params: &[],
        guilty: &["lock ring normal 3", "lock self normal", "lock processes robust 2"],
        innocent: &["lock contend normal 4", "lock chain normal 4", "lock abandoned normal"],
    },
    Case {
        filter: "abandoned_mutex",
        params: &[("hold", "600ms")],
        guilty: &["lock abandoned normal"],
        innocent: &["lock contend normal 4", "lock ring normal 3", "lock condition normal 3"],
    },
    Case {
        filter: "unusual",
        params: &[
            ("window", "6s"),
            ("recent", "400ms"),
            // A busy machine's sweeps are far apart, and then no change is a large one.
            ("sigmas", "1.5"),
            ("least_cpu", "4%"),
        ],
        guilty: &["hog change 12"],
        innocent: &["hog spin 1 1", "hog idle 150", "hog hold 200", "lock contend normal 4"],
    },
    Case {
        filter: "zombies",
        params: &[("hold", "600ms")],
        guilty: &["hog zombie 3"],
        innocent: &["hog fork 20", "hog vfork 1"],
    },
    Case {
        filter: "stuck",
        params: &[("hold", "600ms")],
        guilty: &["hog vfork 1"],
        innocent: &["hog idle 150", "hog zombie 3", "lock ring normal 3", "hog spin 1 100"],
    },
    Case {
        filter: "thread_runaway",
        params: &[("max", "140"), ("growth", "3/s"), ("window", "1s")],
        guilty: &["hog idle 150", "hog breed 10"],
        innocent: &["hog idle 60", "hog spin 1 1", "hog fork 20"],
    },
    Case {
        filter: "io_hog",
        params: &[("max", "3MiB/s"), ("hold", "600ms")],
        guilty: &["hog write 20000"],
        innocent: &["hog reread 20000", "hog leak 4000", "hog shm tmpfs 64"],
    },
    Case {
        filter: "fault_storm",
        params: &[("max", "50/s"), ("hold", "600ms")],
        guilty: &["hog evict 300"],
        innocent: &["hog renew 4", "hog leak 4000", "hog reread 20000"],
    },
];
/// The one with a test of its own.
const FORK_STORM: &str = "fork_storm";

/// How long is looked: longer than the longest window, and than what changes in the middle
/// takes to. A machine that is busy gets its sweeps all the same.
const WATCHED: Duration = Duration::from_secs(20);
const ROUNDS_LEAST: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(300);
/// Programs end by themselves after so many seconds, whatever happens to the test.
const SECONDS: u32 = 300;

fn start(what: &str) -> Program {
    let (program, args) = what.split_once(' ').expect("a program and what it does");
    Program::start(program, &format!("{args} {SECONDS}"))
}

/// The share of memory that 100 MiB are, as a percentage.
fn share_of_100_mib() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").expect("readable");
    let total = text.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    format!("{:.4}%", 100.0 * 1024.0 * 100.0 / total.expect("MemTotal is the first"))
}

/// The field that says who is named: whoever has to be told.
fn field_of(filter: &str) -> &'static str {
    if matches!(filter, "zombies" | FORK_STORM) { "ppid" } else { "pid" }
}

#[test]
fn every_shipped_filter_is_here() {
    let shipped: BTreeSet<String> = shipped_names().into_iter().collect();
    let here = CASES.iter().map(|case| case.filter).chain([FORK_STORM]);
    assert_eq!(shipped, here.map(str::to_owned).collect());
}

#[test]
fn shipped_filters_name_the_guilty_and_spare_the_innocent() {
    let share = share_of_100_mib();
    let mut loaded: Vec<(&Case, HostKind, Running, BTreeSet<i64>)> = Vec::new();
    for host in hosts("truth_filters") {
        for case in &CASES {
            let own = [("max", share.as_str())];
            let params = if case.filter == "memory_hog" { &own } else { case.params };
            let running = Running::load(host, &shipped(case.filter), params).expect("it loads");
            loaded.push((case, host, running, BTreeSet::new()));
        }
    }
    let mut programs: BTreeMap<&str, Program> = BTreeMap::new();
    for what in CASES.iter().flat_map(|case| case.guilty.iter().chain(case.innocent)) {
        programs.entry(what).or_insert_with(|| start(what));
    }
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS_LEAST || started.elapsed() < WATCHED {
        for (case, _, running, named) in &mut loaded {
            let (records, stats) = running.sweep();
            assert_eq!(stats.dropped, 0, "{}", case.filter);
            named.extend(records.iter().map(|record| number(record, field_of(case.filter))));
        }
        rounds += 1;
        std::thread::sleep(BETWEEN);
    }
    let mut wrong = Vec::new();
    for (case, host, _, named) in &loaded {
        let is_named = |what: &&str| programs[*what].family().iter().any(|pid| named.contains(pid));
        let (filter, host) = (case.filter, host.name());
        for what in case.guilty.iter().filter(|what| !is_named(what)) {
            wrong.push(format!("{filter} on {host} misses `{what}`"));
        }
        for what in case.innocent.iter().filter(|what| is_named(what)) {
            wrong.push(format!("{filter} on {host} accuses `{what}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_storm_of_children_is_told_from_a_pool_and_from_children_that_come_and_go() {
    let young = Duration::from_secs(4);
    let innocent = ["hog children 80", "hog fork 100"].map(start);
    std::thread::sleep(young + Duration::from_millis(500));
    for host in hosts("truth_filters") {
        let params = [("max", "50"), ("young", "4s")];
        let mut filter = Running::load(host, &shipped(FORK_STORM), &params).expect("it loads");
        let guilty = start("hog children 80");
        let (records, _) = filter.sweep();
        let find = |of: &Program| {
            records.iter().find(|record| number(record, field_of(FORK_STORM)) == of.pid())
        };
        let storm = find(&guilty).unwrap_or_else(|| panic!("{host:?}: {records:#?}"));
        assert_eq!(number(storm, "children"), 80, "{host:?}");
        assert!(innocent.iter().all(|program| find(program).is_none()), "{host:?}: {records:#?}");
    }
}
