//! Filters that the kernel sweeps by itself.

use kfilter_loader::pin::PinOptions;
use kfilter_tests::kept::{Kept, params};
use kfilter_tests::program::Program;
use std::collections::BTreeSet;
use std::time::Duration;

/// Nothing in the first one's row needs more of a thread than its memory, so its walk goes through
/// the kernel's lists; the second keeps history, for which only the kernel's iterator will do.
const SOURCE: &str = "
filter plain on thread {
    param one = 0
    param other = 0
    where pid == one or pid == other
    emit tid
}
filter history on thread {
    param one = 0
    param other = 0
    where (pid == one or pid == other) and rate(cpu_time) < 10000%
    emit tid
}";

/// What says which threads the filter finds at a tick to come: the one after `passed` others that
/// have something to tell.
fn follow(kept: &Kept, filter: &'static str) -> impl FnMut(usize) -> BTreeSet<i64> + use<> {
    // Before what a record holds is a word that says what of it is missing.
    let tid = |record: &[u8]| i64::from_le_bytes(record[8..16].try_into().expect("two words"));
    let (_, mut stream) = kept.pins.follow(filter).expect("it is resident");
    move |mut passed| loop {
        stream.wait(None).expect("it can be waited for");
        let Some(batch) = stream.next_batch() else { continue };
        let tids: Vec<i64> = batch.records.iter().map(tid).collect();
        stream.release();
        if passed == 0 {
            let set: BTreeSet<i64> = tids.iter().copied().collect();
            assert_eq!(set.len(), tids.len(), "{filter}: no thread is met twice");
            return set;
        }
        passed -= 1;
    }
}

fn threads(pid: i64) -> BTreeSet<i64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn it_meets_all_threads_once_whichever_way_it_walks() {
    let many = Program::start("hog", "idle 300 60");
    let _between = Program::start("hog", "children 40 60");
    let few = Program::start("hog", "idle 3 60");
    let pids = [many.pid(), few.pid()];
    let [one, other] = pids.map(|pid| pid.to_string());
    let options = PinOptions {
        every: Some(Duration::from_millis(50)),
        params: params(&[("one", &one), ("other", &other)]),
        ..PinOptions::new("")
    };
    let Some(kept) = Kept::load("meets_all", SOURCE, &PinOptions::new("")) else { return };
    let mut expected = threads(pids[0]);
    expected.extend(threads(pids[1]));
    for filter in ["plain", "history"] {
        let options = PinOptions { replace: true, name: filter.to_owned(), ..options.clone() };
        kept.load_again(&options).expect("it was loaded before");
        // The third has notes of the two before to look ahead by.
        assert_eq!(follow(&kept, filter)(2), expected, "{filter}");
    }
}

#[test]
fn it_goes_on_while_threads_come_and_go() {
    let stays = Program::start("hog", "idle 50 60");
    let pid = stays.pid().to_string();
    let options = PinOptions {
        every: Some(Duration::from_millis(20)),
        params: params(&[("one", &pid)]),
        ..PinOptions::new("plain")
    };
    let Some(kept) = Kept::load("come_and_go", SOURCE, &PinOptions::new("")) else { return };
    kept.load_again(&PinOptions { replace: true, ..options }).expect("it was loaded before");
    let expected = threads(stays.pid());
    let mut found = follow(&kept, "plain");
    for round in 0..20 {
        let handles: Vec<_> = (0..50)
            .map(|_| std::thread::spawn(|| std::thread::sleep(Duration::from_millis(5))))
            .collect();
        assert_eq!(found(1), expected, "round {round}");
        let _come = Program::start("hog", "idle 20 60");
        for handle in handles {
            handle.join().expect("it only sleeps");
        }
    }
}

/// Threads that end wherever they stand in their process's list, and others behind them: the walk
/// goes by what it has noted in some sweeps, from there on in others, and by the list in the rest.
#[test]
fn it_meets_those_that_stay_while_others_of_their_process_do_not() {
    let turnover = Program::start("hog", "turnover 12 60");
    let _behind = Program::start("hog", "idle 30 60");
    let pid = turnover.pid().to_string();
    let options = PinOptions {
        every: Some(Duration::from_millis(20)),
        params: params(&[("one", &pid)]),
        ..PinOptions::new("plain")
    };
    let Some(kept) = Kept::load("turnover", SOURCE, &PinOptions::new("")) else { return };
    kept.load_again(&PinOptions { replace: true, ..options }).expect("it was loaded before");
    let mut found = follow(&kept, "plain");
    let mut changed = 0;
    for tick in 0..100 {
        let before = threads(turnover.pid());
        // The first may have begun before; a mistake may show in every other one only.
        let met = found(1 + tick % 2);
        let after = threads(turnover.pid());
        let stayed: BTreeSet<i64> = before.intersection(&after).copied().collect();
        assert!(met.is_superset(&stayed), "tick {tick}: {:?}", stayed.difference(&met));
        let known: BTreeSet<i64> = before.union(&after).copied().collect();
        assert!(met.is_subset(&known), "tick {tick}: {:?}", met.difference(&known));
        changed += usize::from(before != after);
    }
    assert!((10..90).contains(&changed), "some ticks saw changes and some did not: {changed}");
}

/// What is noted of the threads behind stays where it is while there is room, and moves when a
/// quarter of all has become free.
#[test]
fn it_meets_those_behind_a_crowd_that_has_gone() {
    let crowd = Program::start("hog", "idle 4500 60");
    let behind = Program::start("hog", "idle 30 60");
    let pid = behind.pid().to_string();
    let options = PinOptions {
        every: Some(Duration::from_millis(20)),
        params: params(&[("one", &pid)]),
        ..PinOptions::new("plain")
    };
    let Some(kept) = Kept::load("crowd_gone", SOURCE, &PinOptions::new("")) else { return };
    kept.load_again(&PinOptions { replace: true, ..options }).expect("it was loaded before");
    let expected = threads(behind.pid());
    let mut found = follow(&kept, "plain");
    assert_eq!(found(2), expected);
    drop(crowd);
    for tick in 0..6 {
        assert_eq!(found(0), expected, "tick {tick}");
    }
}
