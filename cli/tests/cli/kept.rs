//! Loaded filters when things go wrong: loaders and readers that are killed, a bpffs that is
//! missing, many filters, floods, consumers that never read.

use crate::private::{Private, Running, ends, kill_after};
use crate::support::{NEVER, Scratch, first};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Every thread of the machine matches.
const FLOOD: &str = "filter flood on thread { emit tid, comm }\n";
/// A filter with everything that there is to pin.
const WHOLE: &str =
    "filter whole on process {\n    where rate(cpu_time) >= 0%\n    emit pid, comm\n}\n";

/// From nothing to somewhat more than `whole`, in as many steps, and much more at last.
fn delays(whole: Duration, steps: u32) -> impl Iterator<Item = Duration> {
    let spread = (0..steps).map(move |step| whole * 5 / 4 * step / steps);
    // On a machine that is busy by then it takes longer.
    spread.chain([whole * 20])
}

/// How long it takes.
fn duration(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// Nothing is there but these filters, each whole.
#[track_caller]
fn assert_only(private: &Private, expected: &[&str]) {
    let mut names: Vec<String> =
        private.list().iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    assert_eq!(names, expected);
    let entries = private.names();
    assert!(!entries.iter().any(|name| name.contains('~')), "{entries:?}");
    for name in &names {
        for file in ["meta", "sweep", "bss", "rodata", "read", "text"] {
            let path = format!("kfilter/{name}/{file}");
            assert!(entries.contains(&path), "{path}: {entries:?}");
        }
    }
}

#[test]
fn a_loader_may_be_killed_at_any_moment() {
    let test = "a_loader_may_be_killed_at_any_moment";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let path = scratch.file("whole.kf", WHOLE);
    let keeper = scratch.file("keeper.kf", FLOOD.replace("flood", "keeper"));
    if private.load(test, &["--every", "20ms", &keeper]).is_none() {
        return;
    }
    let whole = duration(|| {
        private.load(test, &["--every", "20ms", &path]).expect("it was possible before");
    });
    private.kfilter(["unload", "whole"]).exits(0);
    let (mut nothing, mut loaded) = (0, 0);
    for (turn, delay) in delays(whole, 60).enumerate() {
        // One may be there already: the replacement is killed as well.
        let args = ["load", "--replace", "--every", "20ms", &path];
        let child = private
            .command(args)
            .stderr(Stdio::null())
            .spawn()
            .map(Running::new)
            .expect("nsenter runs");
        kill_after(child, delay);
        match private.list().iter().filter(|one| one["name"] == "whole").count() {
            0 => nothing += 1,
            1 => {
                loaded += 1;
                let said = private.kfilter(["read", "whole"]);
                assert!(said.status < 2, "{said:#?}");
                assert!(private.ticks("keeper") > 0);
                if turn % 2 == 0 {
                    private.kfilter(["unload", "whole"]).exits(0);
                }
            }
            more => panic!("{more} of one name"),
        }
    }
    assert!(nothing > 0 && loaded > 0, "killed before {nothing} times, after {loaded} times");
    private.kfilter(["load", "--replace", &path]).exits(0);
    assert_only(&private, &["keeper", "whole"]);
    private.kfilter(["unload", "whole", "keeper"]).exits(0);
    assert_eq!(private.names(), Vec::<String>::new());
}

#[test]
fn who_unloads_may_be_killed_at_any_moment_and_who_waits_is_told() {
    let test = "who_unloads_may_be_killed_at_any_moment_and_who_waits_is_told";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let path = scratch.file("never.kf", NEVER);
    if private.load(test, &["--every", "20ms", &path]).is_none() {
        return;
    }
    let whole = duration(|| drop(private.kfilter(["unload", "never"]).exits(0)));
    for delay in delays(whole, 20) {
        if private.load(test, &["--every", "20ms", "--replace", &path]).is_none() {
            return;
        }
        let watch = private
            .command(["watch", "never"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running::new)
            .expect("nsenter runs");
        let unload =
            private.command(["unload", "never"]).spawn().map(Running::new).expect("nsenter runs");
        kill_after(unload, delay);
        if private.list().is_empty() {
            let said = ends(watch, "a watch of an unloaded filter");
            // It may not have begun when the filter went.
            assert!(said.status == 0 || said.stderr.contains("never"), "{said:#?}");
        } else {
            kill_after(watch, Duration::ZERO);
        }
    }
    private.kfilter(["load", "--replace", &path]).exits(0);
    assert_only(&private, &["never"]);
    private.kfilter(["unload", "never"]).exits(0);
    assert_eq!(private.names(), Vec::<String>::new());
}

#[test]
fn a_filter_that_is_removed_by_hand_ends_who_waits_for_it() {
    let test = "a_filter_that_is_removed_by_hand_ends_who_waits_for_it";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let path = scratch.file("never.kf", NEVER);
    for remove in [&["-r", "/sys/fs/bpf/kfilter/never"][..], &["/sys/fs/bpf/kfilter/never/timer"]] {
        if private.load(test, &["--every", "20ms", "--replace", &path]).is_none() {
            return;
        }
        let mut watch = private.command(["watch", "never"]);
        let watch = watch
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running::new)
            .expect("it runs");
        asleep(watch.id());
        let removed = private.inside("rm", remove).status().expect("rm runs");
        assert!(removed.success());
        // Of a filter without its timer there is nothing to wait for any more.
        let said = ends(watch, "a watch of a removed filter");
        assert!(said.stderr.contains("never"), "{said:#?}");
    }
}

/// Waits until the program sleeps in epoll_wait(2), so that nothing is left to be done.
fn asleep(pid: u32) {
    let began = Instant::now();
    loop {
        let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        if place.contains("ep_poll") || place.contains("epoll") {
            return;
        }
        // Where the kernel does not say, time must do.
        if began.elapsed() > Duration::from_secs(if place.len() > 1 { 20 } else { 2 }) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How often the program's only thread has been switched to and from.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.map(|(_, count)| count.trim().parse::<u64>().expect("a number")).sum()
}

#[test]
fn nobody_wakes_while_nothing_matches() {
    let test = "nobody_wakes_while_nothing_matches";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    // Not even a process that is just about to begin or to end.
    let text = "filter never on process {\n    where threads > 1000000000\n    emit pid\n}\n";
    let path = scratch.file("never.kf", text);
    if private.load(test, &["--every", "10ms", &path]).is_none() {
        return;
    }
    let watch =
        private.command(["watch", "never"]).spawn().map(Running::new).expect("nsenter runs");
    asleep(watch.id());
    let (ticks, before) = (private.ticks("never"), switches(watch.id()));
    while private.ticks("never") < ticks + 100 {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(switches(watch.id()), before, "in 100 ticks");
    kill_after(watch, Duration::ZERO);
}

#[test]
fn readers_may_be_killed_at_any_moment() {
    let test = "readers_may_be_killed_at_any_moment";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let flood = scratch.file("flood.kf", FLOOD);
    if private.load(test, &["--every", "5ms", &flood]).is_none() {
        return;
    }
    let commands: [&[&str]; 4] = [
        &["watch", "--format", "json", "flood"],
        &["watch", "--every", "1ms", &flood],
        &["run", "--every", "1ms", &flood],
        &["read", "flood"],
    ];
    let whole = duration(|| drop(private.kfilter(["run", "--count", "1", &flood]).exits(0)));
    for delay in delays(whole, 15) {
        for args in commands {
            let mut child = private
                .command(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map(Running::new)
                .expect("nsenter runs");
            // It writes into a pipe that somebody reads.
            let mut stdout = child.stdout.take().expect("a pipe");
            let reader = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
            kill_after(child, delay);
            reader.join().expect("it ends").expect("a pipe can be read");
        }
    }
    // It goes on, and has no reader any more.
    let ticks = private.ticks("flood");
    let said = private.kfilter(["watch", "--count", "3", "--format", "json", "flood"]).exits(0);
    assert!(said.stdout.lines().count() > 3, "{said:#?}");
    assert!(private.ticks("flood") >= ticks);
    private.kfilter(["read", "flood"]).exits(0);
    assert_only(&private, &["flood"]);
    private.kfilter(["unload", "flood"]).exits(0);
    assert_eq!(private.names(), Vec::<String>::new());
}

#[test]
fn what_nobody_reads_is_counted_and_told() {
    let test = "what_nobody_reads_is_counted_and_told";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    // So wide that the buffer is full after a few sweeps, on the smallest machine too.
    let text = "filter flood on mapping { emit pid, address, size, comm, object.name }\n";
    let flood = scratch.file("flood.kf", text);
    if private.load(test, &["--every", "2ms", &flood]).is_none() {
        return;
    }
    let lost = || private.list()[0]["lost"].as_u64().expect("it is counted");
    let began = Instant::now();
    while lost() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the buffer never fills");
        std::thread::sleep(Duration::from_millis(20));
    }
    let shown = private.kfilter(["show", "flood"]).exits(0).stdout;
    let ticks = shown.lines().find(|line| line.starts_with("ticks ")).expect("it ticks");
    assert!(ticks.ends_with(" lost") && !ticks.ends_with(" 0 lost"), "{shown}");
    let table = private.kfilter(["list"]).exits(0).stdout;
    assert!(table.lines().next().is_some_and(|line| line.contains("LOST")), "{table}");
    // Who reads at last is told, and gets what is there and what comes.
    let said = private.kfilter(["watch", "--count", "20", "--format", "json", "flood"]).exits(0);
    assert!(said.stderr.contains("records were lost: they were not read in time"), "{said:#?}");
    assert!(said.stdout.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    assert!(said.stdout.lines().count() > 20);
    private.kfilter(["unload", "flood"]).exits(0);
}

#[test]
fn a_watch_ends_when_nobody_reads_what_it_writes() {
    let test = "a_watch_ends_when_nobody_reads_what_it_writes";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let (never, flood) = (scratch.file("never.kf", NEVER), scratch.file("flood.kf", FLOOD));
    if private.load(test, &["--every", "20ms", &never, &flood]).is_none() {
        return;
    }
    for (name, reads) in [("never", false), ("flood", true)] {
        let mut watch = private
            .command(["watch", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Running::new)
            .expect("nsenter runs");
        let mut stdout = BufReader::new(watch.stdout.take().expect("a pipe"));
        if reads {
            stdout.read_line(&mut String::new()).expect("a line");
        } else {
            asleep(watch.id());
        }
        drop(stdout);
        let said = ends(watch, "a watch without a reader");
        assert_eq!(said.status, 0, "{name}: {said:#?}");
    }
}

#[test]
fn a_hundred_filters_are_loaded_at_once() {
    let test = "a_hundred_filters_are_loaded_at_once";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let text: String = (0..50).map(|n| first().replace("first", &format!("f{n}"))).collect();
    let read = scratch.file("read.kf", &text);
    let resident = scratch.file("resident.kf", text.replace("filter f", "filter r"));
    if private.load(test, &[&read]).is_none() {
        return;
    }
    private.load(test, &["--every", "100ms", &resident]).expect("it was possible before");
    let names: Vec<String> = (0..50).flat_map(|n| [format!("f{n}"), format!("r{n}")]).collect();
    assert_eq!(private.list().len(), 100);
    for name in &names {
        private.kfilter(["read", name]).exits(0);
    }
    let me = std::process::id().to_string();
    let all =
        private.inside("sh", ["-c", "cat /sys/fs/bpf/kfilter/*/text"]).output().expect("cat runs");
    let text = String::from_utf8_lossy(&all.stdout);
    let found = text.lines().filter(|line| line.split_whitespace().next() == Some(&me)).count();
    assert_eq!(found, 100, "{text}");
    for n in 0..50 {
        assert!(private.ticks(&format!("r{n}")) > 0, "r{n}");
    }
    private.kfilter(["unload", "--all"]).exits(0);
    assert_eq!(private.names(), Vec::<String>::new());
}

#[test]
fn a_missing_or_read_only_bpffs_is_named_with_the_way_out() {
    let test = "a_missing_or_read_only_bpffs_is_named_with_the_way_out";
    let scratch = Scratch::new();
    let path = scratch.file("never.kf", NEVER);
    let usual = Private::with_bpffs(test);
    let Some(usual) = usual.filter(|usual| usual.load(test, &[&path]).is_some()) else { return };
    usual.kfilter(["unload", "never"]).exits(0);
    for (mount, words) in [
        ("umount -l /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"),
        ("mount -t tmpfs tmpfs /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"),
        ("mount -t tmpfs tmpfs /sys/fs", "mount -t bpf bpf /sys/fs/bpf"),
        ("mount -t bpf -o ro bpf /sys/fs/bpf", "mount -o remount,rw /sys/fs/bpf"),
    ] {
        let Some(private) = Private::new(test, mount) else { continue };
        for more in [&[][..], &["--every", "1s"]] {
            let said = private.kfilter(["load", &path].iter().chain(more)).exits(3);
            assert!(said.stderr.contains(words), "{mount}: {said:#?}");
        }
        let said = private.kfilter(["list"]).exits(0);
        assert_eq!(said.stdout, "", "{mount}: {said:#?}");
        private.kfilter(["unload", "never"]).exits(2);
        private.kfilter(["watch", "--count", "1", "never"]).exits(2);
        let left = private.names();
        assert!(!left.iter().any(|name| name.contains("kfilter")), "{mount}: {left:?}");
    }
}

/// A limit on open files lets a load fail at one place after the other.
#[test]
fn a_load_that_runs_out_of_anything_leaves_nothing() {
    let test = "a_load_that_runs_out_of_anything_leaves_nothing";
    let Some(private) = Private::with_bpffs(test) else { return };
    let scratch = Scratch::new();
    let path = scratch.file("whole.kf", WHOLE);
    if private.load(test, &["--every", "1s", &path]).is_none() {
        return;
    }
    private.kfilter(["unload", "whole"]).exits(0);
    assert_eq!(private.names(), Vec::<String>::new());
    let mut failures = 0;
    for files in 3..64 {
        let script = format!("ulimit -n {files}; exec \"$0\" load --every 1s {path}");
        let said = private.inside("sh", ["-c", &script, env!("CARGO_BIN_EXE_kfilter")]).output();
        let said = said.expect("sh runs");
        let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
        if said.status.success() {
            private.kfilter(["unload", "whole"]).exits(0);
        } else {
            failures += 1;
            assert!(!stderr.is_empty() && !stderr.contains("panicked"), "{files}: {stderr}");
            assert_eq!(private.names(), Vec::<String>::new(), "{files}: {stderr}");
        }
        // Once it had enough, more do no harm.
        if said.status.success() && files > 40 {
            break;
        }
    }
    assert!(failures > 5, "{failures}");
}
