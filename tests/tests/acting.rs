//! Filters that act from the kernel, on processes of the test's own.

use kernel_vm::abi::{ACT_SLOT_BYTES, ACT_SLOTS, ActOutcome};
use kfilter_loader::host::bpf::{Stream, system_values};
use kfilter_loader::limit::Rails;
use kfilter_loader::pin::{PinOptions, Pins};
use kfilter_loader::record::fields;
use kfilter_loader::sys::{Call, Kernel, Sys as _};
use kfilter_loader::{ErrorClass, Object, Request};
use kfilter_tests::kept::Kept;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A process that is ours to end, and ends with the test.
struct Victim {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Victim {
    /// Runs a shell's `script`, which says READY.
    fn start(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut victim = Self { out: BufReader::new(child.stdout.take().expect("a pipe")), child };
        assert_eq!(victim.line(), "READY\n");
        victim
    }

    fn sleeping() -> Self {
        Self::start("echo READY; exec sleep 600")
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("text");
        line
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    fn ends_within(&mut self, time: Duration) -> ExitStatus {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A filter on these processes with this ladder.
fn filter(victims: &[&Victim], ladder: &str) -> String {
    let mut condition = String::from("pid == 0");
    for victim in victims {
        let _ = write!(condition, " or pid == {}", victim.id());
    }
    format!("filter acts on process {{ where {condition} emit pid, comm limit {{ {ladder} }} }}\n")
}

/// To tick so often and act.
fn acting(every: Duration, protect: &[&str]) -> PinOptions {
    let protect = protect.iter().map(|&name| name.to_owned()).collect();
    PinOptions {
        every: Some(every),
        acting: Some(Rails::for_this_process(protect)),
        ..PinOptions::new("acts")
    }
}

const TICK: Duration = Duration::from_millis(20);

/// What became of which rung of which process, of all that was written until now.
fn marks(stream: &mut Stream) -> Vec<(u32, u32, ActOutcome)> {
    let mut all = Vec::new();
    while let Some(batch) = stream.next_batch() {
        for (index, mark) in &batch.acts {
            let record = batch.records.iter().nth(*index).expect("the evidence comes first");
            let mut named = fields(&stream.filter().record, record);
            let (_, pid) = named.find(|(field, _)| field.name == "pid").expect("it is emitted");
            let pid = pid.and_then(|pid| pid.number()).expect("it is known");
            let outcome = ActOutcome::from_number(mark.outcome).expect("it is one");
            all.push((u32::try_from(pid).expect("a pid"), mark.rung, outcome));
        }
        stream.release();
    }
    all
}

/// Waits until there are as many marks as `wanted`.
fn wait_for(stream: &mut Stream, wanted: usize) -> Vec<(u32, u32, ActOutcome)> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut all = marks(stream);
    while all.len() < wanted {
        assert!(Instant::now() < deadline, "{all:?}");
        std::thread::sleep(Duration::from_millis(5));
        all.extend(marks(stream));
    }
    all
}

#[test]
fn a_spinner_is_asked_to_end_then_ended_and_its_neighbour_left_alone() {
    let script = "trap 'echo TERM' TERM; echo READY; while :; do :; done";
    let (mut spinner, mut neighbour) = (Victim::start(script), Victim::start(script));
    let ladder = "after 0s nice 7 after 200ms term after 400ms kill";
    let source = filter(&[&spinner], ladder);
    let Some(kept) = Kept::load("acts_ladder", &source, &acting(TICK, &[])) else { return };
    let loaded = Instant::now();
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    assert_eq!(spinner.line(), "TERM\n");
    assert!(loaded.elapsed() > Duration::from_millis(150), "{:?}", loaded.elapsed());
    // The second act waits for the budget, and that is said once.
    let found = wait_for(&mut stream, 2);
    let id = spinner.id();
    assert_eq!(found, [(id, 1, ActOutcome::Acts), (id, 2, ActOutcome::Spent)]);
    assert_eq!(wait_for(&mut stream, 1), [(id, 2, ActOutcome::Acts)]);
    let status = spinner.ends_within(Duration::from_secs(10));
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(loaded.elapsed() > Duration::from_secs(15), "{:?}", loaded.elapsed());
    assert!(neighbour.lives(), "nobody has asked for its end");
    let counts = kept.pins.acts("acts").expect("it is loaded").expect("it acts");
    assert_eq!((counts.sent, counts.failed, counts.withdrawn, counts.silent), (2, 0, 0, 0));
}

#[test]
fn without_the_option_nothing_is_signalled() {
    let mut victim = Victim::sleeping();
    let source = filter(&[&victim], "after 0s term after 0s kill");
    let options = PinOptions { acting: None, ..acting(TICK, &[]) };
    let Some(kept) = Kept::load("acts_not", &source, &options) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(marks(&mut stream), []);
    assert!(stream.totals().emitted > 5, "it matches");
    assert!(victim.lives());
    assert_eq!(kept.pins.acts("acts").expect("it is loaded"), None);
}

#[test]
fn rails_hold() {
    let mut guarded = Victim::sleeping();
    let me = std::process::id();
    let source = format!(
        "filter acts on process {{ where pid in (1, 2, {me}, {}) emit pid, comm \
         limit {{ after 0s term after 0s kill }} }}\n",
        guarded.id()
    );
    let options = acting(TICK, &["nobody", "sle*"]);
    let Some(kept) = Kept::load("acts_rails", &source, &options) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    let mut found = wait_for(&mut stream, 6);
    std::thread::sleep(Duration::from_millis(200));
    found.extend(marks(&mut stream));
    // Not every machine shows its first process to programs.
    let (first, mut found): (Vec<_>, Vec<_>) = found.into_iter().partition(|mark| mark.0 == 1);
    assert!(first.iter().all(|mark| mark.2 == ActOutcome::Init), "{first:?}");
    found.sort_by_key(|&(pid, rung, _)| (rung, pid));
    let mut expected = Vec::new();
    for rung in 0..2 {
        expected.push((2, rung, ActOutcome::KernelThread));
        expected.push((me, rung, ActOutcome::Own));
        expected.push((guarded.id(), rung, ActOutcome::Protected));
    }
    expected.sort_by_key(|&(pid, rung, _)| (rung, pid));
    assert_eq!(found, expected);
    assert!(guarded.lives());
    let counts = kept.pins.acts("acts").expect("it is loaded").expect("it acts");
    assert_eq!((counts.sent, counts.refused), (0, 6 + first.len() as u64));
}

/// The last acts that the budget goes by, written as if they had been so long ago.
fn pretend(kept: &Kept, granted_ago: [Option<Duration>; ACT_SLOTS]) {
    let path = kept.directory("acts").join("acts");
    let map = Kernel.bpf_fd(Call::Get { path: &path, read_only: false }).expect("it is pinned");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("procfs");
    let uptime: f64 = uptime.split(' ').next().expect("a word").parse().expect("seconds");
    for (slot, ago) in (0_u32..).zip(granted_ago) {
        let granted = ago.map_or(0.0, |ago| (uptime - ago.as_secs_f64()) * 1e9) as u64;
        let mut value = [0; ACT_SLOT_BYTES];
        let (map, key) = (map.as_fd(), slot.to_ne_bytes());
        let lookup = Call::MapLookup { map, key: &key, value: &mut value };
        Kernel.bpf(lookup).expect("it is an array");
        value[16..24].copy_from_slice(&granted.to_ne_bytes());
        Kernel.bpf(Call::MapUpdate { map, key: &key, value: &value }).expect("it is an array");
    }
}

#[test]
fn the_budget_holds_and_outlives_the_filter() {
    let mut victims = [Victim::sleeping(), Victim::sleeping(), Victim::sleeping()];
    let source = filter(&victims.each_ref(), "after 0s term");
    let Some(kept) = Kept::load("acts_budget", &source, &acting(TICK, &[])) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    let outcomes: Vec<ActOutcome> =
        wait_for(&mut stream, 3).into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(outcomes.iter().filter(|&&one| one == ActOutcome::Acts).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|&&one| one == ActOutcome::Spent).count(), 2);
    let mut left = |expected: usize| {
        std::thread::sleep(Duration::from_millis(600));
        let left = victims.iter_mut().filter_map(|one| one.lives().then_some(())).count();
        assert_eq!(left, expected);
    };
    left(2);
    // Another version of the filter has the same budget.
    let again = PinOptions { replace: true, ..acting(TICK, &[]) };
    kept.load_again(&again).expect("it takes its place");
    left(2);
    // Three acts in ten minutes, however far apart.
    let seconds = |ago| Some(Duration::from_secs(ago));
    pretend(&kept, [seconds(16), seconds(17), seconds(18)]);
    left(2);
    pretend(&kept, [seconds(16), None, seconds(18)]);
    left(1);
    left(1);
}

/// A filter whose records are as large as can be, and whose buffer kernel threads fill: nothing is
/// ever done to them.
fn flooding(victims: &[&Victim], ladder: &str) -> String {
    let names: String = ('a'..='r').fold(String::new(), |mut all, name| {
        let _ = write!(all, ", comm as comm_{name}");
        all
    });
    filter(victims, ladder).replace("where", "where kernel_thread or").replace(", comm", &names)
}

/// Waits until the buffer is full; false when there are too few kernel threads for that.
fn is_full(stream: &Stream) -> bool {
    std::thread::sleep(Duration::from_secs(1));
    stream.totals().lost > 0
}

#[test]
fn the_evidence_has_room_when_nobody_reads() {
    let mut victim = Victim::sleeping();
    let source = flooding(&[&victim], "after 2s term");
    let every = Duration::from_millis(1);
    let Some(kept) = Kept::load("acts_flood", &source, &acting(every, &[])) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    if !is_full(&stream) {
        return kfilter_tests::skipped("acts_flood", "there are too few kernel threads");
    }
    assert!(victim.lives());
    let status = victim.ends_within(Duration::from_secs(30));
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
    assert!(marks(&mut stream).contains(&(victim.id(), 0, ActOutcome::Acts)), "it was read later");
}

#[test]
fn without_room_for_its_evidence_no_act_is_done() {
    let mut victims: Vec<Victim> = (0..60).map(|_| Victim::sleeping()).collect();
    let all: Vec<&Victim> = victims.iter().collect();
    let source = flooding(&all, "after 2s term");
    let every = Duration::from_millis(2);
    let Some(kept) = Kept::load("acts_full", &source, &acting(every, &[])) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    if !is_full(&stream) {
        return kfilter_tests::skipped("acts_full", "there are too few kernel threads");
    }
    let counts = || kept.pins.acts("acts").expect("it is loaded").expect("it acts");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut sent = 0;
    while counts().silent == 0 {
        assert!(Instant::now() < deadline, "{:?}", counts());
        sent += counts().sent;
        pretend(&kept, [None; ACT_SLOTS]);
        std::thread::sleep(every);
    }
    // The budget does not hold anybody back now: that nobody would see it does.
    pretend(&kept, [None; ACT_SLOTS]);
    std::thread::sleep(Duration::from_millis(200));
    let left = victims.iter_mut().filter_map(|one| one.lives().then_some(())).count();
    assert!(left > 0 && sent > 0, "{left} {sent}");
    let seen = marks(&mut stream).into_iter().filter(|mark| mark.2 == ActOutcome::Acts).count();
    assert!(seen >= victims.len() - left, "each act has its evidence: {seen} {left}");
}

fn renice(victim: &Victim, nice: &str) {
    let id = victim.id().to_string();
    let done = Command::new("renice").args(["-n", nice, "-p", &id]).stdout(Stdio::null()).status();
    assert!(done.expect("renice runs").success());
}

fn send(signal: libc::c_int, victim: &Victim) {
    let number = format!("-{signal}");
    let sent = Command::new("kill").args([number, victim.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn an_act_is_withdrawn_from_who_behaves_before_its_turn_comes() {
    let mut victim = Victim::sleeping();
    send(libc::SIGSTOP, &victim);
    renice(&victim, "5");
    let source = format!(
        "filter acts on process {{ where pid == {} and nice == 5 emit pid \
         limit {{ after 0s kill }} }}\n",
        victim.id()
    );
    let Some(kept) = Kept::load("acts_withdrawn", &source, &acting(TICK, &[])) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    assert_eq!(wait_for(&mut stream, 1), [(victim.id(), 0, ActOutcome::Acts)]);
    renice(&victim, "6");
    let ticks = stream.totals().ticks;
    while stream.totals().ticks < ticks + 3 {
        std::thread::sleep(TICK);
    }
    send(libc::SIGCONT, &victim);
    std::thread::sleep(Duration::from_millis(300));
    assert!(victim.lives());
    let counts = kept.pins.acts("acts").expect("it is loaded").expect("it acts");
    assert_eq!((counts.sent, counts.withdrawn), (0, 1), "{counts:?}");
}

#[test]
fn a_filter_that_is_unloaded_does_nothing_more() {
    let mut victim = Victim::sleeping();
    send(libc::SIGSTOP, &victim);
    let source = filter(&[&victim], "after 0s kill");
    let Some(kept) = Kept::load("acts_unloaded", &source, &acting(TICK, &[])) else { return };
    let (_, mut stream) = kept.pins.follow("acts").expect("it ticks");
    assert_eq!(wait_for(&mut stream, 1), [(victim.id(), 0, ActOutcome::Acts)]);
    kept.pins.unload("acts").expect("it is loaded");
    send(libc::SIGCONT, &victim);
    std::thread::sleep(Duration::from_millis(300));
    assert!(victim.lives());
}

#[test]
fn whoever_is_absent_begins_anew() {
    let mut victim = Victim::sleeping();
    renice(&victim, "5");
    let source = format!(
        "filter acts on process {{ where pid == {} and nice == 5 emit pid \
         limit {{ after 1500ms term }} }}\n",
        victim.id()
    );
    let Some(kept) = Kept::load("acts_anew", &source, &acting(TICK, &[])) else { return };
    for nice in ["6", "5"] {
        std::thread::sleep(Duration::from_secs(1));
        renice(&victim, nice);
    }
    let again = Instant::now();
    let status = victim.ends_within(Duration::from_secs(30));
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
    assert!(again.elapsed() > Duration::from_millis(1400), "{:?}", again.elapsed());
    drop(kept);
}

/// The object with these bytes where it names the kernel's work of tasks.
fn of_another_kernel(object: &[u8]) -> Vec<u8> {
    let (known, unknown) = (b"bpf_task_work", b"bpf_task_nope");
    let mut object = object.to_vec();
    let places: Vec<usize> = object
        .windows(known.len())
        .enumerate()
        .filter_map(|(place, bytes)| (bytes == known).then_some(place))
        .collect();
    for place in places {
        object[place..place + known.len()].copy_from_slice(unknown);
    }
    object
}

#[test]
fn a_kernel_that_cannot_is_named_with_the_way_out() {
    let source = "filter acts on process { where pid == 0 emit pid limit { after 1s kill } }\n";
    let compiled = kfilter_compiler::compile("acts.kf", source).expect("it is right");
    let object = Object::parse(&of_another_kernel(&compiled.object)).expect("an object");
    let request = Request::new(&object, "acts", &[], system_values(&Kernel)).expect("no params");
    let root = format!("/sys/fs/bpf/kfilter_acts_missing_{}", std::process::id());
    let pins = Pins::new(Rc::new(Kernel), &root);
    let error = pins.load(&request, &acting(TICK, &[])).expect_err("it lacks a function");
    let said = error.to_string();
    if !said.contains("bpf_task_nope_schedule_signal_impl") {
        return kfilter_tests::skipped("a_kernel_that_cannot", &said);
    }
    assert_eq!(error.class(), ErrorClass::Host);
    assert!(said.contains("Linux 6.18 is the first"), "{said}");
    assert!(said.contains("keep `kfilter watch --enforce` running"), "{said}");
    assert!(!std::path::Path::new(&root).exists(), "nothing is left");
    // Without the option it is loaded as ever.
    let options = PinOptions { acting: None, ..acting(TICK, &[]) };
    pins.load(&request, &options).expect("nothing of that is asked for");
    pins.unload("acts").expect("it is loaded");
}

#[test]
fn what_the_kernel_cannot_hold_to_is_refused() {
    let refused = |limit: &str, options: &PinOptions| {
        let source = format!("filter acts on process {{ where pid == 0 emit pid {limit} }}\n");
        let compiled = kfilter_compiler::compile("acts.kf", &source).expect("it is right");
        let object = Object::parse(&compiled.object).expect("our own object");
        let request =
            Request::new(&object, "acts", &[], system_values(&Kernel)).expect("no params");
        let pins = Pins::new(Rc::new(Kernel), "/sys/fs/bpf/kfilter_acts_refused");
        let error = pins.load(&request, options).expect_err(limit);
        assert_eq!(error.class(), ErrorClass::Input, "{error}");
        error.to_string()
    };
    let kills = "limit { after 1s kill }";
    let tick = acting(TICK, &[]);
    for limit in ["", "limit { after 1s nice 5 }"] {
        assert!(refused(limit, &tick).contains("no `term` and no `kill`"), "{limit}");
    }
    let top = refused(&format!("top 5 by threads {kills}"), &tick);
    assert!(top.contains("`top` is found out by who reads"), "{top}");
    let still = refused(kills, &PinOptions { every: None, ..tick.clone() });
    assert!(still.contains("only where it sweeps by itself"), "{still}");
    let long = refused(kills, &acting(TICK, &["a_name_that_is_too_long"]));
    assert!(long.contains("protects nobody"), "{long}");
}
