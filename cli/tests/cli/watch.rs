//! Following offenders.

use crate::support::{Scratch, command, kfilter, skipped};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that is ours to watch, and ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep runs"))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn event(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> serde_json::Value {
    let line = lines.next().expect("an event").expect("text");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn an_offender_enters_and_is_gone() {
    let scratch = Scratch::new();
    let victim = Sleeper::start();
    let id = victim.id();
    let text =
        format!("filter victim on process {{ where vpid == {id} emit vpid, pid, start_time }}\n");
    let path = scratch.file("victim.kf", text);
    let mut watch = command(["watch", "--every", "50ms", "--absent", "100000", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let enter = event(&mut lines);
    assert_eq!(enter["event"], "enter", "{enter}");
    assert_eq!(enter["action"], "would", "{enter}");
    assert_eq!(enter["rule"], "victim", "{enter}");
    assert_eq!(enter["values"]["vpid"], id, "{enter}");
    drop(victim);
    if enter["pid"] == id {
        let gone = event(&mut lines);
        assert_eq!(gone["event"], "gone", "{gone}");
    } else {
        skipped("an_offender_enters_and_is_gone", "in a pid namespace: its end is not awaited");
    }
    watch.kill().expect("it is ours");
    watch.wait().expect("it ends");
}

#[test]
fn an_end_is_orderly_and_releases() {
    let scratch = Scratch::new();
    let victim = Sleeper::start();
    let id = victim.id();
    let text = format!("filter victim on process {{ where vpid == {id} emit pid, start_time }}\n");
    let path = scratch.file("victim.kf", text);
    let said = kfilter(["watch", "--every", "10ms", "--count", "2", &path]).exits(0);
    drop(victim);
    let events: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(events.len(), 2, "{said:?}");
    assert!(events[1].contains("\"release\"") && events[1].contains("kfilter stops"), "{said:?}");
}

#[test]
fn a_filter_that_names_no_process_cannot_be_followed() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", "filter a on process { where threads == 0 emit comm }\n");
    let said = kfilter(["watch", "--count", "1", &path]).exits(2);
    assert!(said.stderr.contains("emits no pid and start_time"), "{}", said.stderr);
}

/// The nice value of a process, from the 19th field of its stat.
fn nice(pid: u32) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let rest = stat.rsplit_once(") ").expect("a name").1;
    rest.split(' ').nth(16).and_then(|nice| nice.parse().ok()).expect("a number")
}

#[test]
fn limits_act_only_when_told_to_and_are_undone() {
    let scratch = Scratch::new();
    let victim = Sleeper::start();
    let id = victim.id();
    let before = nice(id);
    let text = format!(
        "filter victim on process {{\n where vpid == {id}\n emit pid, vpid\n \
         limit {{ after 0s nice 17 }}\n}}\n"
    );
    let path = scratch.file("victim.kf", text);
    let state = scratch.path().join("state");
    let state = state.to_str().expect("a plain path");
    let base = ["watch", "--every", "20ms", "--state", state, "--count", "2"];
    let would = kfilter(base.iter().chain(&[path.as_str()])).exits(0);
    assert_eq!(nice(id), before, "nothing was to be done");

    let mut watch = command(["watch", "--every", "20ms", "--state", state])
        .args(["--enforce", "--unprotected", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let (enter, limit) = (event(&mut lines), event(&mut lines));
    if enter["pid"] == id {
        assert_eq!((&enter["event"], &limit["event"]), (&"enter".into(), &"limit".into()));
        assert_eq!((&limit["action"], &limit["rung"]), (&"did".into(), &"nice 17".into()));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while nice(id) != 17 {
            assert!(std::time::Instant::now() < deadline, "it is still {}", nice(id));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // A polite end: what was done is undone.
        let stopped = Command::new("kill").arg(watch.id().to_string()).status();
        assert!(stopped.expect("kill runs").success());
        assert_eq!(event(&mut lines)["event"], "release");
        assert!(watch.wait().expect("it ends").success());
        assert_eq!(nice(id), before, "the old value is back");
        let kinds = |text: &str| text.matches("\"event\":\"enter\"").count();
        assert_eq!(kinds(&would.stdout), 1, "{would:?}");
        assert!(would.stdout.contains("\"action\":\"would\",\"rung\":\"nice 17\""), "{would:?}");
    } else {
        skipped("limits_act_only_when_told_to_and_are_undone", "in a pid namespace");
        watch.kill().expect("it is ours");
        watch.wait().expect("it ends");
    }
}

/// Its children end while they are looked at.
#[test]
fn a_target_that_has_already_gone_is_no_failure() {
    let scratch = Scratch::new();
    let mut parent = Command::new("sh")
        .args(["-c", "trap 'exit 0' TERM; while :; do sleep 0.004 & sleep 0.003 & wait; done"])
        .spawn()
        .expect("sh runs");
    // One that has ended, and that nobody has collected.
    let mut dead = Command::new("true").spawn().expect("true runs");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (id, zombie) = (parent.id(), dead.id());
    let text = format!(
        "filter brief on process {{\n where ppid == {id} or pid == {zombie}\n emit pid, ppid\n \
         limit {{ after 0s nice 19\n after 0s files 900\n after 0s term\n after 10ms kill }}\n}}\n"
    );
    let path = scratch.file("brief.kf", text);
    let state = scratch.path().join("state");
    let args = ["watch", "--every", "1ms", "--count", "300", "--enforce", "--unprotected"];
    let state = ["--state", state.to_str().expect("a plain path")];
    let said = kfilter(args.iter().chain(&state).chain(&[path.as_str()]));
    let _gone = Command::new("kill").arg(id.to_string()).status();
    parent.wait().expect("it ends");
    dead.wait().expect("it has ended");
    let said = said.exits(0);
    let events: Vec<serde_json::Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    let ours = events.iter().any(|event| event["values"]["ppid"] == id);
    if !ours {
        return skipped("a_target_that_has_already_gone_is_no_failure", "in a pid namespace");
    }
    assert!(kinds("gone") > 10, "{said:#?}");
    assert_eq!(kinds("failed"), 0, "{said:#?}");
    assert_eq!(kinds("enter"), kinds("gone") + kinds("release"), "each has an end: {said:#?}");
    let of_zombie = |event: &&serde_json::Value| event["pid"] == zombie;
    let last = events.iter().rfind(of_zombie).expect("it matched");
    assert_eq!(last["event"], "gone", "{said:#?}");
}
