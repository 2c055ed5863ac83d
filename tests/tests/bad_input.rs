//! Processes that nobody would write and that are there all the same: too much of
//! everything, gone in the middle, names that are no text. Nothing crashes, nothing is lost,
//! and what could not be read is counted.

use kfilter_loader::HostKind;
use kfilter_loader::record::Value;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Running, hosts, number, shipped, shipped_names};
use std::time::{Duration, Instant};

/// What a process has, by its own columns and by counting the rows of `table`.
fn counted(host: HostKind, program: &Program, column: &str, table: &str) -> (i64, i64) {
    let pid = program.pid();
    let source = format!("filter sum on process {{ where pid == {pid} emit {column} }}");
    let (records, stats) = Running::load(host, &source, &[]).expect("it loads").sweep();
    assert_eq!((records.len(), stats.dropped), (1, 0), "{}", host.name());
    let source = format!(
        "filter rows on {table} {{ where pid == {pid} group by pid emit count() as rows }}"
    );
    let (rows, stats) = Running::load(host, &source, &[]).expect("it loads").sweep();
    assert_eq!((rows.len(), stats.dropped), (1, 0), "{}", host.name());
    (number(&records[0], column), number(&rows[0], "rows"))
}

/// Every row is a record, or is counted as one that found no room.
fn is_complete(host: HostKind, program: &Program, table: &str, key: &str, rows: i64) {
    let source =
        format!("filter all on {table} {{ where pid == {} emit pid, {key} }}", program.pid());
    let (records, stats) = Running::load(host, &source, &[]).expect("it loads").sweep();
    assert_eq!(i64::try_from(stats.matched), Ok(rows), "{}", host.name());
    assert_eq!(records.len() as u64 + stats.dropped, stats.matched, "{}", host.name());
    let mut keys: Vec<i64> = records.iter().map(|record| number(record, key)).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), records.len(), "{}: no row is there twice", host.name());
}

#[test]
fn a_hundred_thousand_open_files_are_counted_and_none_is_lost() {
    const MOST: i64 = 100_000;
    let program = Program::start("crowd", &format!("files {MOST} 120"));
    let listed = std::fs::read_dir(format!("/proc/{}/fd", program.pid())).expect("it runs");
    let open = listed.count() as i64;
    if open < MOST {
        kfilter_tests::skipped(
            "100,000 open files",
            &format!("this machine allows {open} (ulimit -Hn): tried with these"),
        );
    }
    assert!(open > 500, "{open}");
    for host in hosts("100,000 open files") {
        assert_eq!(counted(host, &program, "files", "file"), (open, open), "{}", host.name());
        is_complete(host, &program, "file", "fd", open);
    }
}

#[test]
fn sixty_five_thousand_mappings_are_counted_and_none_is_lost() {
    let program = Program::start("crowd", "mappings 65000 120");
    let maps = std::fs::read(format!("/proc/{}/maps", program.pid())).expect("it runs");
    // The kernel's own page is listed there, and is no mapping of the process.
    let listed = maps.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let mapped = listed.filter(|line| !line.ends_with(b"[vsyscall]")).count() as i64;
    assert!(mapped > 65_000, "{mapped}");
    for host in hosts("65,000 mappings") {
        assert_eq!(counted(host, &program, "mappings", "mapping"), (mapped, mapped), "{host:?}");
        is_complete(host, &program, "mapping", "address", mapped);
    }
}

#[test]
fn names_that_are_no_text_come_through_as_they_are() {
    let program = Program::start("odd_name", "");
    let source = format!("filter odd on thread {{ where pid == {} emit comm }}", program.pid());
    for host in hosts("odd names") {
        let (records, _) = Running::load(host, &source, &[]).expect("it loads").sweep();
        let name = Value::Text(b"\x1b[31m\na\\b\xc5\xbe\xff".to_vec());
        assert_eq!(records[0]["comm"], name, "{}", host.name());
    }
}

/// Every shipped filter, over processes that end, fork, exec, change their namespaces and
/// unmap or overwrite mutexes while they are looked at.
#[test]
fn processes_that_change_in_the_middle_of_a_sweep_break_none_and_are_no_deadlock() {
    const LOOKED: Duration = Duration::from_secs(8);
    let mut loaded = Vec::new();
    for host in hosts("churn") {
        for name in shipped_names() {
            let running = Running::load(host, &shipped(&name), &[]).expect("it loads");
            loaded.push((name, host, running));
        }
    }
    let _churn = Program::start("crowd", "churn 6 120");
    let started = Instant::now();
    let mut sweeps = 0;
    while sweeps < 5 || started.elapsed() < LOOKED {
        for (name, host, running) in &mut loaded {
            let (records, stats) = running.sweep();
            assert!(stats.visited > 0, "{name} on {}", host.name());
            assert_eq!(stats.dropped, 0, "{name} on {}", host.name());
            if name == "mutex_deadlock" {
                let of_churn = |record: &&kfilter_tests::run::Record| {
                    matches!(&record["comm"], Value::Text(comm)
                        if comm.starts_with(b"program-crowd") || comm.starts_with(b"\x1b"))
                };
                let accused: Vec<_> = records.iter().filter(of_churn).collect();
                assert!(accused.is_empty(), "on {}: {accused:?}", host.name());
            }
        }
        sweeps += 1;
    }
}
