//! `record` and `replay`: filters over what was measured before.

use crate::support::{Scratch, kfilter};

/// A day of a minute each: a wave about 50 with a burst at the end.
fn day() -> String {
    let mut text = String::from("timestamp,value\n");
    for minute in 0..1440_u32 {
        let value = if minute == 1400 { 500 } else { 48 + minute * 7 % 5 };
        text.push_str(&format!("2024-05-01 {:02}:{:02}:00,{value}\n", minute / 60, minute % 60));
    }
    text
}

#[test]
fn each_point_of_a_series_has_a_score_and_a_burst_a_high_one() {
    let scratch = Scratch::new();
    let csv = scratch.path().join("day.csv");
    std::fs::write(&csv, day()).expect("a scratch directory takes a file");
    let said = kfilter(["replay", "--series", csv.to_str().expect("plain")]).exits(0).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines.len()), ("time,value,score", 1441));
    assert_eq!(lines[1], "2024-05-01 00:00:00,48,", "still warming up");
    let score = |line: &str| line.rsplit(',').next().and_then(|text| text.parse::<f64>().ok());
    let scores: Vec<f64> = lines.iter().filter_map(|line| score(line)).collect();
    assert!(scores.len() > 1100, "{}", scores.len());
    let burst = score(lines[1401]).expect("warm");
    assert!(burst > 2.5, "{burst}");
    let before = lines[100..1401].iter().filter_map(|line| score(line));
    assert!(before.fold(0.0, f64::max) < 1.0, "nothing else is unusual");
}

#[test]
fn what_counts_as_usual_follows_the_distance_of_the_points_unless_it_is_given() {
    let scratch = Scratch::new();
    let csv = scratch.path().join("day.csv");
    std::fs::write(&csv, day()).expect("a scratch directory takes a file");
    let scores = |params: &[&str]| {
        let file = csv.to_str().expect("plain");
        let args = [&["replay", "--series", file][..], params].concat();
        kfilter(args).exits(0).stdout
    };
    let own = scores(&[]);
    assert_eq!(own, scores(&["-p", "window=300min", "-p", "recent=5min"]));
    assert_eq!(own, scores(&["-p", "recent=5min"]));
    assert_ne!(own, scores(&["-p", "window=100min"]));
}

#[test]
fn what_is_no_series_is_refused_with_its_line() {
    let scratch = Scratch::new();
    let csv = scratch.path().join("bad.csv");
    std::fs::write(&csv, "time,value\n1,2\n2,many\n").expect("a file");
    let said = kfilter(["replay", "--series", csv.to_str().expect("plain")]).exits(2);
    assert!(said.stderr.contains("line 3: `many` is no number"), "{}", said.stderr);
    let csv = csv.to_str().expect("plain");
    for (bytes, message) in [
        (&b"time,value\n"[..], "no point"),
        (b"time,value\n1\n", "line 2: expected `time,value`"),
        (b"1,NaN\n", "line 1: `NaN` is no number"),
        (b"1,2\n\x80\x81\n", "line 2: this is no text"),
        (&[0; 10_000], "more than 4096 bytes in a line"),
    ] {
        std::fs::write(csv, bytes).expect("a file");
        let said = kfilter(["replay", "--series", csv]).exits(2);
        assert!(said.stderr.contains(message), "{}", said.stderr);
        assert_eq!(said.stdout, "", "nothing is half done");
    }
    std::fs::write(csv, "1,2\n2,3\n").expect("a file");
    let said = kfilter(["replay", "--series", csv, "--column", "nope"]).exits(2);
    assert!(said.stderr.contains("does not read the column `nope`"), "{}", said.stderr);
    let said = kfilter(["replay", "--series", "/dev/zero"]).exits(2);
    assert!(said.stderr.contains("this is no series"), "{}", said.stderr);
}

#[test]
fn a_recording_answers_as_the_machine_did() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).to_str().expect("plain").to_owned();
    let (recording, filter) = (path("tables.kfs"), path("own.kf"));
    kfilter(["record", &recording, "--count", "1", "--table", "process"]).exits(0);
    let own = std::process::id();
    let source = format!("filter own on process {{ where pid == {own} emit pid, comm, uid }}");
    std::fs::write(&filter, source).expect("a file");
    let said = kfilter(["replay", "--snapshot", &recording, &filter, "--format", "json"]).exits(0);
    assert!(said.stdout.contains(&format!("\"pid\":{own}")), "{}", said.stdout);
    let text = std::fs::read_to_string(&recording).expect("a recording");
    std::fs::write(&recording, &text[..text.len() - 40]).expect("it is ours");
    let said = kfilter(["replay", "--snapshot", &recording, &filter]).exits(2);
    assert!(said.stderr.contains("the file ends in the middle"), "{}", said.stderr);
}
