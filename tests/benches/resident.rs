//! What loaded filters cost with ten thousand threads alive: those that the kernel sweeps by
//! itself, and those that are read, beside the same work by hand in C.
//!
//! `cargo bench -p kfilter-tests --bench resident`: root; clang, bpftool and libbpf-dev for C.

use kfilter_loader::pin::PinOptions;
use kfilter_loader::sys::boot_time_ns;
use kfilter_tests::kept::{Kept, params};
use kfilter_tests::program::Program;
use kfilter_tests::run::shipped;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);
/// How long costs are added up.
const WATCHED: Duration = Duration::from_secs(10);
const ROUNDS: usize = 400;
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");

fn main() {
    let _threads = Program::start("hog", "idle 9000 600");
    let _processes = Program::start("hog", "children 900 600");
    let wanted = Program::start("hog", "idle 200 600");
    // In memory of their own: for the owners of locks that processes share there is a second
    // walk, which nobody has written by hand.
    let _two = Program::start("lock", "ring normal 2 600");
    let _five = Program::start("lock", "ring normal 5 600");
    let peers = Peers::made(wanted.pid());
    if let Err(why) = &peers {
        kfilter_tests::skipped("what is written by hand in C", why);
    }
    if let Ok(peers) = &peers {
        reads(wanted.pid(), peers);
    }
    costs(peers.ok());
    latency();
}

/// Loads the filters of a source text.
fn kept(name: &str, source: &str, options: &PinOptions) -> Option<Kept> {
    Kept::load(&format!("bench_{name}"), source, options)
}

/// One open, the reads until the end, and one close.
fn read(path: &Path, buffer: &mut [u8]) -> (Duration, usize) {
    let began = Instant::now();
    let mut file = File::open(path).expect("it is there");
    let mut all = 0;
    loop {
        match file.read(buffer).expect("it can be read") {
            0 => break,
            bytes => all += bytes,
        }
    }
    drop(file);
    (began.elapsed(), all)
}

fn reads(wanted: i64, peers: &Peers) {
    let source = std::fs::read_to_string(format!("{HERE}/read.kf")).expect("it is there");
    let Some(kept) = kept("read", &source, &PinOptions::new("")) else { return };
    let options = PinOptions {
        replace: true,
        params: params(&[("wanted", &wanted.to_string())]),
        ..PinOptions::new("some")
    };
    kept.load_again(&options).expect("it was loaded before");
    println!("one open, read and close of a pinned file, best of {ROUNDS}");
    println!("{:<10} {:>12} {:>12} {:>7} {:>8}", "filter", "compiled", "by hand", "ratio", "bytes");
    let mut buffer = vec![0; 64 << 10];
    for name in ["idle", "some", "deadlock"] {
        let files = [kept.pins.read_path(name), peers.pinned.join(name)];
        let (mut best, mut bytes) = ([Duration::MAX; 2], [0; 2]);
        // In turns, so that a noisy moment does not fall on one alone.
        for _ in 0..ROUNDS {
            for (which, file) in files.iter().enumerate() {
                let (took, all) = read(file, &mut buffer);
                best[which] = best[which].min(took);
                bytes[which] = all;
            }
        }
        let micros = best.map(|best| best.as_secs_f64() * 1e6);
        println!(
            "{name:<10} {:>9.1} us {:>9.1} us {:>7.3} {:>8}",
            micros[0],
            micros[1],
            micros[0] / micros[1],
            bytes[0]
        );
        assert_eq!(bytes[0], bytes[1], "{name}: both have found the same");
    }
}

/// The programs in C: the iterators pinned in one directory, the rest in another.
struct Peers {
    pinned: PathBuf,
    work: PathBuf,
}

impl Peers {
    fn made(wanted: i64) -> Result<Self, String> {
        let id = std::process::id();
        let peers = Self {
            pinned: format!("/sys/fs/bpf/kfilter_peers_{id}").into(),
            work: std::env::temp_dir().join(format!("kfilter-bench-{id}")),
        };
        let made = |error: std::io::Error| error.to_string();
        std::fs::create_dir_all(&peers.work).map_err(made)?;
        std::fs::create_dir_all(&peers.pinned).map_err(made)?;
        let btf = ["btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"];
        std::fs::write(peers.work.join("vmlinux.h"), peers.run("bpftool", &btf)?).map_err(made)?;
        let wanted = format!("-DWANTED={wanted}");
        let machine = if cfg!(target_arch = "x86_64") { "x86" } else { "arm64" };
        let machine = format!("-D__TARGET_ARCH_{machine}");
        for name in ["read", "resident"] {
            let (source, object) = (format!("{HERE}/peer/{name}.bpf.c"), format!("{name}.o"));
            let flags = ["-g", "-O2", "-target", "bpf", "-Wno-missing-declarations", "-I."];
            let more = [&machine, &wanted, "-c", &source, "-o", &object];
            peers.run("clang", &[&flags[..], &more].concat())?;
        }
        peers.run("cc", &["-O2", &format!("{HERE}/peer/run.c"), "-o", "run", "-lbpf"])?;
        peers.run("./run", &["pin", peers.pinned.to_str().unwrap_or_default(), "read.o"])?;
        Ok(peers)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(program).args(args).current_dir(&self.work).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What share of one CPU the walk by hand takes, ten times a second.
    fn resident(&self) -> f64 {
        let seconds = WATCHED.as_secs().to_string();
        let said = self.run("./run", &["resident", &seconds, "resident.o"]).expect("it ticks");
        String::from_utf8_lossy(&said).trim().parse().expect("a number")
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.pinned).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        let _ = std::fs::remove_dir(&self.pinned);
        let _ = std::fs::remove_dir_all(&self.work);
    }
}

/// CPU time of the kernel's workers, by pid.
fn workers() -> HashMap<String, u64> {
    let mut times = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("it is mounted").flatten() {
        let path = entry.path();
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if !comm.starts_with("kworker/") {
            continue;
        }
        let stat = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let time = stat.split(' ').next().and_then(|word| word.parse().ok());
        times.insert(entry.file_name().to_string_lossy().into_owned(), time.unwrap_or(0));
    }
    times
}

/// What share of one CPU the workers take for a while, in which `look` looks now and then.
fn share_of_workers(mut look: impl FnMut()) -> f64 {
    let (before, began) = (workers(), Instant::now());
    while began.elapsed() < WATCHED {
        std::thread::sleep(TICK);
        look();
    }
    let passed = began.elapsed();
    let used = |(pid, time): (String, u64)| time.saturating_sub(*before.get(&pid).unwrap_or(&0));
    let all: u64 = workers().into_iter().map(used).sum();
    Duration::from_nanos(all).as_secs_f64() / passed.as_secs_f64()
}

/// How often the calling thread was switched to and from.
fn switches(thread: &Path) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).expect("it lives");
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

fn costs(peers: Option<Peers>) {
    println!("\nresident, every {TICK:?} for {WATCHED:?}: of one CPU; wake-ups of who waits");
    let without = share_of_workers(|| {});
    println!("workers of the kernel without any filter: {:.3}%", without * 100.0);
    if let Some(peers) = peers {
        println!("idle by hand: sweeps {:.3}%", peers.resident() * 100.0);
    }
    println!(
        "{:<16} {:>8} {:>8} {:>14} {:>9}",
        "filter", "sweeps", "at best", "workers, more", "wake-ups"
    );
    let of_threads = |name: &str, condition: &str| {
        format!("filter {name} on thread {{ where {condition} emit tid }}")
    };
    let filters = [
        ("idle", of_threads("idle", "cpu_time > 10000d")),
        ("rate", of_threads("rate", "rate(cpu_time) > 9000%")),
        ("cpu_hog", shipped("cpu_hog")),
        ("abandoned_mutex", shipped("abandoned_mutex")),
        ("unusual", shipped("unusual")),
    ];
    for (name, source) in filters {
        let options = PinOptions { every: Some(TICK), ..PinOptions::new("") };
        let Some(kept) = kept(name, &source, &options) else { return };
        let meta = kept.pins.show(name).expect("it is loaded");
        let counters = || kept.pins.counters(name, &meta).expect("it is loaded");
        let root = kept.directory(name).parent().expect("a directory of filters").to_owned();
        let (send, receive) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || wait_for_the_end(&root, name, &send));
        let thread = receive.recv().expect("it says who it is");
        std::thread::sleep(Duration::from_secs(1));
        let (before, woken) = (counters().1.expect("resident"), switches(&thread));
        let began = Instant::now();
        let mut best = u64::MAX;
        let workers = share_of_workers(|| best = best.min(counters().0.took_ns));
        let (after, woken) = (counters().1.expect("resident"), switches(&thread) - woken);
        let share = |ns: u64, passed: Duration| ns as f64 / passed.as_nanos() as f64 * 100.0;
        println!(
            "{name:<16} {:>7.3}% {:>7.3}% {:>13.3}% {woken:>9}{}",
            share(after.took_ns - before.took_ns, began.elapsed()),
            share(best, TICK),
            (workers - without) * 100.0,
            if after.emitted > before.emitted { "  something has matched" } else { "" }
        );
        drop(kept);
        waiter.join().expect("it is told of the end");
    }
}

/// Waits for the records of a filter as `kfilter watch` does, until it is unloaded.
fn wait_for_the_end(root: &Path, name: &str, send: &std::sync::mpsc::Sender<PathBuf>) {
    let pins = kfilter_loader::pin::Pins::new(std::rc::Rc::new(kfilter_loader::sys::Kernel), root);
    let (_, mut stream) = pins.follow(name).expect("it is resident");
    let own = std::fs::read_link("/proc/thread-self").expect("it is mounted");
    send.send(Path::new("/proc").join(own)).expect("somebody measures");
    while !stream.has_ended() {
        while stream.next_batch().is_some() {}
        stream.release();
        stream.wait(None).expect("it can be waited for");
    }
}

fn latency() {
    let me = std::process::id();
    let source = format!("filter me on thread {{ where pid == {me} and tid == pid emit pid }}");
    let options = PinOptions { every: Some(TICK), ..PinOptions::new("") };
    let Some(kept) = kept("latency", &source, &options) else { return };
    let (_, mut stream) = kept.pins.follow("me").expect("it is resident");
    let mut late: Vec<u64> = Vec::new();
    while late.len() < 200 {
        stream.wait(None).expect("it can be waited for");
        let Some(batch) = stream.next_batch() else { continue };
        let now = boot_time_ns().cast_unsigned();
        stream.release();
        // The next tick was set when this one came.
        let tick = stream.totals().due_ns.saturating_sub(stream.totals().period_ns);
        assert!(batch.stats.started_ns >= tick, "one batch a tick");
        late.push(now.saturating_sub(tick));
    }
    late.sort_unstable();
    let at = |share: usize| late[(late.len() - 1) * share / 100] as f64 / 1e6;
    println!(
        "\nfrom a tick to its record at the consumer, of {}: median {:.2} ms, 99 in 100 {:.2} ms, worst {:.2} ms",
        late.len(),
        at(50),
        at(99),
        at(100)
    );
}
