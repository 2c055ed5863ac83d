//! Whatever is handed in, the answer is a clear error and exit status 2.

use crate::support::{Scratch, first, kfilter, kfilter_reading};
use std::io::Read as _;

/// Commands that take a file of filters.
const COMMANDS: [&[&str]; 3] =
    [&["check"], &["run", "--count", "1"], &["compile", "-o", "/dev/null"]];

#[track_caller]
fn refused(path: &str) -> String {
    let mut said = String::new();
    for command in COMMANDS {
        let args: Vec<&str> = command.iter().copied().chain([path]).collect();
        let run = kfilter(&args).exits(2);
        assert_eq!(run.stdout, "", "{args:?}");
        assert!(run.stderr.contains("error"), "{args:?}: {}", run.stderr);
        said = run.stderr;
    }
    said
}

#[test]
fn usage_errors_exit_2() {
    kfilter([] as [&str; 0]).exits(2);
    kfilter(["frobnicate"]).exits(2);
    kfilter(["run"]).exits(2);
    kfilter(["run", "--every", "1", "x.kf"]).exits(2);
    kfilter(["run", "--count", "0", "x.kf"]).exits(2);
    kfilter(["run", "-p", "max", "x.kf"]).exits(2);
    kfilter(["run", "--format", "xml", "x.kf"]).exits(2);
}

#[test]
fn files_that_cannot_be_read() {
    assert!(refused("/nonexistent/hog.kf").contains("No such file"));
    assert!(refused("/").contains("directory"));
}

#[test]
fn files_that_hold_no_filter() {
    let scratch = Scratch::new();
    refused(&scratch.file("empty.kf", ""));
    refused(&scratch.file("comment.kf", "# nothing here\n"));
    refused(&scratch.file("broken.kf", "filter hog on process {"));
    refused(&scratch.file("zeros.kf", [0_u8; 4096]));
    let junk: Vec<u8> = (0..=255_u8).cycle().take(9000).collect();
    assert!(refused(&scratch.file("junk.kf", junk)).contains("UTF-8"));
    refused(&scratch.file("elf.kf", b"\x7fELF"));
    refused(
        &scratch.file("nested.kf", format!("filter a on process {{ where {}", "(".repeat(50_000))),
    );
    refused(&scratch.file("long.kf", format!("filter {} on process {{", "a".repeat(1 << 20))));
}

#[test]
fn every_error_of_a_file_is_shown_with_its_place() {
    let scratch = Scratch::new();
    let text = "filter hog on proces {\n    where rss > 10s and frobs > 1\n    emit pid\n}\n";
    let said = kfilter(["check", &scratch.file("wrong.kf", text)]).exits(2);
    assert!(said.stderr.contains("wrong.kf:1:15"), "{}", said.stderr);
}

#[test]
fn absurd_literals_are_refused() {
    let scratch = Scratch::new();
    for literal in ["99999999999GiB", "99999999999999999999", "1e400s", "0x", "5parsecs"] {
        let text = format!("filter hog on process {{ where rss > {literal} emit pid }}\n");
        let said = refused(&scratch.file("absurd.kf", text));
        assert!(said.contains("absurd.kf:1:"), "{said}");
    }
}

#[test]
fn unknown_parameters_and_filters_are_named() {
    let scratch = Scratch::new();
    let text = "filter hog on process { param max = 10% where rate(cpu_time) > max emit pid }\n\
                filter other on process { where pid == 1 emit pid }\n";
    let path = scratch.file("two.kf", text);
    let base = ["run", "--count", "1", path.as_str()];
    let with = |more: &[&str]| kfilter(base.iter().chain(more)).exits(2).stderr;
    assert!(with(&["-p", "maxx=1"]).contains("maxx"));
    assert!(with(&["--filter", "hogg"]).contains("hog, other"));
    assert!(with(&["--filter", "hog", "-p", "max=10s"]).contains("max"));
    assert!(with(&["--filter", "hog", "-p", "max=99999999999999999999999"]).contains("max"));
    assert!(with(&["-p", "other.max=1"]).contains("max"));
    assert!(with(&["-p", "hog.max=1%", "-p", "hog.max=2%"]).contains("twice"));
}

#[test]
fn objects_may_be_cut_or_damaged_anywhere() {
    let scratch = Scratch::new();
    let source = scratch.file("first.kf", first());
    let path = scratch.path().join("first.bpf.o");
    let path = path.to_str().expect("a plain path");
    kfilter(["compile", &source, "-o", path]).exits(0);
    let object = std::fs::read(path).expect("an object");
    let run = |bytes: &[u8]| {
        let path = scratch.file("damaged.bpf.o", bytes);
        let said = kfilter(["run", "--host", "vm", "--count", "1", &path]);
        assert!((0..=4).contains(&said.status), "{said:#?}");
        assert!(!said.stderr.contains("panicked"), "{said:#?}");
        said.status
    };
    assert_eq!(run(&object), 0);
    for length in (4..object.len()).step_by(object.len() / 60 + 1) {
        assert_eq!(run(&object[..length]), 2, "cut at {length} of {}", object.len());
    }
    for place in (0..object.len()).step_by(object.len() / 150 + 1) {
        let mut damaged = object.clone();
        damaged[place] ^= 0xff;
        run(&damaged);
    }
}

#[test]
fn foreign_objects_are_refused() {
    let scratch = Scratch::new();
    let mut program = Vec::new();
    let binary = std::fs::File::open(env!("CARGO_BIN_EXE_kfilter")).expect("the binary");
    binary.take(8192).read_to_end(&mut program).expect("its beginning");
    let path = scratch.file("program", program);
    for command in [&["run"][..], &["check"], &["load"]] {
        let said = kfilter(command.iter().copied().chain([path.as_str()])).exits(2);
        assert!(said.stderr.contains("not a BPF object"), "{}", said.stderr);
        assert!(said.stderr.contains(&path), "{}", said.stderr);
    }
    let said = kfilter(["compile", &path]).exits(2);
    assert!(said.stderr.contains("not a filter's text"), "{}", said.stderr);

    // What other compilers make has no sections of ours.
    let made = scratch.path().join("made.bpf.o");
    let made = made.to_str().expect("a plain path");
    kfilter(["compile", &scratch.file("first.kf", first()), "-o", made]).exits(0);
    let mut object = std::fs::read(made).expect("an object");
    let name = b".kfilter.";
    while let Some(at) = object.windows(name.len()).position(|bytes| bytes == name) {
        object[at + 1] = b'x';
    }
    let said = kfilter(["run", &scratch.file("other.bpf.o", object)]).exits(2);
    assert!(said.stderr.contains("no filter of kfilter's in"), "{}", said.stderr);
    assert!(said.stderr.contains("kfilter compile"), "{}", said.stderr);
}

#[test]
fn standard_input_is_a_file_too() {
    let args = ["run", "--count", "1", "-"];
    kfilter_reading(first().as_bytes(), &args).exits(0);
    kfilter_reading(b"\xff\xfe", &args).exits(2);
    kfilter_reading(&vec![b' '; 17 << 20], &args).exits(2);
}
