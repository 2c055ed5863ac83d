//! The files of loaded filters from the side of who reads them.

use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::record::{Value, fields};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{LoadError, Session as _};
use kfilter_tests::kept::{Kept, params};
use kfilter_tests::program::Program;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

/// Most bytes of one read: what the kernel's buffer holds.
const READ_BYTES_MAX: usize = 32 << 10;

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads the file with read(2) calls of a single byte.
fn read_by_the_byte(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).expect("it is there");
    let (mut all, mut byte) = (Vec::new(), [0]);
    while file.read(&mut byte).expect("it can be read") == 1 {
        all.push(byte[0]);
    }
    all
}

#[test]
fn who_reads_a_byte_at_a_time_gets_the_same_bytes() {
    let me = std::process::id();
    let source = format!(
        "filter me on process {{ where pid == {me} emit pid, uid, comm, start_time }}\n\
         filter all on process {{ where pid == {me} group by pid emit pid, count() as n }}\n"
    );
    let options = PinOptions::new("");
    let Some(kept) = Kept::load("by_the_byte", &source, &options) else { return };
    for name in ["me", "all"] {
        let text = kept.pins.text_path(name);
        let lines = read_by_the_byte(&text);
        assert_eq!(lines, read(&text), "{name}");
        let text = String::from_utf8(lines).expect("ASCII");
        let words: Vec<&str> = text.lines().map(|l| l.split_whitespace().next().unwrap()).collect();
        assert_eq!(words, ["PID", &me.to_string()], "{text}");
        // The end holds the sweep's time; all before it is the same.
        let (slow, fast) =
            (read_by_the_byte(&kept.pins.read_path(name)), read(&kept.pins.read_path(name)));
        assert_eq!(slow.len(), fast.len());
        let record = kept.object.filter(name).expect("it is loaded").record.size as usize;
        assert_eq!(slow[..record], fast[..record], "{name}");
        let sweep = kept.file_session(name).sweep().expect("it sweeps");
        assert_eq!((sweep.records.len(), sweep.stats.matched), (1, 1));
    }
}

#[test]
fn a_flood_fills_the_buffer_and_the_rest_is_counted() {
    let source = "filter wide on mapping { emit pid, comm, comm as c2, address, size, object.name, \
                  object.name as n2, object, object.kind, permissions, uid, gid, ppid }\n\
                  filter crowd on mapping { group by pid, address, object emit pid, comm, address, object, \
                  object.name, count() as n }\n";
    let Some(kept) = Kept::load("flood", source, &PinOptions::new("")) else { return };
    // However few programs this machine runs, their mappings are more than the buffer holds.
    let _crowd = Program::start("crowd", "mappings 2000 120");
    for name in ["wide", "crowd"] {
        let record = kept.object.filter(name).expect("it is loaded").record.size as usize;
        let sweep = kept.file_session(name).sweep().expect("a flood is no failure");
        let (count, stats) = (sweep.records.len(), sweep.stats);
        assert!(stats.matched > count as u64, "{name}: a mapping for each record: {stats:?}");
        assert_eq!(stats.matched, count as u64 + stats.dropped, "{name}: {stats:?}");
        assert!(count * record > READ_BYTES_MAX - 500, "{name}: the buffer is used: {count}");
        let text = String::from_utf8(read(&kept.pins.text_path(name))).expect("ASCII");
        assert!(
            text.len() < READ_BYTES_MAX && text.len() > READ_BYTES_MAX - 1000,
            "{}",
            text.len()
        );
        let last = text.lines().last().expect("a line");
        assert!(last.starts_with("# ") && last.ends_with(" more found no room"), "{last}");
        assert!(text.ends_with('\n'), "no line is cut");
    }
}

/// The cells of a line; two blanks or more stand between them.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn no_name_writes_to_the_terminal_or_forges_a_line() {
    let program = Program::start("odd_name", "");
    let source =
        format!("filter odd on process {{ where pid == {} emit pid, comm }}", program.pid());
    let Some(kept) = Kept::load("odd_name", &source, &PinOptions::new("")) else { return };
    let bytes = read(&kept.pins.text_path("odd"));
    let is_shown = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\n';
    assert!(bytes.iter().all(is_shown), "{bytes:?}");
    let text = String::from_utf8(bytes).expect("ASCII");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(cells(lines[1])[1], r"\x1b[31m\x0aa\\b\xc5\xbe\xff", "{text}");
}

#[test]
fn readers_at_the_same_time_get_all_or_learn_that_they_got_nothing() {
    let source = "filter all on thread { emit tid, comm }\n";
    let Some(kept) = Kept::load("together", source, &PinOptions::new("")) else { return };
    let path = kept.pins.read_path("all");
    let record = kept.object.filter("all").expect("it is loaded").record.size as usize;
    let complete: usize = std::thread::scope(|scope| {
        let reader = || {
            let mut complete = 0;
            for _ in 0..300 {
                let bytes = read(&path);
                if bytes.is_empty() {
                    continue;
                }
                let records = bytes.len().checked_sub(kernel_vm::abi::SWEEP_END_BYTES);
                assert_eq!(records.expect("an end") % record, 0, "no part of a record");
                complete += 1;
            }
            complete
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().map(|reader| reader.join().expect("it ends")).sum()
    });
    assert!(complete > 0, "nobody has got an answer");
    kept.file_session("all").sweep().expect("it is not left busy");
}

#[test]
fn sweeps_at_the_same_time_take_no_record_from_each_other() {
    let source = "filter all on thread { emit tid, comm }\n";
    let Some(kept) = Kept::load("turns", source, &PinOptions::new("")) else { return };
    let root = kept.directory("all").parent().expect("a directory of filters").to_owned();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let pins = Pins::new(Rc::new(Kernel), &root);
                let (_, mut session) = pins.open("all").expect("it is loaded");
                for _ in 0..200 {
                    let sweep = session.sweep().expect("it has its turn");
                    let all = sweep.records.len() as u64 + sweep.stats.dropped;
                    assert_eq!(all, sweep.stats.matched, "{:?}", sweep.stats);
                }
            });
        }
    });
}

#[test]
fn a_reader_that_ends_half_way_leaves_nothing_behind() {
    let source = "filter all on thread { emit tid, comm }\n";
    let Some(kept) = Kept::load("half_way", source, &PinOptions::new("")) else { return };
    for _ in 0..50 {
        let mut file = File::open(kept.pins.read_path("all")).expect("it is there");
        file.read_exact(&mut [0; 10]).expect("there are threads");
        drop(file);
        // One that opens and never reads.
        drop(File::open(kept.pins.text_path("all")).expect("it is there"));
    }
    let idle = File::open(kept.pins.read_path("all")).expect("it is there");
    let sweep = kept.file_session("all").sweep().expect("nobody is in its way");
    assert!(!sweep.records.is_empty());
    drop(idle);
}

#[test]
fn a_filter_that_sweeps_by_itself_is_read_as_well() {
    let me = std::process::id();
    let source = format!("filter me on process {{ where pid == {me} emit pid, comm }}\n");
    let every = Some(std::time::Duration::from_secs(600));
    let options = PinOptions { every, ..PinOptions::new("") };
    let Some(kept) = Kept::load("ticking_read", &source, &options) else { return };
    let (meta, mut session) = kept.pins.open("me").expect("it is loaded");
    let sweep = session.sweep().expect("it sweeps between its ticks");
    let pids: BTreeSet<i64> = sweep
        .records
        .iter()
        .filter_map(|record| fields(&meta.filter.record, record).next()?.1)
        .filter_map(|value| if let Value::Int(pid, _) = value { Some(pid) } else { None })
        .collect();
    assert_eq!(pids, BTreeSet::from([i64::from(me)]));
}

#[test]
fn the_files_of_a_replaced_filter_speak_of_the_new_one() {
    let me = std::process::id().to_string();
    let source = "filter one on process { param wanted = 0 where pid == wanted emit pid }\n";
    let Some(kept) = Kept::load("replaced", source, &PinOptions::new("")) else { return };
    let count = || kept.file_session("one").sweep().expect("it sweeps").records.len();
    assert_eq!(count(), 0);
    // Who has the old file open reads on with the old one.
    let mut old = File::open(kept.pins.text_path("one")).expect("it is there");
    let options =
        PinOptions { replace: true, params: params(&[("wanted", &me)]), ..PinOptions::new("one") };
    kept.load_again(&options).expect("it takes its place");
    assert_eq!(count(), 1);
    let mut text = String::new();
    old.read_to_string(&mut text).expect("it was open");
    assert_eq!(text, "");
    let again = kept.load_again(&PinOptions::new("one")).expect_err("it is loaded");
    assert!(matches!(again, LoadError::AlreadyLoaded { .. }), "{again}");
}
