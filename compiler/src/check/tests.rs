//! What authors rely on: precedence, units, sharing, and that nothing is too much.

use super::parse_and_check;
use crate::hir::{ExprId, ExprKind, Filter};

/// The only filter of a text without errors.
fn filter(source: &str) -> Filter {
    let mut analysis = parse_and_check(source);
    assert!(!analysis.has_errors(), "{source}\n{:#?}", analysis.diagnostics);
    analysis.filters.remove(0)
}

fn codes(source: &str) -> Vec<&'static str> {
    parse_and_check(source).diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

/// A filter on process with this condition.
fn on_process(condition: &str) -> String {
    format!("filter f on process {{ where {condition} emit pid }}")
}

/// The condition in full parentheses.
fn shape(source: &str) -> String {
    let filter = filter(&on_process(source));
    let root = filter.condition.expect("it has a condition");
    show(&filter, root)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest shows itself well enough")]
fn show(filter: &Filter, id: ExprId) -> String {
    match &filter.expr(id).kind {
        ExprKind::Const(value) => value.to_string(),
        ExprKind::Column(column) => column.0.name.to_owned(),
        ExprKind::System(value) => value.name().to_owned(),
        ExprKind::MulDiv(a, b, c) => {
            format!("({} * {} / {})", show(filter, *a), show(filter, *b), show(filter, *c))
        }
        ExprKind::And(a, b) => format!("({} and {})", show(filter, *a), show(filter, *b)),
        ExprKind::Or(a, b) => format!("({} or {})", show(filter, *a), show(filter, *b)),
        ExprKind::Not(a) => format!("(not {})", show(filter, *a)),
        ExprKind::Neg(a) => format!("(-{})", show(filter, *a)),
        ExprKind::Binary(op, a, b) => format!("({op:?} {} {})", show(filter, *a), show(filter, *b)),
        ExprKind::Compare(op, a, b) => {
            format!("({op:?} {} {})", show(filter, *a), show(filter, *b))
        }
        ExprKind::If(a, b, c) => {
            format!("(if {} {} {})", show(filter, *a), show(filter, *b), show(filter, *c))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn operators_bind_as_documented() {
    for (source, expected) in [
        ("nice + 2 * 3 == 4 - 1 - 1", "(Eq (Add nice (Mul 2 3)) (Sub (Sub 4 1) 1))"),
        ("nice > 1 or nice > 2 and nice > 3", "((Gt nice 1) or ((Gt nice 2) and (Gt nice 3)))"),
        ("not nice > 1 and nice > 2", "((not (Gt nice 1)) and (Gt nice 2))"),
        ("not (nice > 1 and nice > 2)", "(not ((Gt nice 1) and (Gt nice 2)))"),
        ("-nice + 1 > 0", "(Gt (Add (-nice) 1) 0)"),
        ("threads mod 3 * 2 == 1", "(Eq (Mul (Mod threads 3) 2) 1)"),
        ("nice in (1, 2)", "((Eq nice 1) or (Eq nice 2))"),
        ("nice not in (1, 2)", "(not ((Eq nice 1) or (Eq nice 2)))"),
        (
            "if kernel_thread then nice > 1 else nice > 2 or exiting",
            "(if kernel_thread (Gt nice 1) ((Gt nice 2) or exiting))",
        ),
        ("state == zombie", "(Eq state 6)"),
        ("zombie == state", "(Eq 6 state)"),
        ("threads > 150%", "(Gt (Mul threads 1000000) 1500000)"),
        ("1s > age", "(Gt 1000000000 age)"),
        ("rss > 0", "(Gt rss 0)"),
    ] {
        assert_eq!(shape(source), expected, "{source}");
    }
}

#[test]
fn equal_expressions_are_one() {
    let filter = filter(
        "filter f on process { let a = rate(cpu_time) where rate(cpu_time) > 1% and a < 3 emit a }",
    );
    let rates =
        filter.exprs.iter().filter(|expr| matches!(expr.kind, ExprKind::History(_))).count();
    assert_eq!(rates, 1);
}

#[test]
fn operands_come_before_what_uses_them() {
    let filter = filter(include_str!("../../../filters/cpu_hog.kf"));
    for (index, expr) in filter.exprs.iter().enumerate() {
        assert!(expr.kind.operands().iter().all(|operand| (operand.0 as usize) < index));
    }
    assert_eq!(
        filter.params[0].doc,
        "Share of one CPU: 100% is one CPU fully used, a process with threads can use more."
    );
    assert!(filter.doc.starts_with("Processes that burn"));
}

#[test]
fn comments_document_what_they_stand_before() {
    let filter = filter(
        "# Not about the filter.\n\n# About it,\n# in two lines.\nfilter f on process {\n\
         param a = 1 # about nothing\n param b = 2 ## about nothing\n\
         ## About c,\n ## in two lines.\n param c = 3\n # plain\n param d = 4\n\
         ## too far\n\n param e = 5\n emit pid, a, b, c, d, e }",
    );
    assert_eq!(filter.doc, "About it,\nin two lines.");
    let docs: Vec<&str> = filter.params.iter().map(|param| param.doc.as_str()).collect();
    assert_eq!(docs, ["", "", "About c,\nin two lines.", "", ""]);
}

/// One example of each unit, and the type of every operation on each pair; `-` is refused.
#[test]
fn the_algebra_of_units() {
    let examples = [
        ("count", "threads"),
        ("bytes", "rss"),
        ("duration", "age"),
        ("ratio", "(rss / swap)"),
        ("instant", "start_time"),
        ("rate", "(rss / age)"),
        ("id", "pid"),
        ("bool", "exiting"),
        ("text", "comm"),
        ("enum", "state"),
        ("literal", "7"),
        ("zero", "0"),
    ];
    let mut table = String::new();
    for op in ["+", "-", "*", "/", "mod", "<", "=="] {
        for (left, a) in examples {
            for (right, b) in examples {
                let source = format!("filter f on process {{ emit {a} {op} {b} as x }}");
                let analysis = parse_and_check(&source);
                if let Some(filter) = analysis.filters.first() {
                    let ty = filter.expr(filter.emit[0].expr).ty;
                    table.push_str(&format!("{left} {op} {right} = {ty}\n"));
                } else {
                    assert!(analysis.has_errors(), "{source}");
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// The same for what only threads and mappings have.
#[test]
fn the_algebra_of_names() {
    let examples = [
        (
            "thread",
            [("id", "tid"), ("thread", "waits_for"), ("address", "waits_on"), ("literal", "7")],
        ),
        (
            "mapping",
            [
                ("object", "object"),
                ("device", "object.device"),
                ("id", "object.inode"),
                ("literal", "7"),
            ],
        ),
    ];
    let mut table = String::new();
    for (on, examples) in examples {
        for op in ["+", "*", "<", "=="] {
            for (left, a) in examples {
                for (right, b) in examples {
                    let source = format!("filter f on {on} {{ emit {a} {op} {b} as x }}");
                    if let Some(filter) = parse_and_check(&source).filters.first() {
                        let ty = filter.expr(filter.emit[0].expr).ty;
                        table.push_str(&format!("{left} {op} {right} = {ty}\n"));
                    }
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// Every scale that the checker makes explicit, as `MulDiv` or `Mul`.
#[test]
fn conversions_are_written_out() {
    for (source, expected) in [
        ("rss / system.memory > 1%", "(Gt (rss * 1000000 / system.memory) 10000)"),
        ("rss > 10% * system.memory", "(Gt rss (100000 * system.memory / 1000000))"),
        ("read_bytes / age > 1B/s", "(Gt (read_bytes * 1000000000000000 / age) 1000000)"),
        ("cpu_time / age > 50%", "(Gt (cpu_time * 1000000 / age) 500000)"),
        ("threads / 50% > 2", "(Gt ((Mul threads 1000000) * 1000000 / 500000) 2000000)"),
        ("threads / 3 > 0.5", "(Gt (threads * 1000000 / 3) 500000)"),
        ("rss / threads > 1B", "(Gt (Div rss threads) 1)"),
        (
            "rss / (rss / age) > 1s",
            "(Gt (rss * 1000000000000000 / (rss * 1000000000000000 / age)) 1000000000)",
        ),
        (
            "(rss / age) * 2s > 1B",
            "(Gt ((rss * 1000000000000000 / age) * 2000000000 / 1000000000000000) 1)",
        ),
        ("min(threads, 150%) > 1", "(Gt (Min (Mul threads 1000000) 1500000) 1000000)"),
        ("start_time + age > start_time", "(Gt (Add start_time age) start_time)"),
    ] {
        assert_eq!(shape(source), expected, "{source}");
    }
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let source = "
        filter a on proces { emit pid }
        filter b on process {
            param max = rss
            where cpu_tim > 80% or rss > 10s
            emit pid, comm as
            top 0 by comm
        }
        filter c on thread { where rss >  emit tid }
        filter d on thread { wehre true emit tid }";
    let found = codes(source);
    for code in ["K0012", "K0039", "K0011", "K0016", "K0007", "K0032", "K0033"] {
        assert!(found.contains(&code), "{code} is missing in {found:?}");
    }
    assert!(found.len() >= 8, "{found:?}");
}

#[test]
fn depth_and_length_are_limited() {
    for source in [
        on_process(&"(".repeat(50_000)),
        on_process(&"not ".repeat(50_000)),
        on_process(&"-".repeat(50_000)),
        on_process(&format!("nice > 1{}", " + 1".repeat(50_000))),
        on_process(&"if ".repeat(50_000)),
        on_process(&"abs(".repeat(50_000)),
    ] {
        assert!(codes(&source).contains(&"K0008"), "{}", &source[..80]);
    }
    assert_eq!(codes(&" ".repeat(2 << 20)), ["K0045"]);
    for (source, code) in [
        ((0..300).map(|i| format!("filter f{i} on process {{ emit pid }}\n")).collect(), "K0045"),
        (on_process(&format!("nice in ({})", "1,".repeat(5000))), "K0045"),
        (format!("filter f on process {{ {}", "severity warning ".repeat(1000)), "K0045"),
        ("é ".repeat(1000), "K0048"),
        (doubled(30), "K0047"),
        (format!("filter f on process {{ {} emit pid }}", chained(250)), "K0047"),
    ] {
        assert!(codes(&source).contains(&code), "{code}: {}", &source[..80]);
    }
    assert_eq!(codes(&on_process(&format!("nice in ({}1)", "1,".repeat(2000)))), [""; 0]);
}

/// Lets that each name the one before twice: small to write, large when put in place.
fn doubled(n: usize) -> String {
    let lets: String =
        (1..n).map(|i| format!("let c{i} = c{} or not c{}\n", i - 1, i - 1)).collect();
    format!("filter f on process {{ let c0 = nice > 1 {lets} where c{} emit pid }}", n - 1)
}

/// Lets that each name the one before.
fn chained(n: usize) -> String {
    let lets = (1..n).map(|i| format!("let a{i} = a{} + 1\n", i - 1));
    std::iter::once("let a0 = nice\n".to_owned()).chain(lets).collect()
}

#[test]
fn rules_of_severity_become_a_field() {
    let filter = filter(
        "filter f on process { where rss > 1GiB severity warning \
         severity critical when rss > 2GiB emit pid }",
    );
    assert_eq!(filter.severity, Some(kernel_vm::object::Severity::Warning));
    assert_eq!(filter.emit[1].name, "severity");
}

#[test]
fn a_limit_emits_who_it_is() {
    let filter = filter(
        "filter f on process { let m = rss where m > 1GiB emit comm \
         limit { leave when m < 512MiB after 0s notify after 10s nice 10 after 1min kill } }",
    );
    let names: Vec<&str> = filter.emit.iter().map(|emit| emit.name.as_str()).collect();
    assert_eq!(names, ["comm", "pid", "start_time"]);
    assert_eq!(filter.limit.expect("it has one").rungs.len(), 3);
}

#[test]
fn every_shipped_filter_is_right_documented_and_listed() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../filters");
    let listed = include_str!("../../../docs/filters.md");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the filters are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "kf") {
            let source = std::fs::read_to_string(&path).expect("readable");
            let analysis = parse_and_check(&source);
            assert!(
                analysis.diagnostics.is_empty(),
                "{}: {:#?}",
                path.display(),
                analysis.diagnostics
            );
            let filter = &analysis.filters[0];
            assert!(!filter.doc.is_empty(), "{}", path.display());
            assert!(filter.params.iter().all(|param| !param.doc.is_empty()), "{}", path.display());
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            assert_eq!(stem.as_deref(), Some(filter.name.as_str()));
            assert!(listed.contains(&format!("| `{}` | {} |", filter.name, filter.table.name())));
            count += 1;
        }
    }
    assert!(count >= 15, "{count} filters");
}
