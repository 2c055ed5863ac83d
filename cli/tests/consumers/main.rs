//! The files under docs/probes with the programs that they are for, where these are
//! installed; CI installs what Debian packages.

#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "shared with the other tests of the binary, which use all of it")]
mod support;

mod journal;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{NEVER, Scratch, command, first, skipped};

const BINARY: &str = env!("CARGO_BIN_EXE_kfilter");
const PROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/probes");
/// Longer than any of the consumers takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program's path; says that the test is skipped when it is not installed.
fn installed(test: &str, name: &str) -> Option<PathBuf> {
    let directories = std::env::var("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/usr/lib/nagios/plugins"].map(PathBuf::from);
    let found = std::env::split_paths(&directories)
        .chain(extra)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("{name} is not installed"));
    }
    found
}

/// A child that does not outlive the test, nor do the children that it ends when it is asked to.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        let patience = if asked.is_ok_and(|status| status.success()) { 100 } else { 0 };
        for _ in 0..patience {
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Starts an exporter of `first`, which always matches, and says where it listens.
fn exporter(scratch: &Scratch, more: &[&str]) -> (Running, String) {
    let path = scratch.file("first.kf", first());
    let args = ["export", "--every", "200ms", "--listen", "127.0.0.1:0", &path];
    let mut child =
        command(args.iter().chain(more)).stderr(Stdio::piped()).spawn().expect("the exporter runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let address = loop {
        let line = lines.next().expect("it says where it listens").expect("text");
        if let Some(rest) = line.strip_prefix("serving http://") {
            break rest.trim_end_matches("/metrics").to_owned();
        }
    };
    (Running(child), address)
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut client = TcpStream::connect(address).ok()?;
    client.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(client, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until the answer satisfies; the last answer otherwise.
fn wait_for(mut ask: impl FnMut() -> Option<String>, satisfies: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            if satisfies(&answer) {
                return answer;
            }
            last = answer;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("not within {PATIENCE:?}; the last answer was: {last}");
}

#[test]
fn prometheus_scrapes_and_its_alert_fires() {
    let test = "prometheus_scrapes_and_its_alert_fires";
    let Some(prometheus) = installed(test, "prometheus") else { return };
    let scratch = Scratch::new();
    let (_exporter, target) = exporter(&scratch, &[]);
    let alerts = Path::new(PROBES).join("alerts.yml");
    let config = std::fs::read_to_string(Path::new(PROBES).join("prometheus.yml"))
        .expect("the configuration")
        .replace("15s", "1s")
        .replace("127.0.0.1:9743", &target)
        .replace("alerts.yml", alerts.to_str().expect("a plain path"));
    let config = scratch.file("prometheus.yml", config);
    let address = format!("127.0.0.1:{}", free_port());
    let server = Command::new(prometheus)
        .arg(format!("--config.file={config}"))
        .arg(format!("--storage.tsdb.path={}", scratch.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus runs");
    let _server = Running(server);
    let alerts = wait_for(
        || get(&address, "/api/v1/alerts"),
        |answer| answer.contains("\"KfilterMatch\"") && answer.contains("\"firing\""),
    );
    assert!(alerts.contains("first matches 1 rows"), "{alerts}");
    assert!(!alerts.contains("KfilterDown"), "{alerts}");
    let query = get(&address, "/api/v1/query?query=process_memory_usage_bytes");
    assert!(query.is_some_and(|answer| answer.contains("process_command")));
}

#[test]
fn promtool_finds_no_fault_in_the_metrics() {
    let Some(promtool) = installed("promtool_finds_no_fault_in_the_metrics", "promtool") else {
        return;
    };
    let scratch = Scratch::new();
    let (_exporter, target) = exporter(&scratch, &[]);
    let answer = wait_for(|| get(&target, "/metrics"), |answer| answer.contains("200 OK"));
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    // OpenTelemetry's names of counts are not to promtool's taste; nothing else may be wrong.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_taste = |line: &str| line.ends_with("should not have \"_count\" suffix");
    assert!(stderr.lines().all(is_taste), "{stderr}\n{body}");
}

#[test]
fn node_exporter_reads_the_textfile() {
    let test = "node_exporter_reads_the_textfile";
    let Some(node_exporter) = installed(test, "prometheus-node-exporter") else { return };
    let scratch = Scratch::new();
    let file = scratch.path().join("kfilter.prom");
    let file = file.to_str().expect("a plain path");
    let (_exporter, _) = exporter(&scratch, &["--textfile", file]);
    let address = format!("127.0.0.1:{}", free_port());
    let server = Command::new(node_exporter)
        .args(["--collector.disable-defaults", "--collector.textfile"])
        .arg(format!("--collector.textfile.directory={}", scratch.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("node_exporter runs");
    let _server = Running(server);
    let answer = wait_for(
        || get(&address, "/metrics"),
        |answer| answer.contains("kfilter_matches{filter=\"first\"} 1"),
    );
    assert!(answer.contains("node_textfile_scrape_error 0"), "{answer}");
}

/// The plugins' own wrapper turns states round: it believes our exit status and our word.
#[test]
fn monitoring_plugins_understand_the_verdict() {
    let Some(negate) = installed("monitoring_plugins_understand_the_verdict", "negate") else {
        return;
    };
    let scratch = Scratch::new();
    for (text, status, word) in
        [(first().as_str(), 0, "KFILTER OK"), (NEVER, 2, "KFILTER CRITICAL")]
    {
        let path = scratch.file("a.kf", text);
        let output = Command::new(&negate)
            .args(["-s", "-o", "CRITICAL", "-c", "OK", BINARY, "probe", &path])
            .output()
            .expect("negate runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{stdout}");
        assert!(stdout.starts_with(word), "{stdout}");
    }
}

#[test]
fn the_ocf_agent_passes_the_tester() {
    let test = "the_ocf_agent_passes_the_tester";
    let (Some(tester), Some(_)) = (installed(test, "ocf-tester"), installed(test, "xmllint"))
    else {
        return;
    };
    let scratch = Scratch::new();
    let filter = scratch.file("never.kf", NEVER);
    let state = scratch.path().join("state");
    let output = Command::new(tester)
        .args(["-n", "kfilter-test", "-o", &format!("filter={filter}")])
        .args(["-o", &format!("binary={BINARY}"), "-o", &format!("state={}", state.display())])
        .args(["-o", "within=5s"])
        .arg(Path::new(PROBES).join("kfilter"))
        .env("OCF_ROOT", "/usr/lib/ocf")
        .output()
        .expect("the tester runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    if stdout.contains("crm_attribute") || stdout.contains("must be run as root") {
        return skipped(test, stdout.trim());
    }
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("passed all tests"), "{stdout}");
}

/// A shell is enough to be Pacemaker: the agent's actions and their exit statuses.
#[test]
fn the_ocf_agent_keeps_the_contract() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let agent = |action: &str, filter: &str| {
        Command::new("sh")
            .arg(Path::new(PROBES).join("kfilter"))
            .arg(action)
            .env("OCF_RESKEY_binary", BINARY)
            .env("OCF_RESKEY_filter", filter)
            .env("OCF_RESKEY_within", "5s")
            .env("OCF_RESKEY_state", &state)
            .output()
            .expect("sh runs")
    };
    let code = |action: &str, filter: &str| agent(action, filter).status.code();
    let (first, never) = (scratch.file("first.kf", first()), scratch.file("never.kf", NEVER));
    let broken = scratch.file("broken.kf", "filter");
    assert_eq!(code("validate-all", &never), Some(0));
    assert_eq!(code("validate-all", &broken), Some(6));
    assert_eq!(code("validate-all", ""), Some(6));
    assert_eq!(code("monitor", &never), Some(7), "not started yet");
    assert_eq!(code("start", &never), Some(0));
    assert_eq!(code("monitor", &never), Some(0));
    assert_eq!(code("monitor", &first), Some(1), "the filter matches");
    let reason = agent("monitor", &first).stderr;
    assert!(String::from_utf8_lossy(&reason).contains("KFILTER CRITICAL"));
    assert_eq!(code("stop", &never), Some(0));
    assert_eq!(code("stop", &never), Some(0), "stopping twice is no error");
    assert_eq!(code("monitor", &never), Some(7));
    assert_eq!(code("dance", &never), Some(3));
    let meta = agent("meta-data", "").stdout;
    assert!(String::from_utf8_lossy(&meta).contains("<resource-agent name=\"kfilter\""));
}

#[test]
fn keepalived_tracks_the_probe() {
    let test = "keepalived_tracks_the_probe";
    let (Some(keepalived), Some(unshare), Some(_)) =
        (installed(test, "keepalived"), installed(test, "unshare"), installed(test, "ip"))
    else {
        return;
    };
    let scratch = Scratch::new();
    let path = scratch.file("first.kf", first());
    let shipped = "/usr/local/bin/kfilter probe /usr/local/share/kfilter/filters/memory_hog.kf";
    let config = std::fs::read_to_string(Path::new(PROBES).join("keepalived.conf"))
        .expect("the configuration")
        .replace(shipped, &format!("{BINARY} probe {path}"))
        .replace("    enable_script_security\n", "")
        .replace("eth0", "kf0")
        .replace("interval 2", "interval 1");
    let config = scratch.file("keepalived.conf", config);
    let set_up = "ip link add kf0 type veth peer name kf1 && ip link set kf1 up && \
                  ip addr add 192.0.2.1/24 dev kf0 && ip link set kf0 up";
    let probe = Command::new(&unshare).args(["-n", "sh", "-c", set_up]).output().expect("it runs");
    if !probe.status.success() {
        return skipped(test, "no network namespace with an interface of its own");
    }
    let pids = scratch.path().join("pid");
    let run = format!(
        "{set_up} && exec timeout 90 {} --dont-fork --log-console --log-detail --vrrp -f {config} -p {p}1 -r {p}2",
        keepalived.display(),
        p = pids.display()
    );
    let mut child = Command::new(unshare)
        .args(["-n", "sh", "-c", &run])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keepalived runs");
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let _child = Running(child);
    let mut seen = String::new();
    for line in log.lines().map_while(Result::ok) {
        seen.push_str(&line);
        seen.push('\n');
        if line.contains("kfilter_memory") && line.contains("exited with status 2") {
            return;
        }
    }
    panic!("keepalived never saw the verdict:\n{seen}");
}

#[test]
fn systemd_accepts_the_units() {
    let Some(analyze) = installed("systemd_accepts_the_units", "systemd-analyze") else { return };
    let scratch = Scratch::new();
    for (name, as_name) in [
        ("kfilter-export.service", "kfilter-export.service"),
        ("kfilter-load.service", "kfilter-load.service"),
        ("kfilter-probe@.service", "kfilter-probe@cpu_hog.service"),
    ] {
        let unit = std::fs::read_to_string(Path::new(PROBES).join(name))
            .expect("the unit")
            .replace("/usr/local/bin/kfilter", BINARY)
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .collect::<Vec<_>>()
            .join("\n");
        let path = scratch.file(as_name, unit);
        let output = Command::new(&analyze).args(["verify", &path]).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !stderr.contains(as_name), "{stderr}");
    }
}
