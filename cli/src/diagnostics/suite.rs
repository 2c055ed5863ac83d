//! Every wrong program of `compiler/tests/diagnostics`, with what an author is told of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Two of the compiler's later stages, and one that no table has columns enough for.
const NOT_SHOWN: [&str; 3] = ["K0035", "K0090", "K0091"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cases() -> Vec<PathBuf> {
    let directory = repository().join("compiler/tests/diagnostics");
    let entries = std::fs::read_dir(directory).expect("the cases are there");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kf"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn wrong_programs_are_answered_as_a_newcomer_would_want() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../compiler/tests/diagnostics");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    settings.bind(|| {
        for path in cases {
            let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
            let source = std::fs::read_to_string(&path).expect("readable");
            let analysis = kfilter_compiler::parse_and_check(&source);
            assert!(!analysis.diagnostics.is_empty(), "nothing is said of {name}");
            let file = format!("{name}.kf");
            insta::assert_snapshot!(
                name,
                super::render(&file, &source, &analysis.diagnostics, false)
            );
        }
    });
}

#[test]
fn every_code_is_explained_and_has_a_case() {
    let language =
        std::fs::read_to_string(repository().join("docs/language.md")).expect("readable");
    let explained: BTreeSet<&str> = language
        .lines()
        .filter_map(|line| line.strip_prefix("| K"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let shown: BTreeSet<String> = cases()
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("readable"))
        .flat_map(|source| kfilter_compiler::parse_and_check(&source).diagnostics)
        .map(|diagnostic| diagnostic.code.trim_start_matches('K').to_owned())
        .collect();
    for code in &shown {
        assert!(explained.contains(code.as_str()), "docs/language.md does not explain K{code}");
    }
    for code in explained {
        let excused = NOT_SHOWN.iter().any(|late| late.ends_with(code));
        assert!(excused || shown.contains(code), "no case shows K{code}");
    }
}

/// Codes that the compiler's source names, of whatever stage.
#[test]
fn no_code_of_the_source_is_left_unexplained() {
    let language =
        std::fs::read_to_string(repository().join("docs/language.md")).expect("readable");
    let mut directories = vec![repository().join("compiler/src")];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            for text in source.split("\"K").skip(1) {
                let code: String = text.chars().take_while(char::is_ascii_digit).collect();
                if code.len() == 4 {
                    assert!(language.contains(&format!("| K{code} |")), "K{code} in {path:?}");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 50, "{count} codes");
}

#[test]
fn the_filters_of_the_documentation_are_right() {
    let language =
        std::fs::read_to_string(repository().join("docs/language.md")).expect("readable");
    let mut count = 0;
    for block in language.split("```kf\n").skip(1) {
        let source = block.split("```").next().unwrap_or_default();
        let compiled = kfilter_compiler::parse_and_check(source);
        assert!(compiled.diagnostics.is_empty(), "{source}\n{:#?}", compiled.diagnostics);
        count += 1;
    }
    assert!(count >= 3, "{count} filters");
}
