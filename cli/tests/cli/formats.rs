//! What standard output carries.

use crate::support::{NEVER, Scratch, command, first, kfilter};
use std::io::Read as _;
use std::process::Stdio;

fn run(text: &str, more: &[&str]) -> crate::support::Said {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", text);
    kfilter(["run", "--count", "1", &path].iter().chain(more))
}

#[test]
fn matched_and_nothing_matched_differ_in_the_exit_status() {
    assert!(run(&first(), &[]).exits(0).stdout.contains("PID  COMM "));
    assert_eq!(run(NEVER, &[]).exits(1).stdout, "");
    assert_eq!(run(NEVER, &["--format", "json"]).exits(1).stdout, "");
    assert_eq!(run(NEVER, &["--format", "csv"]).exits(1).stdout, "filter,pid\n");
}

#[test]
fn json_lines_have_raw_numbers() {
    let said = run(&first(), &["--format", "json"]).exits(0);
    assert_eq!(said.stdout.lines().count(), 1);
    let record: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(record["filter"], "first");
    assert_eq!(record["vpid"], std::process::id());
    assert!(record["pid"].is_u64(), "{record}");
    assert!(record["rss"].is_u64() && record["threads"].is_u64(), "{record}");
}

#[test]
fn what_is_unknown_beside_a_constant_is_null() {
    let text = format!(
        "filter f on process {{ where vpid == {}
             emit rate(cpu_time) > 5% and 1 == 2 as left, 1 == 2 and rate(cpu_time) > 5% as right }}",
        std::process::id()
    );
    let said = run(&text, &["--format", "json"]).exits(0);
    let record: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(record["left"], serde_json::Value::Null, "{record}");
    assert_eq!(record["right"], false, "{record}");
}

#[test]
fn csv_has_a_header() {
    let said = run(&first(), &["--format", "csv"]).exits(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines[0], "filter,vpid,pid,comm,threads,rss");
    assert!(lines[1].starts_with(&format!("first,{},", std::process::id())), "{}", lines[1]);
}

#[test]
fn statistics_go_to_standard_error_and_quiet_silences_them() {
    let said = run(&first(), &[]).exits(0);
    assert!(said.stderr.contains("process rows matched"), "{}", said.stderr);
    assert!(said.stderr.contains(" host\n"), "{}", said.stderr);
    assert_eq!(run(&first(), &["--quiet"]).exits(0).stderr, "");
}

#[test]
fn colour_is_for_terminals_or_those_who_ask() {
    assert!(!run(&first(), &[]).exits(0).stdout.contains('\x1b'));
    assert!(run(&first(), &["--color", "always"]).exits(0).stdout.contains('\x1b'));
    let scratch = Scratch::new();
    let wrong = scratch.file("wrong.kf", "filter hog on proces { emit pid }\n");
    let colored = command(["check", "--color", "always", &wrong]).output().expect("it runs");
    assert!(colored.stderr.contains(&0x1b));
    let plain = command(["check", &wrong]).env("NO_COLOR", "1").output().expect("it runs");
    assert!(!plain.stderr.contains(&0x1b));
}

#[test]
fn check_says_the_same_of_a_source_and_of_its_object() {
    let scratch = Scratch::new();
    let text = "filter f on thread { where rate(cpu_time) > 10% emit tid }\n\
                filter g on thread { group by uid emit uid, count(distinct pid) as n }\n";
    let source = scratch.file("f.kf", text);
    let object = scratch.path().join("f.o").display().to_string();
    kfilter(["compile", &source, "-o", &object]).exits(0);
    let said = kfilter(["check", &source]).exits(0).stdout;
    assert_eq!(kfilter(["check", &object]).exits(0).stdout, said);
    let cells: Vec<Vec<&str>> =
        said.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let row = |name: &str| {
        let row = cells.iter().find(|row| row[0] == name).expect("its row");
        row.iter().copied().filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    // A state of 16 bytes with the allocator's head is taken from the cache of 96.
    assert_eq!(row("f")[1..5], ["thread", "16 B", "96 B", "0 B"], "{said}");
    assert_eq!(row("g")[3..5], ["0 B", "96 B + 96 B a value"], "{said}");
    assert!(row("f")[5..].iter().all(|insns| insns.parse::<u32>().is_ok()), "{said}");
}

#[test]
fn several_filters_are_told_apart() {
    let both = format!("{}{NEVER}", first());
    let said = run(&both, &[]).exits(0);
    assert!(said.stdout.starts_with("first\n"), "{}", said.stdout);
    assert!(said.stderr.contains("never: 0 of"), "{}", said.stderr);
    assert_eq!(run(&both, &["--filter", "never"]).exits(1).stdout, "");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", "filter all on process { where pid > 0 emit pid, comm }\n");
    let args = ["run", "--every", "10ms", "--format", "json", &path];
    let mut child = command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("a byte");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", first());
    let output =
        command(["run", "--count", "1", &path]).stdout(full).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_name_cannot_reach_the_terminal_raw() {
    // The name of a process is what it was started as.
    let scratch = Scratch::new();
    let evil = scratch.path().join("e\x1b[31m\n\"x,");
    std::fs::copy("/bin/sleep", &evil).expect("a copy of sleep");
    // A process that another test starts in this moment has the copy open for writing until its exec.
    let started =
        (0..100).find_map(|_| match std::process::Command::new(&evil).arg("60").spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(20));
                None
            }
            other => Some(other.expect("it runs")),
        });
    let mut sleeper = started.expect("the copy is nobody's in the end");
    let text = format!("filter evil on process {{ where vpid == {} emit comm }}\n", sleeper.id());
    let table = run(&text, &["--quiet"]);
    let json = run(&text, &["--format", "json"]);
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it ends");
    if table.status == 1 {
        // Inside a pid namespace the process has another number outside.
        return crate::support::skipped("a_name_cannot_reach_the_terminal_raw", "pid namespace");
    }
    assert_eq!(table.exits(0).stdout, "COMM\ne\\x1b[31m\\x0a\"x,\n");
    let record: serde_json::Value = serde_json::from_str(&json.exits(0).stdout).expect("JSON");
    assert_eq!(record["comm"], "e\x1b[31m\n\"x,");
}
