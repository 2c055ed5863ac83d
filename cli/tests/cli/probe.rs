//! Probes and exports from the consumer's side.

use crate::support::{NEVER, Scratch, command, first, kfilter};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn probe(text: &str, more: &[&str]) -> crate::support::Said {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", text);
    kfilter(["probe", &path].iter().chain(more))
}

#[test]
fn the_verdict_is_the_exit_status() {
    let said = probe(NEVER, &[]).exits(0);
    assert!(said.stdout.starts_with("KFILTER OK - never: nothing in "), "{}", said.stdout);
    let said = probe(&first(), &[]).exits(2);
    assert!(said.stdout.starts_with("KFILTER CRITICAL - first: 1 of "), "{}", said.stdout);
    assert!(said.stdout.lines().next().expect("a line").contains(" | first=1;;0;0;"));
    probe(&first(), &["--severity", "warning"]).exits(1);
}

#[test]
fn an_error_is_unknown_and_never_ok() {
    for text in ["", "filter", "filter a on proces { emit pid }"] {
        let said = probe(text, &[]).exits(3);
        assert!(said.stdout.starts_with("KFILTER UNKNOWN - "), "{}", said.stdout);
        assert_eq!(said.stdout.lines().count(), 1);
    }
    kfilter(["probe", "/nonexistent"]).exits(3);
    kfilter(["probe", "--frobnicate"]).exits(3);
    kfilter(["probe"]).exits(3);
    kfilter(["probe", "--help"]).exits(0);
}

#[test]
fn a_filter_that_needs_longer_than_there_is_says_so() {
    let text = "filter hog on process { where vpid > 0 for 10s emit pid }\n";
    let began = Instant::now();
    let said = probe(text, &[]).exits(3);
    assert!(said.stdout.contains("must be watched for 10.0s"), "{}", said.stdout);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn npd_gets_one_short_line() {
    for (text, status) in [(first().as_str(), 1), (NEVER, 0), ("", 2)] {
        let said = probe(text, &["--style", "npd"]).exits(status);
        assert!(said.stdout.len() <= 81 && said.stdout.lines().count() == 1, "{}", said.stdout);
    }
}

/// Starts the binary with a notification socket of our own.
fn service(args: &[&str]) -> (std::process::Child, UnixDatagram) {
    let name = format!("kfilter-cli-{}-{:?}", std::process::id(), std::thread::current().id());
    let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let child = command(args)
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    (child, manager)
}

fn receive(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let length = manager.recv(&mut buffer).expect("a notification");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_service_feeds_the_watchdog_after_sweeps() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", first());
    let (mut child, manager) = service(&["probe", "--every", "50ms", &path]);
    assert_eq!(receive(&manager), "READY=1");
    for _ in 0..3 {
        assert!(receive(&manager).starts_with("WATCHDOG=1\nSTATUS=CRITICAL - first: 1 of"));
    }
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("text");
    assert!(line.starts_with("KFILTER CRITICAL"), "{line}");
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

#[test]
fn a_service_that_cannot_sweep_never_feeds_the_watchdog() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", "filter broken");
    let (child, manager) = service(&["probe", "--every", "50ms", &path]);
    assert!(receive(&manager).starts_with("STATUS="));
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(3));
}

fn get(address: &str, request: &str) -> String {
    let mut client = TcpStream::connect(address).expect("the exporter listens");
    client.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn metrics_are_served_on_loopback() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", format!("{}{NEVER}", first()));
    let textfile = scratch.path().join("kfilter.prom");
    let textfile = textfile.to_str().expect("a plain path");
    let (mut child, manager) = service(&[
        "export",
        "--every",
        "50ms",
        "--listen",
        "127.0.0.1:0",
        "--textfile",
        textfile,
        &path,
    ]);
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("http://") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "it says where it listens");
    }
    let address = line.trim().trim_start_matches("serving http://").trim_end_matches("/metrics");
    assert_eq!(receive(&manager), "READY=1");

    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let answer = get(address, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("kfilter_matches{filter=\"first\"} 1\n"), "{answer}");
    assert!(answer.contains("kfilter_matches{filter=\"never\"} 0\n"), "{answer}");
    assert!(answer.contains("process_memory_usage_bytes{filter=\"first\""), "{answer}");
    assert!(!answer.contains("process_pid"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");

    let old = get(address, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(old.contains("text/plain; version=0.0.4") && !old.contains("# EOF"), "{old}");
    assert!(get(address, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    assert!(get(address, "GET /etc HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(address, "BREW / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));

    let file = std::fs::read_to_string(textfile).expect("the file is there");
    assert!(file.contains("# TYPE kfilter_sweeps_total counter\n"), "{file}");
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

#[test]
fn records_reach_the_journal_as_fields() {
    let scratch = Scratch::new();
    let path = scratch.file("a.kf", first());
    let socket = scratch.path().join("journal");
    let journal = UnixDatagram::bind(&socket).expect("a socket");
    journal.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let socket = socket.to_str().expect("a plain path");
    kfilter(["export", "--count", "1", "--journald", "--journald-socket", socket, &path]).exits(0);
    let entry = receive(&journal);
    assert!(entry.contains("KFILTER_FILTER=first\n"), "{entry}");
    assert!(entry.contains(&format!("KFILTER_VPID={}\n", std::process::id())), "{entry}");
    assert!(entry.contains("MESSAGE=first: "), "{entry}");
}
