//! Filters that stay in the kernel.

use crate::support::{NEVER, Name, Scratch, first, kfilter, skipped};

/// Loads a filter under a name; `None` where the kernel or the privilege for it is missing.
fn load(test: &str, text: &str, more: &[&str]) -> Option<Name> {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", text);
    let name = Name::new(test);
    let said = kfilter(["load", "--name", &name.0, &path].iter().chain(more));
    if said.status == 0 {
        return Some(name);
    }
    assert!(matches!(said.status, 3 | 4), "{said:#?}");
    skipped(test, said.stderr.trim());
    None
}

#[test]
fn a_loaded_filter_is_listed_shown_read_and_unloaded() {
    let Some(name) = load("life", &first(), &[]) else { return };
    let listed = kfilter(["list"]).exits(0).stdout;
    assert!(listed.contains(&name.0), "{listed}");
    let shown = name.run("show").exits(0).stdout;
    assert!(shown.contains("filter   first on process\n"), "{shown}");
    assert!(shown.contains("emits    vpid (id), pid (id), comm (text:16)"), "{shown}");
    let read = kfilter(["read", "--format", "json", &name.0]).exits(0).stdout;
    let record: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    assert_eq!(record["vpid"], std::process::id());
    let probed = name.run("probe").exits(2).stdout;
    assert!(probed.starts_with("KFILTER CRITICAL - first: 1 of"), "{probed}");
    name.run("unload").exits(0);
    for command in ["show", "read", "unload"] {
        let said = name.run(command).exits(2);
        assert!(said.stderr.contains("is loaded"), "{}", said.stderr);
    }
    name.run("probe").exits(3);
}

#[test]
fn loading_twice_is_refused_and_replacing_keeps_history() {
    let text = "filter busy on process { param max = 5% where rate(cpu_time) > max emit pid }\n";
    let Some(name) = load("twice", text, &[]) else { return };
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", text);
    let again = kfilter(["load", "--name", &name.0, &path]).exits(2);
    assert!(again.stderr.contains("loaded already"), "{}", again.stderr);
    let replaced = kfilter(["load", "--replace", "-p", "max=50%", "--name", &name.0, &path]);
    assert!(replaced.exits(0).stderr.contains("its history goes on"));
    assert!(name.run("show").exits(0).stdout.contains("given    max=50%\n"));
    let other = scratch.file("b.kf", NEVER);
    let replaced = kfilter(["load", "--replace", "--name", &name.0, &other]);
    assert!(!replaced.exits(0).stderr.contains("history"), "it has none");
    assert_eq!(name.run("read").exits(1).stdout, "");
}

#[test]
fn a_load_that_fails_leaves_what_was_there() {
    let Some(name) = load("kept", &first(), &[]) else { return };
    let scratch = Scratch::new();
    let broken = scratch.file("a.kf", "filter broken");
    kfilter(["load", "--replace", "--name", &name.0, &broken]).exits(2);
    let path = scratch.file("b.kf", first());
    kfilter(["load", "--replace", "--name", &name.0, "-p", "nope=1", &path]).exits(2);
    name.run("read").exits(0);
}

#[test]
fn a_directory_is_loaded_as_far_as_it_goes() {
    let scratch = Scratch::new();
    let good = Name::new("dir");
    scratch.file("a.kf", "filter broken");
    scratch.file("b.kf", first().replace("first", &good.0));
    scratch.file("c.txt", "not a filter");
    let directory = scratch.path().to_str().expect("a plain path");
    let said = kfilter(["load", "--from-dir", directory]);
    if said.status != 2 {
        return skipped("a_directory_is_loaded_as_far_as_it_goes", said.stderr.trim());
    }
    assert!(said.stderr.contains("1 of 2 files loaded"), "{}", said.stderr);
    good.run("read").exits(0);
}

#[test]
fn options_of_a_file_in_a_directory_stand_beside_it() {
    let scratch = Scratch::new();
    let name = Name::new("conf");
    let filter =
        format!("filter {} on process {{ param least = 1 where pid >= least emit pid }}", name.0);
    scratch.file("a.kf", filter);
    scratch.file("a.conf", "# Nobody has so many.\nparam least=5000000000\n\nmode 0640\n");
    let directory = scratch.path().to_str().expect("a plain path");
    let said = kfilter(["load", "--from-dir", directory, "-p", "least=2"]);
    if matches!(said.status, 3 | 4) {
        return skipped("options_of_a_file_in_a_directory_stand_beside_it", said.stderr.trim());
    }
    said.exits(0);
    assert!(name.run("show").exits(0).stdout.contains("given    least=5000000000\n"));
    name.run("read").exits(1);
    scratch.file("a.conf", "mode 0640\nmood 0640\n");
    let said = kfilter(["load", "--replace", "--from-dir", directory]).exits(2);
    assert!(said.stderr.contains("a.conf:2: unexpected argument 'mood' found"), "{}", said.stderr);
    name.run("read").exits(1);
}

#[test]
fn bad_arguments_are_refused_before_anything_is_loaded() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", format!("{}{NEVER}", first()));
    kfilter(["load", "--name", "x", &path]).exits(2);
    kfilter(["load", "--mode", "0777", &path]).exits(2);
    kfilter(["load", "--group", "no such group", &path]).exits(2);
    kfilter(["load"]).exits(2);
    kfilter(["load", "--name", "../x", "--filter", "never", &path]).exits(2);
    kfilter(["unload", "../x"]).exits(2);
    kfilter(["load", "--from-dir", "/nonexistent"]).exits(2);
}
