//! Deadlocks of every supported kind are found, whole and with the right class; what only
//! looks like one never is.

use kfilter_loader::HostKind;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Record, Way, number, ways};

const DEADLOCK: &str = "filter deadlock on thread {
    where cycle(waits_for)
    emit pid, tid, comm, waits_on as mutex, waits_for as owner, wait_class, cycle.id, cycle.length
}";
const ABANDONED: &str = "filter abandoned on thread {
    where wait_class == abandoned emit pid, tid, waits_on
}";

/// The records that are about this program.
fn about(way: Way, source: &str, program: &Program) -> Vec<Record> {
    let family = program.family();
    let (records, _) = way.load(source).sweep();
    records.into_iter().filter(|record| family.contains(&number(record, "pid"))).collect()
}

/// Every member of the ring is named, and following the owners leads round it once.
fn ring_error(records: &[Record], length: usize) -> Option<String> {
    if records.len() != length {
        return Some(format!("{} of {length} members", records.len()));
    }
    let id = records.iter().map(|record| number(record, "tid")).min()?;
    let mut at = id;
    for _ in 0..length {
        let record = records.iter().find(|record| number(record, "tid") == at);
        let Some(record) = record else {
            return Some(format!("{at} owns a lock, and is no member"));
        };
        if (number(record, "cycle.id"), number(record, "cycle.length")) != (id, length as i64) {
            return Some(format!("not cycle {id} of {length}: {record:?}"));
        }
        if number(record, "mutex") == 0 {
            return Some(format!("no lock: {record:?}"));
        }
        at = number(record, "owner");
    }
    (at != id).then(|| "the ring does not close".to_owned())
}

/// Starts `lock` in each of these ways, `(mode and kind, members)`, and expects the whole
/// ring in every way that a filter is run.
fn check_rings(test: &str, compiler: &str, rings: &[(&str, usize)]) {
    let programs: Vec<(String, usize, Program)> = rings
        .iter()
        .map(|&(mode, n)| {
            let args = format!("{mode} {n} 900");
            (args.clone(), n, Program::start_by(compiler, "lock", &args))
        })
        .collect();
    let mut wrong = Vec::new();
    for way in ways(test) {
        for (what, length, program) in &programs {
            let records = about(way, DEADLOCK, program);
            let classes = records.iter().map(|record| record["wait_class"].enum_name());
            let class = if *length == 1 { "self" } else { "cycle" };
            if !classes.clone().all(|found| found == Some(class)) {
                wrong.push(format!("{what} on {:?}: not of class {class}", way));
            }
            if let Some(error) = ring_error(&records, *length) {
                wrong.push(format!("{what} on {:?}: {error}\n{records:#?}", way));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether programs can be made with this compiler here.
fn compiles(compiler: &str) -> bool {
    Program::can_be_made_by(compiler)
}

#[test]
fn rings_of_every_kind_are_found_whole() {
    let rings = [
        ("ring normal", 2),
        ("ring normal", 5),
        ("ring normal", 100),
        ("ring shared", 3),
        ("ring recursive", 2),
        ("ring errorcheck", 3),
        ("ring adaptive", 3),
        ("ring timed", 2),
        ("ring timed+recursive", 4),
        ("ring robust", 2),
        ("ring robust+recursive", 3),
        ("ring robust+timed", 3),
        ("ring robust+errorcheck", 2),
        ("ring rwlock", 2),
        ("ring rwlock+timed", 3),
        ("ring rwlock+reader", 3),
        ("ring mixed", 7),
        ("ring protect", 2),
        ("ring protect+recursive+timed", 3),
        ("tail normal", 4),
        ("tail robust", 3),
        ("rewait normal", 2),
        ("rewait robust", 2),
    ];
    check_rings("rings", "cc", &rings);
}

#[test]
fn rings_stay_rings_when_their_process_is_stopped_or_loses_its_first_thread() {
    let rings = [
        ("stopped-ring normal", 2),
        // The kernel restarts these as another system call.
        ("stopped-ring timed", 3),
        ("stopped-ring rwlock+timed", 2),
        ("orphan-ring normal", 3),
        ("orphan-ring pi", 2),
    ];
    check_rings("stopped", "cc", &rings);
}

#[test]
fn rings_of_programs_that_are_linked_statically_are_found_whole() {
    check_rings("static", "cc -static", &[("ring normal", 2), ("ring pi", 3), ("self robust", 1)]);
}

#[test]
fn rings_of_programs_of_32_bits_are_found_whole() {
    if !compiles("cc -m32") {
        return kfilter_tests::skipped("locks of 32 bits", "`cc -m32` finds no C library");
    }
    let rings = [
        ("ring normal", 3),
        ("ring recursive", 2),
        ("ring errorcheck+timed", 2),
        ("ring adaptive", 3),
        ("ring robust", 3),
        ("ring robust+recursive", 2),
        ("ring pi", 3),
        ("ring pi+robust", 2),
        ("ring rwlock", 3),
        ("ring mixed", 4),
        ("ring protect", 2),
        ("stopped-ring timed", 2),
        ("processes rwlock", 2),
        ("half-processes robust", 3),
        ("inner-ring normal", 2),
        ("self normal", 1),
        ("self pi", 1),
    ];
    check_rings("32 bits", "cc -m32", &rings);
}

#[test]
fn mutexes_of_cxx_are_those_of_its_c_library() {
    let rings = [("abba mutex", 2), ("abba recursive", 2), ("abba timed", 2), ("abba shared", 2)];
    let programs = rings.map(|(mode, length)| {
        (mode, length, Program::start_by("c++ -std=c++17", "guard", &format!("{mode} 120")))
    });
    let innocents = ["scoped mutex", "unique mutex", "readers shared", "condition mutex"]
        .map(|mode| Program::start_by("c++ -std=c++17", "guard", &format!("{mode} 120")));
    for way in ways("C++") {
        for (mode, length, program) in &programs {
            let error = ring_error(&about(way, DEADLOCK, program), *length);
            assert_eq!(error, None, "{mode} on {way:?}");
        }
        for program in &innocents {
            assert_eq!(about(way, DEADLOCK, program), [], "on {way:?}");
        }
    }
}

#[test]
fn rings_of_inheriting_mutexes_are_found_though_the_kernel_refuses_to_close_them() {
    let rings = [("ring pi", 2), ("ring pi", 5), ("ring pi+robust", 3)];
    check_rings("inheriting", "cc", &rings);
}

#[test]
fn rings_across_processes_and_in_other_pid_namespaces_are_found_whole() {
    let rings = [
        ("processes normal", 2),
        ("processes robust", 3),
        ("processes pi", 3),
        ("processes rwlock", 2),
        ("inner-ring normal", 3),
        ("inner-ring pi", 2),
        ("inner-ring robust", 2),
        ("inner-processes normal", 3),
        ("inner-processes robust", 2),
        // Processes in different namespaces, some of which have the same id there.
        ("half-processes normal", 2),
        ("half-processes robust", 3),
        ("outer-processes normal", 2),
        ("outer-processes robust", 2),
    ];
    check_rings("processes", "cc", &rings);
}

#[test]
fn rings_of_mutexes_of_musl_that_record_an_owner_are_found_whole() {
    if !compiles("musl-gcc") {
        return kfilter_tests::skipped("locks of musl", "musl-gcc is not installed");
    }
    let rings = [
        ("ring recursive", 2),
        ("ring errorcheck", 3),
        ("ring recursive+timed", 2),
        ("ring robust", 2),
        ("ring robust+recursive", 3),
        ("ring pi", 3),
        ("processes recursive", 2),
        ("processes robust", 3),
        ("inner-ring errorcheck", 2),
    ];
    check_rings("musl", "musl-gcc", &rings);
}

#[test]
fn a_thread_that_waits_for_itself_is_a_class_of_its_own() {
    for kind in ["normal", "timed", "adaptive", "robust", "pi"] {
        check_rings("self", "cc", &[(&format!("self {kind}"), 1)]);
    }
    check_rings("self", "cc", &[("handler normal", 1), ("handler robust", 1)]);
}

#[test]
fn a_lock_whose_owner_has_exited_is_abandoned_and_no_deadlock() {
    for what in [
        "abandoned normal",
        "abandoned recursive",
        "abandoned errorcheck",
        "abandoned timed",
        "abandoned rwlock",
        "abandoned pi",
        "abandoned shared",
        "leader normal",
    ] {
        let program = Program::start("lock", &format!("{what} 60"));
        for way in ways("abandoned") {
            assert_eq!(about(way, ABANDONED, &program).len(), 1, "{what} on {way:?}");
            assert_eq!(about(way, DEADLOCK, &program).len(), 0, "{what} on {way:?}");
        }
    }
}

#[test]
fn innocents_never_match() {
    let innocents: Vec<(&str, Program)> = [
        "contend normal 8",
        "contend rwlock 4",
        "contend pi 4",
        "contend robust 4",
        "chain normal 20",
        "chain robust 5",
        "chain pi 5",
        "chain protect 5",
        "pipeline robust 4",
        "outer-pipeline normal 2",
        "outer-pipeline robust 3",
        "half-pipeline normal 5",
        "ordered normal 4",
        "ordered pi 3",
        "ordered robust 3",
        "ordered rwlock 3",
        "backoff normal 4",
        "condition normal 8",
        "condition pi 4",
        "signalled normal 4",
        "self recursive",
        "self errorcheck",
        "self pi+recursive",
        "leader robust",
        // The kernel gives such a lock to the next one.
        "abandoned robust",
        "abandoned pi+robust",
        "corrupt normal 100",
        "inner-contend normal 4",
        "inner-ordered normal 2",
    ]
    .into_iter()
    .map(|args| (args, Program::start("lock", &format!("{args} 300"))))
    .collect();
    for way in ways("innocents") {
        let mut deadlock = way.load(DEADLOCK);
        let mut abandoned = way.load(ABANDONED);
        let rounds = if way == Way::On(HostKind::Vm) { 10 } else { 1000 };
        let families: Vec<(&str, Vec<i64>)> =
            innocents.iter().map(|(args, program)| (*args, program.family())).collect();
        for round in 0..rounds {
            for filter in [&mut deadlock, &mut abandoned] {
                let (records, _) = filter.sweep();
                for record in &records {
                    let pid = number(record, "pid");
                    let named = families.iter().find(|(_, family)| family.contains(&pid));
                    let what = named.map(|(args, _)| args);
                    assert!(what.is_none(), "{way:?}, round {round}: {what:?} {record:#?}");
                }
            }
        }
    }
}
