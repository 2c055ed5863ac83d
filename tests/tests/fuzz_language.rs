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

/// The sources below `directory` of the repository.
fn sources(directory: &str) -> Vec<Vec<u8>> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let entries = std::fs::read_dir(directory).expect("the sources are there").flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kf"))
        .collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

#[test]
fn the_compiler_never_panics() {
    let seeds = [sources("filters"), sources("compiler/tests/diagnostics")].concat();
    fuzz::run("language", &seeds, WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let analysis = kfilter_compiler::parse_and_check(&text);
        for diagnostic in &analysis.diagnostics {
            let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
            for span in labels.map(|label| label.span) {
                assert!(span.start <= span.end && span.end <= text.len(), "{diagnostic:?}");
            }
            assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
        }
        if !analysis.has_errors() {
            assert!(!analysis.filters.is_empty(), "neither a filter nor an error");
            let compiled = kfilter_compiler::compile("fuzz.kf", &text);
            assert!(compiled.map_or_else(|told| !told.is_empty(), |made| !made.object.is_empty()));
        }
    });
}
