//! Filters that stay loaded with the programs for older kernels, on this one.

use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::record::fields;
use kfilter_loader::{LoadError, Session as _};
use kfilter_tests::kept::{Kept, as_nobody};
use kfilter_tests::program::Program;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

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

/// A sweep by a session of its own: the pids of its records, and which sweep it was; waits
/// until nobody else sweeps.
fn sweep(pins: &Pins, name: &str) -> (Vec<i64>, u64) {
    let (meta, mut session) = pins.open(name).expect("it is loaded");
    let sweep = loop {
        match session.sweep() {
            Err(LoadError::Busy { .. }) => {}
            other => break other.unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    };
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
    std::thread::sleep(Duration::from_millis(200));
    let (found, sweeps) = sweep(&kept.pins, "busy");
    assert!(found.contains(&pid(&spinner)), "{found:?}");
    assert_eq!(sweeps, 2);
    let members = |all: Vec<i64>| all.into_iter().filter(|found| *found == pid(&ring)).count();
    assert_eq!(members(sweep(&kept.pins, "ring").0), 3);
    assert!(sweep(&kept.pins, "sharing").0.contains(&pid(&sharer)));
    // A sweep that takes several readings has no file that others might read meanwhile.
    for (name, is_one) in [("busy", true), ("ring", false), ("sharing", false)] {
        assert_eq!(kept.pins.read_path(name).exists(), is_one, "{name}");
    }
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

const OPEN: &str = "filter own on process { where pid in (PIDS) emit pid, comm, start_time }
filter files on file { where pid in (PIDS) emit pid, fd, kind }
filter maps on mapping { where pid in (PIDS) emit pid, address, size }
filter many on file { where pid in (PIDS) group by pid emit pid, count() as files }
";

/// The same filters with files for everybody, about a program that has 3 threads and 50 files.
fn keep_open(test: &str) -> Option<(Kept, Program)> {
    let program = Program::start("hog", "files pipe 50 400 300");
    let source = OPEN.replace("PIDS", &program.family()[0].to_string());
    let options = PinOptions { mode: 0o644, ..PinOptions::new("") };
    Kept::load_by(test, &source, &options, Pins::load_classic).map(|kept| (kept, program))
}

#[test]
fn their_files_are_for_everybody_who_may_read_them() {
    let Some((kept, program)) = keep_open("open_older") else { return };
    for (name, least) in [("own", 1), ("files", 50), ("maps", 3), ("many", 1)] {
        let sweep = kept.file_session(name).sweep().expect("it sweeps");
        assert!(sweep.records.len() >= least, "{name}: {} records", sweep.records.len());
        assert_eq!(sweep.stats.matched, sweep.records.len() as u64, "{name}");
        let path = kept.pins.text_path(name);
        let path = path.to_str().expect("it is ASCII");
        let Some(output) = as_nobody("open_older", "cat", &[path]) else { return };
        let text = String::from_utf8(output.stdout).expect("ASCII");
        let pid = program.family()[0].to_string();
        let words = |line: &str| line.split_whitespace().next().map(str::to_owned);
        let first: Vec<String> = text.lines().filter_map(words).collect();
        assert_eq!(first.first().map(String::as_str), Some("PID"), "{name}: {text}");
        assert_eq!(first.iter().filter(|word| **word == pid).count(), sweep.records.len());
        assert_eq!(first.len(), 1 + sweep.records.len(), "{name}: {text}");
        // Addresses are for those who may trace the kernel.
        if name == "maps" {
            let hidden = |line: &str| line.split_whitespace().nth(1) == Some("-");
            assert!(text.lines().skip(1).all(hidden), "{text}");
            let mine = std::fs::read_to_string(path).expect("it can be read");
            assert!(mine.lines().skip(1).all(|line| line.contains("0x")), "{mine}");
        }
    }
}

#[test]
fn who_reads_a_byte_at_a_time_gets_the_same() {
    let Some((kept, _program)) = keep_open("bytes_of_older") else { return };
    for name in ["files", "many"] {
        let path = kept.pins.text_path(name);
        let mut slow = Vec::new();
        let mut file = File::open(&path).expect("it is there");
        let mut byte = [0];
        while file.read(&mut byte).expect("it can be read") == 1 {
            slow.push(byte[0]);
        }
        assert_eq!(slow, std::fs::read(&path).expect("it can be read"), "{name}");
    }
}

#[test]
fn readers_at_the_same_time_get_all_or_learn_that_they_got_nothing() {
    let Some((kept, _program)) = keep_open("crowd_of_older") else { return };
    let all = kept.file_session("files").sweep().expect("it sweeps").records.len();
    let session = kept.file_session("files");
    let read = || {
        let (mut session, mut answered) = (session.clone(), 0);
        for _ in 0..50 {
            match session.sweep() {
                Ok(sweep) => {
                    assert_eq!(sweep.records.len(), all);
                    answered += 1;
                }
                Err(error) => assert!(matches!(error, LoadError::Busy { .. }), "{error}"),
            }
        }
        answered
    };
    let answered: usize = std::thread::scope(|scope| {
        let readers = [(); 3].map(|()| scope.spawn(read));
        readers.into_iter().map(|reader| reader.join().expect("it does not panic")).sum()
    });
    assert!(answered >= 50, "{answered} of 150");
}

#[test]
fn a_reader_that_ends_half_way_is_waited_for_and_then_forgotten() {
    let Some((kept, _program)) = keep_open("half_older") else { return };
    let path = kept.pins.read_path("files");
    let mut half = File::open(&path).expect("it is there");
    assert_eq!(half.read(&mut [0]).expect("it can be read"), 1);
    assert!(std::fs::read(&path).expect("it can be read").is_empty(), "it is another one's");
    std::thread::sleep(Duration::from_millis(5100));
    assert!(kept.file_session("files").sweep().expect("it sweeps").records.len() >= 50);
    // What it goes on with has no end, so that nobody takes it for an answer.
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).expect("it can be read");
    let record = kept.object.filter("files").expect("it is loaded").record.size as usize;
    assert!(rest.len() < 50 * record, "{} bytes more", rest.len());
}
