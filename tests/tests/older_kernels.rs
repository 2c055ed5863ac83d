//! Filters that stay loaded with the programs for older kernels, on this one.

use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::record::fields;
use kfilter_tests::kept::Kept;
use kfilter_tests::program::Program;

const FILTERS: &str = "filter busy on process {
    let cpu = rate(cpu_time)
    where cpu > 20% emit pid, cpu
}
filter ring on thread { where cycle(waits_for) emit pid, tid, cycle.length }
filter sharing on process { where shm_tmpfs >= 4MiB emit pid, shm_tmpfs, shm_objects }
";

fn keep(test: &str) -> Option<Kept> {
    Kept::load_by(test, FILTERS, &PinOptions::new(""), Pins::load_classic)
}

/// A sweep by a session of its own: the pids of its records, and which sweep it was.
fn sweep(pins: &Pins, name: &str) -> (Vec<i64>, u64) {
    let (meta, mut session) = pins.open(name).expect("it is loaded");
    let sweep = session.sweep().expect("it sweeps");
    let pid = |record: &[u8]| {
        let mut all = fields(&meta.filter.record, record);
        let (_, value) = all.find(|(field, _)| field.name == "pid").expect("it is emitted");
        value.and_then(|value| value.number()).expect("a pid is known")
    };
    (sweep.records.iter().map(pid).collect(), sweep.stats.sweeps)
}

#[test]
fn whoever_may_sweeps_them_and_their_history_goes_on() {
    let Some(kept) = keep("older") else { return };
    let spinner = Program::start("hog", "spin 1 90 300");
    let ring = Program::start("lock", "ring normal 3 300");
    let sharer = Program::start("hog", "shm memfd 4 300");
    let pid = |program: &Program| program.family()[0];
    // The first one has seen nothing before.
    assert_eq!(sweep(&kept.pins, "busy").1, 1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (found, sweeps) = sweep(&kept.pins, "busy");
    assert!(found.contains(&pid(&spinner)), "{found:?}");
    assert_eq!(sweeps, 2);
    let members = |all: Vec<i64>| all.into_iter().filter(|found| *found == pid(&ring)).count();
    assert_eq!(members(sweep(&kept.pins, "ring").0), 3);
    assert!(sweep(&kept.pins, "sharing").0.contains(&pid(&sharer)));
    // A file that others may read would be in the way of a sweep.
    assert!(!kept.pins.read_path("ring").exists());
    assert_eq!(kept.pins.list().expect("a directory"), ["busy", "ring", "sharing"]);
}

#[test]
fn sessions_take_turns() {
    let Some(kept) = keep("turns_of_older") else { return };
    let ring = Program::start("lock", "ring normal 3 300");
    let member = ring.family()[0];
    let root = kept.directory("ring").parent().expect("it has one").to_owned();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let pins = Pins::new(std::rc::Rc::new(kfilter_loader::sys::Kernel), &root);
                for _ in 0..40 {
                    let (found, _) = sweep(&pins, "ring");
                    assert_eq!(found.iter().filter(|pid| **pid == member).count(), 3);
                }
            });
        }
    });
}
