//! Filters that the kernel itself carries out.

use crate::support::{Name, Scratch, command, kfilter, skipped};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that is ours to end.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep runs"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn source(name: &str, victim: &Sleeper) -> String {
    format!(
        "filter {name} on process {{\n where pid == {}\n emit pid, comm\n \
         limit {{ after 0s nice 17\n after 500ms term\n after 1min kill }}\n}}\n",
        victim.0.id()
    )
}

#[test]
fn an_act_is_told_as_that_of_watch_is_and_done_once() {
    let (scratch, name, mut victim) = (Scratch::new(), Name::new("acts"), Sleeper::start());
    let path = scratch.file("a.kf", source(&name.0, &victim));
    let said = kfilter(["load", "--every", "50ms", "--enforce", "--protect", "sshd*", &path]);
    if matches!(said.status, 3 | 4) {
        return skipped("an_act_is_told_as_that_of_watch_is_and_done_once", said.stderr.trim());
    }
    let said = said.exits(0).stderr;
    let own = "the kernel does term after 500.0ms, kill after 1m00s";
    assert!(said.contains(own), "{said}");
    assert!(said.contains("left to `kfilter watch --enforce`: nice 17 after 0s"), "{said}");

    let mut watch = command(["watch", "--format", "json", &name.0])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| -> serde_json::Value {
        serde_json::from_str(&line.expect("text")).expect("JSON")
    });
    let act = lines.find(|line| line.get("event").is_some()).expect("an act");
    assert_eq!(act["event"], "limit", "{act}");
    assert_eq!((&act["action"], &act["rung"]), (&"did".into(), &"term".into()), "{act}");
    assert_eq!((&act["rule"], &act["pid"]), (&name.0.clone().into(), &victim.0.id().into()));
    assert_eq!(act["values"]["comm"], "sleep", "{act}");
    assert!(act["time_ns"].as_i64() > act["start_ns"].as_i64(), "{act}");
    let mut words: Vec<&String> = act.as_object().expect("an object").keys().collect();
    words.sort();
    let same = ["action", "event", "pid", "rule", "rung", "start_ns", "time_ns", "values"];
    assert_eq!(words, same, "as watch writes its own");
    let status = victim.0.wait().expect("it was ours");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{status}");

    let shown = name.run("show").exits(0).stdout;
    assert!(shown.contains(&format!("acts     {own}")), "{shown}");
    assert!(shown.contains("sshd*\n"), "{shown}");
    assert!(shown.contains("acted    1 signals sent, 0 failed, 0 withdrawn"), "{shown}");
    let refused = kfilter(["watch", "--enforce", &name.0]).exits(2).stderr;
    assert!(refused.contains("sweeps by itself"), "{refused}");
    name.run("unload").exits(0);
    assert!(watch.wait().expect("it ends").success());
}

#[test]
fn watch_leaves_to_the_kernel_what_the_kernel_does() {
    let (scratch, name, victim) = (Scratch::new(), Name::new("shared"), Sleeper::start());
    let text = source(&name.0, &victim).replace("500ms", "10min");
    let path = scratch.file("a.kf", text.replace("10min", "1h").replace("1min", "2h"));
    let said = kfilter(["load", "--every", "1s", "--enforce", &path]);
    if matches!(said.status, 3 | 4) {
        return skipped("watch_leaves_to_the_kernel_what_the_kernel_does", said.stderr.trim());
    }
    said.exits(0);
    let soon = scratch.file("b.kf", text.replace("10min", "0s"));
    let state = scratch.path().join("state");
    let state = state.to_str().expect("a plain path");
    let args = ["watch", "--every", "20ms", "--count", "3", "--state", state];
    let said = kfilter(args.iter().chain(&["--enforce", "--unprotected", &soon])).exits(0);
    assert!(said.stderr.contains("term and kill are left to the kernel"), "{}", said.stderr);
    assert!(said.stdout.contains("\"rung\":\"nice 17\""), "{}", said.stdout);
    assert!(!said.stdout.contains("\"rung\":\"term\""), "{}", said.stdout);
    drop(victim);
}

#[test]
fn what_cannot_act_is_refused_before_anything_is_loaded() {
    let scratch = Scratch::new();
    let kills = "filter f on process { where pid == 0 emit pid limit { after 1s kill } }\n";
    let path = scratch.file("a.kf", kills);
    let refused = |args: &[&str]| kfilter(["load"].iter().chain(args)).exits(2).stderr;
    assert!(refused(&["--enforce", &path]).contains("add `--every 1s`"));
    assert!(refused(&["--every", "1s", "--protect", "x", &path]).contains("add --enforce"));
    let mild = scratch.file("b.kf", kills.replace("kill", "freeze"));
    insta::assert_snapshot!(refused(&["--every", "1s", "--enforce", &mild]));
    let many = "--protect=a_name_that_is_too_long";
    insta::assert_snapshot!(refused(&["--every", "1s", "--enforce", many, &path]));
}
