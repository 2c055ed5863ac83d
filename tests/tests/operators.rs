//! Every operator and conversion of units, in the kernel and in the VM, against 128-bit
//! integers.
//!
//! The operands are parameters, so that the code under test is that of a shipped object; a
//! single row, this process, computes them all.

use kernel_vm::object::FilterMeta;
use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::host::module::ModuleHost;
use kfilter_loader::host::vm::VmHost;
use kfilter_loader::record::{Value, fields};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{Host as _, HostKind, Object, Request};
use kfilter_tests::run::hosts;

/// The parameters, by type: counts, bytes, durations, ratios.
const PARAMS: [(&str, &str); 8] = [
    ("a", "1"),
    ("b", "1"),
    ("x", "1B"),
    ("y", "1B"),
    ("d", "1ns"),
    ("e", "1ns"),
    ("r", "1%"),
    ("q", "1%"),
];

/// What an expression means on the values of [`PARAMS`], in that order.
type Meaning = fn(&[i128; 8]) -> i128;
/// What a condition says of eight values.
type Verdict = fn(&[i128; 8]) -> bool;

const ONE: i128 = 1_000_000;
const PER_SECOND: i128 = 1_000_000_000_000_000;

fn sat(value: i128) -> i128 {
    value.clamp(i64::MIN.into(), i64::MAX.into())
}

fn mul_div(a: i128, b: i128, c: i128) -> i128 {
    if c == 0 { 0 } else { sat(a * b / c) }
}

/// Arithmetic, by the expression in the language.
const NUMBERS: [(&str, Meaning); 34] = [
    ("a + b", |&[a, b, ..]| sat(a + b)),
    ("a - b", |&[a, b, ..]| sat(a - b)),
    ("a * b", |&[a, b, ..]| sat(a * b)),
    ("a / b", |&[a, b, ..]| mul_div(a, ONE, b)),
    ("a mod b", |&[a, b, ..]| a.checked_rem(b).unwrap_or(a)),
    ("-a", |&[a, ..]| sat(-a)),
    ("abs(a)", |&[a, ..]| sat(a.abs())),
    ("min(a, b)", |&[a, b, ..]| a.min(b)),
    ("max(a, b)", |&[a, b, ..]| a.max(b)),
    ("if a > b then a else b + 1", |&[a, b, ..]| if a > b { a } else { sat(b + 1) }),
    ("a + 3", |&[a, ..]| sat(a + 3)),
    ("a * 1000", |&[a, ..]| sat(a * 1000)),
    ("a * -7", |&[a, ..]| sat(a * -7)),
    ("x + y", |&[_, _, x, y, ..]| sat(x + y)),
    ("x - y", |&[_, _, x, y, ..]| sat(x - y)),
    ("x * a", |&[a, _, x, ..]| sat(x * a)),
    ("x / a", |&[a, _, x, ..]| x.checked_div(a).map_or(0, sat)),
    ("x / 1000", |&[_, _, x, ..]| x / 1000),
    ("x / y", |&[_, _, x, y, ..]| mul_div(x, ONE, y)),
    ("x * r", |&[_, _, x, _, _, _, r, _]| mul_div(x, r, ONE)),
    ("x / r", |&[_, _, x, _, _, _, r, _]| mul_div(x, ONE, r)),
    ("x * 80%", |&[_, _, x, ..]| mul_div(x, 800_000, ONE)),
    ("x / d", |&[_, _, x, _, d, ..]| mul_div(x, PER_SECOND, d)),
    ("x / 10s", |&[_, _, x, ..]| mul_div(x, PER_SECOND, 10_000_000_000)),
    ("x / d * e", |&[_, _, x, _, d, e, ..]| mul_div(mul_div(x, PER_SECOND, d), e, PER_SECOND)),
    ("x / (y / d)", |&[_, _, x, y, d, ..]| mul_div(x, PER_SECOND, mul_div(y, PER_SECOND, d))),
    ("d + e", |&[_, _, _, _, d, e, ..]| sat(d + e)),
    ("d / e", |&[_, _, _, _, d, e, ..]| mul_div(d, ONE, e)),
    ("d * r", |&[_, _, _, _, d, _, r, _]| mul_div(d, r, ONE)),
    ("r * q", |&[.., r, q]| mul_div(r, q, ONE)),
    ("r / q", |&[.., r, q]| mul_div(r, ONE, q)),
    ("r + q", |&[.., r, q]| sat(r + q)),
    ("r + a", |&[a, _, _, _, _, _, r, _]| sat(r + sat(a * ONE))),
    ("max(r, a)", |&[a, _, _, _, _, _, r, _]| r.max(sat(a * ONE))),
];

/// Conditions.
const CONDITIONS: [(&str, Verdict); 14] = [
    ("a == b", |&[a, b, ..]| a == b),
    ("a != b", |&[a, b, ..]| a != b),
    ("a < b", |&[a, b, ..]| a < b),
    ("a <= b", |&[a, b, ..]| a <= b),
    ("a > b", |&[a, b, ..]| a > b),
    ("a >= b", |&[a, b, ..]| a >= b),
    ("a in (0, 1, -1)", |&[a, ..]| (-1..=1).contains(&a)),
    ("x >= 1GiB", |&[_, _, x, ..]| x >= 1 << 30),
    ("d < 1min", |&[_, _, _, _, d, ..]| d < 60_000_000_000),
    ("r > a", |&[a, _, _, _, _, _, r, _]| r > sat(a * ONE)),
    ("a < b and x < y", |&[a, b, x, y, ..]| a < b && x < y),
    ("a < b or x < y", |&[a, b, x, y, ..]| a < b || x < y),
    ("not (a < b or x < y)", |&[a, b, x, y, ..]| !(a < b || x < y)),
    ("if a < b then x < y else d < e", |&[a, b, x, y, d, e, ..]| if a < b { x < y } else { d < e }),
];

/// Conditions on texts. This process is called `operators-` and a few digits.
const TEXTS: [(&str, bool); 9] = [
    ("comm == t", false),
    ("comm == \"operators\"", false),
    ("comm starts_with t", true),
    ("comm starts_with \"operators-\"", true),
    ("comm starts_with \"perators\"", false),
    ("comm contains \"rators-\"", true),
    ("comm contains \"no such text\"", false),
    ("comm ends_with \"operators\"", false),
    ("not (comm ends_with \"-\") and comm != t", true),
];

/// A filter on this process that emits `expressions` as `e0`, `e1` and so on.
fn source(expressions: &[&str]) -> String {
    let mut text = "filter operators on process {\n".to_owned();
    for (name, default) in PARAMS {
        text += &format!("    param {name} = {default}\n");
    }
    text += "    param t = \"operators\"\n";
    text += &format!("    where pid == {}\n    emit ", std::process::id());
    let fields: Vec<String> =
        expressions.iter().enumerate().map(|(i, e)| format!("{e} as e{i}")).collect();
    text + &fields.join(",\n        ") + "\n}\n"
}

/// The values that `host` computes for the expressions of `object`'s filter.
fn compute(host: HostKind, object: &Object, values: &[i64; 8]) -> Vec<i64> {
    let mut request = Request::new(object, "operators", &[], system_values(&Kernel))
        .expect("a filter without required parameters");
    let filter: &FilterMeta = request.filter;
    for ((name, _), value) in PARAMS.iter().zip(values) {
        let param = filter.params.iter().find(|p| p.name == *name).expect("declared");
        let at = (filter.rodata.offset + param.offset) as usize;
        request.rodata[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let mut session = match host {
        HostKind::Bpf => BpfHost::running().load(&request),
        HostKind::Vm => VmHost.load(&request),
        HostKind::Module => ModuleHost::running().load(&request),
    }
    .expect("the host takes what it compiles");
    let sweep = session.sweep().expect("a loaded filter sweeps");
    assert_eq!(sweep.records.len(), 1, "this process, on {host:?}: {:?}", sweep.stats);
    let record = sweep.records.iter().next().expect("one record");
    fields(&request.filter.record, record)
        .map(|(_, value)| value.as_ref().and_then(Value::number).expect("no value is missing"))
        .collect()
}

/// A small generator of test values: ends of the range, small ones, and any.
struct Values(u64);

impl Values {
    fn next(&mut self) -> i64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let edges = [0, 1, -1, 2, 3, i64::MAX, i64::MIN, i64::MAX - 1, 1_000_000, 1 << 31, 1 << 32];
        match bits >> 61 {
            0..=2 => edges[(bits as usize >> 8) % edges.len()],
            3 => (bits as i64) >> 40,
            4 | 5 => (bits as i64) >> 24,
            _ => bits as i64,
        }
    }
}

fn check(expressions: &[&str], meaning: impl Fn(usize, &[i128; 8]) -> i128) {
    let source = source(expressions);
    let compiled = kfilter_compiler::compile("operators.kf", &source)
        .unwrap_or_else(|wrong| panic!("{source}\n{wrong:#?}"));
    let object = Object::parse(&compiled.object).expect("our own object");
    for host in hosts("operators") {
        let mut values = Values(0x9e37_79b9_7f4a_7c15);
        for _ in 0..25 {
            let values: [i64; 8] = core::array::from_fn(|_| values.next());
            let found = compute(host, &object, &values);
            let wide = values.map(i128::from);
            for (index, found) in found.into_iter().enumerate() {
                let expected = meaning(index, &wide);
                assert_eq!(
                    i128::from(found),
                    expected,
                    "`{}` on {host:?} with {values:?}",
                    expressions[index]
                );
            }
        }
    }
}

#[test]
fn arithmetic_is_exact_or_saturates_on_every_host() {
    let (first, second) = NUMBERS.split_at(NUMBERS.len() / 2);
    for part in [first, second] {
        let expressions: Vec<&str> = part.iter().map(|(text, _)| *text).collect();
        check(&expressions, |index, values| part[index].1(values));
    }
}

#[test]
fn conditions_hold_alike_on_every_host() {
    let expressions: Vec<&str> = CONDITIONS.iter().map(|(text, _)| *text).collect();
    check(&expressions, |index, values| i128::from(CONDITIONS[index].1(values)));
}

#[test]
fn texts_compare_alike_on_every_host() {
    let expressions: Vec<&str> = TEXTS.iter().map(|(text, _)| *text).collect();
    check(&expressions, |index, _| i128::from(TEXTS[index].1));
}
