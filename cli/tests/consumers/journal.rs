//! The records that a real journald keeps.

use crate::support::{Scratch, first, skipped};
use crate::{BINARY, installed};
use std::path::Path;
use std::process::Command;

const JOURNALD: &str = "/lib/systemd/systemd-journald";

#[test]
fn journald_keeps_records_with_their_fields() {
    let test = "journald_keeps_records_with_their_fields";
    let (Some(unshare), Some(_)) = (installed(test, "unshare"), installed(test, "journalctl"))
    else {
        return;
    };
    if !Path::new(JOURNALD).is_file() {
        return skipped(test, "systemd-journald is not installed");
    }
    let private_run = "mount -t tmpfs tmpfs /run";
    let probe = Command::new(&unshare).args(["-m", "sh", "-c", private_run]).output();
    if !probe.expect("it runs").status.success() {
        return skipped(test, "no mount namespace with a /run of its own");
    }
    let scratch = Scratch::new();
    let path = scratch.file("first.kf", first());
    // In a mount namespace of its own the daemon neither sees nor disturbs the machine's.
    let script = format!(
        "{private_run} || exit 9
         timeout 80 {JOURNALD} & daemon=$!
         tries=0
         until [ -S /run/systemd/journal/socket ] || [ $tries -ge 300 ]; do
             sleep 0.1; tries=$((tries + 1))
         done
         {BINARY} export --count 1 --journald {path}; status=$?
         found=; tries=0
         until [ -n \"$found\" ] || [ $tries -ge 300 ]; do
             found=$(journalctl --directory=/run/log/journal -o json KFILTER_FILTER=first)
             sleep 0.1; tries=$((tries + 1))
         done
         kill $daemon; wait $daemon
         printf '%s\\n' \"$found\"
         exit $status"
    );
    let output = Command::new(&unshare).args(["-m", "sh", "-c", &script]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{stderr}");
    let line = text.lines().next().unwrap_or_default();
    let entry: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}\n{stderr}"));
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(field("SYSLOG_IDENTIFIER"), "kfilter");
    assert_eq!(field("PRIORITY"), "4");
    assert!(field("KFILTER_PID").parse::<u32>().is_ok(), "{line}");
    assert!(field("MESSAGE").starts_with("first: "), "{line}");
}
