//! A loaded filter's `text` file beside the command's own tables: the kernel renders every
//! kind of value as the command does, whatever the value is.

use crate::support::{Name, Scratch, kfilter, skipped};

/// Parameters by type, each with values around the places where the rendering changes.
const VALUES: [(&str, &str, &[&str]); 4] = [
    (
        "count",
        "0",
        &["0", "9", "10", "99", "4194304", "9223372036854775807", "-9223372036854775807", "-7"],
    ),
    (
        "bytes",
        "0B",
        &[
            "0B",
            "1023B",
            "1024B",
            "1536B",
            "-1536B",
            "1048524B",
            "1048525B",
            "1048575B",
            "536870912B",
            "1072693248B",
            "1073741823B",
            "9223372036854775807B",
            "-9223372036854775807B",
            "1099511627776B",
            "1125899906842623B",
            "10485759B",
        ],
    ),
    (
        "duration",
        "0s",
        &[
            "0ns",
            "999ns",
            "1000ns",
            "1500ns",
            "-1500ns",
            "999949ns",
            "999950ns",
            "350ms",
            "999949999ns",
            "999950000ns",
            "1234ms",
            "59949999999ns",
            "59950000000ns",
            "59990ms",
            "123400ms",
            "3599499ms",
            "3599999ms",
            "3600000ms",
            "3725s",
            "86399s",
            "86400s",
            "90000s",
            "9223372036854775807ns",
            "-9223372036854775807ns",
        ],
    ),
    (
        "ratio",
        "0%",
        &[
            "0%", "0.04%", "0.05%", "97.1234%", "99.9999%", "-0.5%", "-0.0499%", "999.94%",
            "999.95%", "1600%", "-123456%",
        ],
    ),
];

/// The cells of a table's line; two blanks or more stand between them.
fn cells(text: &str, line: usize) -> Vec<String> {
    let line = text.lines().nth(line).unwrap_or_else(|| panic!("no line {line} in {text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// Loads `text`, and compares both renderings of its only record.
fn compare(test: &str, text: &str, params: &[String]) -> bool {
    let (scratch, name) = (Scratch::new(), Name::new(test));
    let path = scratch.file("a.kf", text);
    let mut args = vec!["load", "--name", &name.0, &path];
    params.iter().for_each(|param| args.extend(["-p", param]));
    let said = kfilter(&args);
    if matches!(said.status, 3 | 4) {
        skipped(test, said.stderr.trim());
        return false;
    }
    said.exits(0);
    let own = name.run("read").exits(0).stdout;
    let file = std::fs::read_to_string(format!("/sys/fs/bpf/kfilter/{}/text", name.0));
    let file = file.expect("it is loaded");
    assert_eq!(cells(&file, 0), cells(&own, 0), "{file}\n{own}");
    assert_eq!(cells(&file, 1), cells(&own, 1), "{file}\n{own}");
    assert_eq!(file.lines().count(), 2, "{file}");
    true
}

#[test]
fn amounts_are_rendered_alike() {
    for (ty, default, values) in VALUES {
        for some in values.chunks(12) {
            let param = |i: usize| format!("{ty}{i}");
            let declared: Vec<String> =
                (0..some.len()).map(|i| format!("param {} = {default}\n", param(i))).collect();
            // Divided by a time counts and bytes are rates, which are rendered in their own way.
            let has_rate = matches!(ty, "count" | "bytes");
            let emitted: Vec<String> = (0..some.len())
                .map(|i| match has_rate {
                    true => format!("{p} as {p}_shown, {p} / 10s as {p}_rate", p = param(i)),
                    false => format!("{p} as {p}_shown", p = param(i)),
                })
                .collect();
            let text = format!(
                "filter amounts on process {{ {} where vpid == {} emit {} }}\n",
                declared.concat(),
                std::process::id(),
                emitted.join(", ")
            );
            let given: Vec<String> =
                some.iter().enumerate().map(|(i, value)| format!("{}={value}", param(i))).collect();
            if !compare("amounts", &text, &given) {
                return;
            }
        }
    }
}

#[test]
fn other_kinds_are_rendered_alike() {
    let me = std::process::id();
    let _held = std::fs::File::open(std::env::current_exe().expect("this test")).expect("it is");
    for text in [
        format!(
            "filter kinds on process {{ where vpid == {me} emit pid, comm, start_time, \
             kernel_thread, policy, exiting, mean(rss, 1h) as unknown, uid, cgroup }}\n"
        ),
        format!(
            "filter kinds on thread {{ where vpid == {me} and vtid == {me} \
             emit tid, waits_on, waits_for, wait_class, cycle.length }}\n"
        ),
        format!(
            "filter kinds on file {{ where vpid == {me} and fd == 0 \
             emit fd, kind, device, inode, name, flags, position, size }}\n"
        ),
        format!(
            "filter kinds on mapping {{ where vpid == {me} and object.kind == file \
             group by pid, object having min(size) > 0B and object.name starts_with \"cli-\" \
             emit pid, object, object.name, object.kind, count() as n }}\n"
        ),
    ] {
        if !compare("kinds", &text, &[]) {
            return;
        }
    }
}

#[test]
fn a_user_without_privilege_reads_the_lines() {
    let test = "a_user_without_privilege_reads_the_lines";
    let (scratch, name) = (Scratch::new(), Name::new("lines"));
    let path = scratch.file("a.kf", crate::support::first());
    let said = kfilter(["load", "--mode", "0644", "--name", &name.0, &path]);
    if matches!(said.status, 3 | 4) {
        return skipped(test, said.stderr.trim());
    }
    assert!(said.exits(0).stderr.contains("/text"), "it says where");
    let Some(said) = crate::privilege::as_nobody(test, &scratch, &["read", &name.0]) else {
        return;
    };
    let said = said.exits(0);
    assert!(said.stdout.contains("VPID"), "{}", said.stdout);
    let args = ["read", "--format", "json", &name.0];
    let said = crate::privilege::as_nobody(test, &scratch, &args).expect("it ran before").exits(4);
    assert!(said.stderr.contains("lines only"), "{}", said.stderr);
    let shown = name.run("show").exits(0).stdout;
    assert!(shown.contains("/text (mode 0644)"), "{shown}");
}
