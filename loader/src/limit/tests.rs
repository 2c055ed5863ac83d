//! The ladder against a world that only remembers what was done to it.

use super::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const SECOND: i64 = 1_000_000_000;

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    gone: BTreeSet<i32>,
    behaves: BTreeSet<i32>,
    facts: Facts,
    fail_apply: bool,
}

#[derive(Clone, Default)]
struct FakeWorld(Rc<RefCell<Log>>);

impl FakeWorld {
    fn line(&self, text: String) {
        self.0.borrow_mut().lines.push(text);
    }
    fn alive(&self, id: Identity) -> Result<(), ActError> {
        if self.0.borrow().gone.contains(&id.pid) { Err(ActError::Gone) } else { Ok(()) }
    }
}

impl World for FakeWorld {
    fn hold(&mut self, id: Identity) -> Result<(), ActError> {
        self.alive(id)
    }
    fn still_offends(&mut self, id: Identity) -> bool {
        !self.0.borrow().behaves.contains(&id.pid)
    }
    fn facts(&mut self, id: Identity) -> Result<Facts, ActError> {
        self.alive(id)?;
        Ok(self.0.borrow().facts.clone())
    }
    fn prepare(
        &mut self,
        _: Identity,
        action: Action,
        whole_cgroup: bool,
    ) -> Result<Vec<Saved>, ActError> {
        Ok(match action {
            Action::Nice(_) => vec![Saved::Nice(vec![(7, 0)])],
            Action::CpuRatio(_) if whole_cgroup => {
                vec![Saved::File { path: "cpu.max".into(), old: "max".into() }]
            }
            Action::Freeze => vec![Saved::Stopped],
            Action::Notify
            | Action::CpuRatio(_)
            | Action::MemoryBytes(_)
            | Action::Files(_)
            | Action::Term
            | Action::Kill => Vec::new(),
        })
    }
    fn apply(&mut self, id: Identity, action: Action, saved: &[Saved]) -> Result<(), ActError> {
        self.alive(id)?;
        if self.0.borrow().fail_apply {
            return Err(ActError::Unsupported { what: "this", way_out: "use that" });
        }
        self.line(format!("apply {} {action} saved {}", id.pid, saved.len()));
        Ok(())
    }
    fn restore(&mut self, id: Identity, saved: &Saved) -> Result<(), ActError> {
        self.alive(id)?;
        self.line(format!("restore {} {saved:?}", id.pid));
        Ok(())
    }
    fn release(&mut self, id: Identity) {
        self.line(format!("release {}", id.pid));
    }
}

fn id(pid: i32) -> Identity {
    Identity { pid, start_ns: 5 }
}

fn candidate(pid: i32) -> Candidate {
    let mut values = serde_json::Map::new();
    values.insert("cpu".into(), 0.9.into());
    Candidate { id: id(pid), values }
}

type Sink = Box<dyn FnMut(&Event)>;

struct Fixture {
    engine: Engine<FakeWorld, Sink>,
    world: FakeWorld,
    events: Rc<RefCell<Vec<String>>>,
    journal: Journal,
}

fn fixture(name: &str, rungs: &[(i64, Action)], enforce: bool, world: FakeWorld) -> Fixture {
    let path = std::env::temp_dir().join(format!("kfilter-limit-{}-{name}", std::process::id()));
    let journal = Journal::new(path);
    let events = Rc::new(RefCell::new(Vec::new()));
    let policy = Policy {
        rule: "hog".into(),
        rungs: rungs.iter().map(|&(s, action)| Rung { after_ns: s * SECOND, action }).collect(),
        enforce,
        absent_sweeps: 2,
        has_leave: false,
    };
    let sink = {
        let (events, world) = (events.clone(), world.clone());
        Box::new(move |event: &Event| {
            let text = format!("{:?} {} {} {}", event.event, event.pid, event.rung, event.reason);
            world.line(format!("event {}", text.trim()));
            events.borrow_mut().push(text.trim().to_owned());
        }) as Sink
    };
    let rails = Rails { protect: vec!["sshd*".into()], own_pids: vec![99], blast_radius: 2 };
    let engine =
        Engine::new(policy, rails, Budget::default(), journal.clone(), world.clone(), sink)
            .expect("a fresh journal");
    Fixture { engine, world, events, journal }
}

impl Fixture {
    fn sweep(&mut self, second: i64, pids: &[i32]) {
        let matched: Vec<Candidate> = pids.iter().map(|&pid| candidate(pid)).collect();
        self.engine.step(second * SECOND, &matched, &[]).expect("the journal can be written");
    }
    fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.borrow_mut())
    }
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.world.0.borrow_mut().lines)
    }
}

#[test]
fn rungs_are_done_when_due_and_undone_when_it_behaves() {
    let mut f = fixture(
        "due",
        &[(0, Action::Notify), (10, Action::Nice(10)), (20, Action::Freeze)],
        true,
        FakeWorld::default(),
    );
    f.sweep(100, &[42]);
    assert_eq!(f.take_events(), ["Enter 42", "Limit 42 notify"]);
    f.sweep(109, &[42]);
    assert!(f.take_events().is_empty());
    f.sweep(110, &[42]);
    assert_eq!(f.take_events(), ["Limit 42 nice 10"]);
    f.sweep(121, &[42]);
    assert_eq!(f.journal.read().expect("a journal").len(), 2);
    f.lines();
    f.sweep(122, &[]);
    assert_eq!(f.lines(), Vec::<String>::new(), "one absent sweep does not release");
    f.sweep(123, &[]);
    assert_eq!(
        f.lines(),
        [
            "event Release 42  it behaves again",
            "restore 42 Stopped",
            "restore 42 Nice([(7, 0)])",
            "release 42",
        ]
    );
    assert!(f.journal.read().expect("a journal").is_empty());
}

#[test]
fn the_event_is_written_before_the_act() {
    let mut f = fixture("evidence", &[(0, Action::Nice(5))], true, FakeWorld::default());
    f.sweep(1, &[42]);
    assert_eq!(f.lines(), ["event Enter 42", "event Limit 42 nice 5", "apply 42 nice 5 saved 1"]);
}

#[test]
fn without_enforce_the_same_events_come_and_nothing_is_done() {
    let rungs = [(0, Action::Nice(5)), (1, Action::Term), (2, Action::Kill)];
    let mut streams = Vec::new();
    for enforce in [true, false] {
        let mut f = fixture("same", &rungs, enforce, FakeWorld::default());
        for second in 0..40 {
            f.sweep(second, &[42, 43]);
        }
        streams.push(f.take_events());
        let acts = f.lines().iter().filter(|line| line.starts_with("apply")).count();
        assert_eq!(acts > 0, enforce);
    }
    assert_eq!(streams[0], streams[1]);
}

#[test]
fn destructive_acts_keep_to_the_budget_and_refusal_is_said_once() {
    let mut f = fixture("budget", &[(0, Action::Kill)], true, FakeWorld::default());
    let pids: Vec<i32> = (10..20).collect();
    let mut killed_at = Vec::new();
    for second in 0..700 {
        f.sweep(second, &pids);
        killed_at.extend(f.lines().iter().filter(|line| line.starts_with("apply")).map(|_| second));
    }
    assert_eq!(killed_at, [0, 15, 30, 600, 615, 630]);
    let refusals = f.take_events().iter().filter(|event| event.contains("budget")).count();
    assert_eq!(refusals, 9, "each of the waiting ones is told once");
}

#[test]
fn rails_hold_whatever_the_filter_says() {
    for (pid, facts, reason) in [
        (1, Facts::default(), "pid 1"),
        (99, Facts::default(), "itself"),
        (50, Facts { kernel_thread: true, ..Facts::default() }, "kernel threads"),
        (51, Facts { comm: "sshd-session".into(), ..Facts::default() }, "protected"),
    ] {
        let world = FakeWorld::default();
        world.0.borrow_mut().facts = facts;
        let mut f = fixture("rails", &[(0, Action::Kill)], true, world);
        f.sweep(1, &[pid]);
        let events = f.take_events();
        assert!(events[1].starts_with("Refused") && events[1].contains(reason), "{events:?}");
        assert!(!f.lines().iter().any(|line| line.starts_with("apply")));
    }
}

#[test]
fn a_crowded_cgroup_is_not_acted_on_as_a_whole() {
    for (processes, saved) in [(Some(2), 1), (Some(3), 0), (None, 0)] {
        let world = FakeWorld::default();
        world.0.borrow_mut().facts.cgroup_processes = processes;
        let mut f = fixture("blast", &[(0, Action::CpuRatio(500_000))], true, world);
        f.sweep(1, &[42]);
        assert!(f.lines().contains(&format!("apply 42 cpu 50.0000% saved {saved}")));
    }
}

#[test]
fn a_process_that_changed_its_ways_or_ended_is_not_touched() {
    let world = FakeWorld::default();
    world.0.borrow_mut().behaves.insert(42);
    world.0.borrow_mut().gone.insert(43);
    let mut f = fixture("changed", &[(0, Action::Kill)], true, world);
    f.sweep(1, &[42, 43]);
    assert_eq!(
        f.take_events(),
        ["Enter 42", "Enter 43", "Refused 42 kill it no longer matches", "Gone 43  it has ended"]
    );
    assert_eq!(f.engine.offenders(), 1);
}

#[test]
fn a_failed_act_is_said_and_the_ladder_goes_on() {
    let world = FakeWorld::default();
    world.0.borrow_mut().fail_apply = true;
    let mut f = fixture("failed", &[(0, Action::Nice(5)), (1, Action::Notify)], true, world);
    f.sweep(1, &[42]);
    f.sweep(2, &[42]);
    let events = f.take_events();
    assert_eq!(events[2], "Failed 42 nice 5 this is not possible here: use that");
    assert_eq!(events[3], "Limit 42 notify");
}

#[test]
fn what_a_killed_engine_left_is_undone_by_the_next() {
    let mut f = fixture("left", &[(0, Action::Nice(5))], true, FakeWorld::default());
    f.sweep(1, &[42]);
    let left = std::fs::read(f.journal.path()).expect("written before the act");
    drop(f.engine);
    std::fs::write(f.journal.path(), left).expect("as if it had been killed");
    f.world.0.borrow_mut().lines.clear();
    let next = fixture("left", &[], true, FakeWorld::default());
    assert_eq!(next.lines(), ["restore 42 Nice([(7, 0)])", "release 42"]);
    assert!(next.journal.read().expect("a journal").is_empty());
}

#[test]
fn a_corrupt_journal_stops_before_anything_is_done() {
    let f = fixture("corrupt", &[], true, FakeWorld::default());
    std::fs::write(f.journal.path(), b"\xff{").expect("a temporary file");
    let error = f.journal.read().expect_err("it is not JSON").to_string();
    assert!(error.contains("is not a journal of limits"), "{error}");
    std::fs::remove_file(f.journal.path()).expect("it was written above");
}

#[test]
fn a_leave_condition_alone_releases() {
    let mut f = fixture("leave", &[(0, Action::Nice(5))], true, FakeWorld::default());
    f.engine = Engine::new(
        Policy {
            rule: "hog".into(),
            rungs: vec![Rung { after_ns: 0, action: Action::Nice(5) }],
            enforce: true,
            absent_sweeps: 1,
            has_leave: true,
        },
        Rails::default(),
        Budget::default(),
        Journal::new(f.journal.path().with_extension("leave")),
        f.world.clone(),
        Box::new(|_: &Event| {}) as Sink,
    )
    .expect("a fresh journal");
    f.engine.step(SECOND, &[candidate(42)], &[]).expect("written");
    for second in 2..9 {
        f.engine.step(second * SECOND, &[], &[]).expect("written");
    }
    assert_eq!(f.engine.offenders(), 1, "between the thresholds it stays limited");
    f.engine.step(9 * SECOND, &[], &[id(42)]).expect("written");
    assert_eq!(f.engine.offenders(), 0);
}
