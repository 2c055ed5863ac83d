//! The parser, the checker and the rest of the compiler on any text at all.

use kfilter_tests::fuzz;

const WORDS: &[&[u8]] = &[
    b"filter ",
    b" on process {",
    b"param ",
    b"let ",
    b"where ",
    b" for 10s",
    b"emit ",
    b" as ",
    b"top 20 by ",
    b" and ",
    b" or ",
    b"not ",
    b"if ",
    b" then ",
    b" else ",
    b" in ",
    b" mod ",
    b"starts_with",
    b"rate(",
    b"delta(",
    b"min(",
    b"max(",
    b"zscore(cpu, 5min)",
    b"cpu_time",
    b"rss",
    b"comm",
    b"\"text\"",
    b"99999999999GiB",
    b"80%",
    b"-9223372036854775808",
    b"1.5s",
    b"system.memory",
    b"group by ",
    b"having ",
    b"sum(",
    b"((((((((",
    b"))))))))",
    b"}",
    b"# x\n",
    b"## doc\n",
    b"severity critical",
    b"limit",
    b"==",
    b"!=",
    b"<=",
    b"/ 0",
    b"\xff",
    b"\0",
];

#[test]
fn the_compiler_never_panics() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters");
    let seeds: Vec<Vec<u8>> = std::fs::read_dir(shipped)
        .expect("the shipped filters")
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path()).ok())
        .collect();
    fuzz::run("language", &seeds, WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let analysis = kfilter_compiler::parse_and_check(&text);
        for diagnostic in &analysis.diagnostics {
            let span = diagnostic.primary.span;
            assert!(span.start <= span.end && span.end <= text.len(), "{diagnostic:?}");
            assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
        }
    });
}
