//! Deadlocks of every supported kind are found, whole and with the right class; what only
//! looks like one never is.

use kfilter_loader::HostKind;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Record, Running, hosts, number};

const DEADLOCK: &str = "filter deadlock on thread {
    where cycle(waits_for)
    emit pid, tid, comm, waits_on as mutex, waits_for as owner, wait_class, cycle.id, cycle.length
}";
const ABANDONED: &str = "filter abandoned on thread {
    where wait_class == abandoned emit pid, tid, waits_on
}";

/// The records that are about this program.
fn about(host: HostKind, source: &str, program: &Program) -> Vec<Record> {
    let family = program.family();
    let (records, _) = Running::load(host, source, &[]).expect("it loads").sweep();
    records.into_iter().filter(|record| family.contains(&number(record, "pid"))).collect()
}

/// Every member of the ring is named, and following the owners leads round it once.
fn check_ring(records: &[Record], length: usize, what: &str) {
    assert_eq!(records.len(), length, "{what}: {records:#?}");
    let id = records.iter().map(|record| number(record, "tid")).min().expect("not empty");
    let mut at = id;
    for _ in 0..length {
        let record = records.iter().find(|record| number(record, "tid") == at);
        let record = record.unwrap_or_else(|| panic!("{what}: {at} owns a lock, and is no member"));
        assert_eq!(number(record, "cycle.id"), id, "{what}");
        assert_eq!(number(record, "cycle.length"), length as i64, "{what}");
        assert_ne!(number(record, "mutex"), 0, "{what}");
        at = number(record, "owner");
    }
    assert_eq!(at, id, "{what}: the ring does not close");
}

#[test]
fn rings_of_every_kind_are_found_whole() {
    let programs: Vec<(String, usize, Program)> = [
        ("ring normal", 2),
        ("ring recursive", 2),
        ("ring errorcheck", 3),
        ("ring timed", 2),
        ("ring robust", 2),
        ("ring rwlock", 2),
        ("ring normal", 5),
        ("ring normal", 100),
        ("processes normal", 2),
        ("processes robust", 3),
    ]
    .into_iter()
    .map(|(mode, n)| {
        let args = format!("{mode} {n} 60");
        (args.clone(), n, Program::start("lock", &args))
    })
    .collect();
    for host in hosts("rings") {
        for (what, length, program) in &programs {
            let what = format!("{what} on the {} host", host.name());
            check_ring(&about(host, DEADLOCK, program), *length, &what);
        }
    }
}

#[test]
fn a_thread_that_waits_for_itself_is_a_class_of_its_own() {
    let program = Program::start("lock", "self normal 60");
    for host in hosts("self") {
        let records = about(host, DEADLOCK, &program);
        assert_eq!(records.len(), 1, "{host:?} {records:#?}");
        assert_eq!(records[0]["wait_class"].enum_name(), Some("self"));
        assert_eq!(number(&records[0], "owner"), number(&records[0], "tid"));
    }
}

#[test]
fn a_lock_whose_owner_has_exited_is_abandoned_and_no_deadlock() {
    let program = Program::start("lock", "abandoned normal 60");
    for host in hosts("abandoned") {
        assert_eq!(about(host, ABANDONED, &program).len(), 1, "{host:?}");
        assert_eq!(about(host, DEADLOCK, &program).len(), 0, "{host:?}");
    }
}

#[test]
fn innocents_never_match() {
    let innocents: Vec<Program> = [
        "contend normal 8",
        "contend rwlock 4",
        "ordered normal 4",
        "condition normal 8",
        "self recursive",
    ]
    .into_iter()
    .map(|args| Program::start("lock", &format!("{args} 60")))
    .collect();
    for host in hosts("innocents") {
        let mut deadlock = Running::load(host, DEADLOCK, &[]).expect("it loads");
        let mut abandoned = Running::load(host, ABANDONED, &[]).expect("it loads");
        let rounds = if host == HostKind::Bpf { 2000 } else { 30 };
        for round in 0..rounds {
            for filter in [&mut deadlock, &mut abandoned] {
                let (records, _) = filter.sweep();
                let about: Vec<&Record> = records
                    .iter()
                    .filter(|record| {
                        innocents.iter().any(|each| each.pid() == number(record, "pid"))
                    })
                    .collect();
                assert!(about.is_empty(), "{host:?}, round {round}: {about:#?}");
            }
        }
    }
}
