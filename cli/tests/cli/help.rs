//! Help, man pages, completions: what the binary says of itself.

use crate::support::{Scratch, kfilter};

const SUBCOMMANDS: [&str; 17] = [
    "compile",
    "check",
    "run",
    "watch",
    "load",
    "list",
    "show",
    "read",
    "unload",
    "probe",
    "export",
    "record",
    "replay",
    "fields",
    "doctor",
    "completions",
    "man",
];

#[test]
fn the_main_help_lists_commands_and_exit_statuses() {
    insta::assert_snapshot!(kfilter(["--help"]).exits(0).stdout);
}

#[test]
fn every_subcommand_has_help() {
    for name in SUBCOMMANDS {
        insta::assert_snapshot!(format!("help_{name}"), kfilter([name, "--help"]).exits(0).stdout);
    }
}

#[test]
fn the_version_is_the_packages() {
    let said = kfilter(["--version"]).exits(0);
    assert_eq!(said.stdout, format!("kfilter {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn there_is_a_man_page_for_each_subcommand() {
    let scratch = Scratch::new();
    kfilter(["man", scratch.path().to_str().expect("a plain path")]).exits(0);
    for name in SUBCOMMANDS {
        let page = scratch.path().join(format!("kfilter-{name}.1"));
        let page = std::fs::read_to_string(page).expect("a page");
        assert!(page.contains(".TH"), "{name}");
    }
    let main = kfilter(["man"]).exits(0).stdout;
    assert!(main.contains("Exit status"), "{main}");
    kfilter(["man", "/nonexistent/directory"]).exits(3);
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = kfilter(["completions", shell]).exits(0).stdout;
        for name in SUBCOMMANDS {
            assert!(script.contains(name), "{shell} {name}");
        }
    }
}

#[test]
fn fields_have_three_forms() {
    let table = kfilter(["fields", "thread"]).exits(0).stdout;
    assert!(table.contains("tid ") && !table.contains('\x1b'), "{table}");
    for line in kfilter(["fields", "--format", "json"]).exits(0).stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a JSON line");
    }
    let page = kfilter(["fields", "--format", "markdown"]).exits(0).stdout;
    assert!(page.starts_with("# Tables\n"), "{page}");
    kfilter(["fields", "proces"]).exits(2);
}
