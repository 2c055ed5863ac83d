//! Both hosts show the same rows with the same values: every column that both have, over
//! programs that were started for it: other programs may do anything at any time. The vm
//! host sweeps between two sweeps of the bpf host; a row that was there both times is there
//! in between, and its values lie between the two. So do those of the classic program that
//! older kernels run, where a filter has one.

use kernel_vm::schema::{Column, Since, Table, columns_of};
use kfilter_loader::HostKind;
use kfilter_loader::record::Value;
use kfilter_tests::program::Program;
use kfilter_tests::run::{Record, Running, hosts, number};
use std::collections::BTreeMap;

/// Programs with something to see in every table: files and shared memory of every kind,
/// the dead, the busy, the many, and locks.
const PROGRAMS: [(&str, &str); 18] = [
    ("hog", "files regular 90 400 300"),
    ("hog", "files pipe 90 400 300"),
    ("hog", "files socket 90 400 300"),
    ("hog", "files eventfd 90 400 300"),
    ("hog", "shm memfd 4 300"),
    ("hog", "shm tmpfs 4 300"),
    ("hog", "shm sysv 4 300"),
    ("hog", "shm anon 4 300"),
    ("hog", "hold 20 300"),
    ("hog", "spin 1 10 300"),
    ("hog", "idle 20 300"),
    ("hog", "zombie 3 300"),
    ("lock", "ring normal 3 300"),
    ("lock", "processes robust 3 300"),
    ("lock", "inner-ring rwlock 2 300"),
    ("lock", "self normal 300"),
    ("lock", "abandoned normal 300"),
    ("lock", "contend pi 3 300"),
];

/// Columns that a record has room for beside its key.
const COLUMNS_A_FILTER: usize = 3;

/// How far the vm host's value may lie outside of the bpf host's two: a part of the value,
/// and so much more. Each with the reason for it.
fn tolerance(column: &Column, table: Table) -> (f64, i64) {
    const MS: i64 = 1_000_000;
    const PAGE: i64 = 4096;
    match column.name {
        // /proc counts them in clock ticks of 10 ms.
        "start_time" | "age" => (0.0, 20 * MS),
        // The scheduler brings a running thread's time up to date at its ticks.
        "cpu_time" => (0.0, 20 * MS),
        // /proc scales both so that they add up to the exact sum; the kernel keeps samples.
        "user_time" | "system_time" => (1.0, 1000 * MS),
        "children_time" => (0.05, 100 * MS),
        // Counters of memory lag by a batch of pages on each CPU.
        "rss" | "rss_anon" | "rss_file" | "rss_shared" | "swap" | "peak_rss" => {
            (0.02, 4 * 64 * PAGE)
        }
        // /proc does not show what threads that have ended did.
        "voluntary_switches" | "involuntary_switches" | "context_switches"
            if table == Table::Process =>
        {
            (1.0, 0)
        }
        _ => (0.0, 0),
    }
}

fn keys(table: Table) -> &'static [&'static str] {
    match table {
        Table::Process => &["pid"],
        Table::Thread => &["pid", "tid"],
        Table::File => &["pid", "fd"],
        Table::Mapping => &["pid", "address"],
    }
}

/// The rows by their key.
fn rows(filter: &mut Running, table: Table) -> BTreeMap<Vec<i64>, Record> {
    let (records, stats) = filter.sweep();
    assert!(stats.visited > 0 && stats.dropped == 0, "{stats:?}");
    let key = |record: &Record| keys(table).iter().map(|key| number(record, key)).collect();
    records.into_iter().map(|record| (key(&record), record)).collect()
}

fn agree(column: &Column, table: Table, bpf: [Option<&Value>; 2], vm: Option<&Value>) -> bool {
    let numbers = [bpf[0], bpf[1], vm].map(|value| value.and_then(Value::number));
    if let [Some(before), Some(after), Some(between)] = numbers {
        let (part, more) = tolerance(column, table);
        let slack = (before.max(after) as f64 * part) as i64 + more;
        return (before.min(after) - slack..=before.max(after) + slack).contains(&between);
    }
    // What is no number, or missing on one side: where the bpf host saw no change.
    bpf[0] != bpf[1] || bpf[0] == vm
}

fn compare(table: Table, columns: &[&Column], of: &[i64]) -> (usize, Vec<String>) {
    let mut emitted: Vec<&str> = keys(table).to_vec();
    emitted.extend(columns.iter().map(|column| column.name));
    let pids: Vec<String> = of.iter().map(i64::to_string).collect();
    let source = format!(
        "filter agree on {} {{ where pid in ({}) emit {} }}",
        table.name(),
        pids.join(", "),
        emitted.join(", ")
    );
    let mut bpf = Running::load(HostKind::Bpf, &source, &[]).expect("loads on the bpf host");
    let mut vm = Running::load(HostKind::Vm, &source, &[]).expect("loads on the vm host");
    let mut classic = Running::load_classic(&source)
        .map(|loaded| loaded.unwrap_or_else(|error| panic!("{source}\n{error}")));
    let before = rows(&mut bpf, table);
    let between = rows(&mut vm, table);
    let by_row = classic.as_mut().map(|classic| rows(classic, table));
    let after = rows(&mut bpf, table);
    let mut others = vec![("the vm host", between)];
    others.extend(by_row.map(|rows| ("the classic program", rows)));
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (key, first) in &before {
        let Some(last) = after.get(key) else { continue };
        for (host, column) in
            others.iter().flat_map(|other| columns.iter().map(move |column| (other, column)))
        {
            let (host, Some(row)) = (host.0, host.1.get(key)) else {
                wrong.push(format!("{} {key:?} is no row of {}", table.name(), host.0));
                continue;
            };
            let of = |record: &'_ Record| record.get(column.name).cloned();
            let (a, b, v) = (of(first), of(last), of(row));
            compared += 1;
            if !agree(column, table, [a.as_ref(), b.as_ref()], v.as_ref()) {
                let row = format!("{} {key:?} {}", table.name(), column.name);
                wrong.push(format!("{row}: bpf {a:?} {b:?}, {host} {v:?}"));
            }
        }
    }
    (compared, wrong)
}

fn shared(column: &Column) -> bool {
    column.bpf != Since::Never && column.procfs != Since::Never
}

#[test]
fn every_column_of_every_table_is_alike_on_both_hosts() {
    if hosts("hosts_agree").len() < 2 {
        return;
    }
    let programs = PROGRAMS.map(|(name, args)| Program::start(name, args));
    let of: Vec<i64> = programs.iter().flat_map(Program::family).collect();
    let mut differences = Vec::new();
    for table in [Table::Process, Table::Thread, Table::File, Table::Mapping] {
        let columns: Vec<&Column> = columns_of(table)
            .filter(|column| shared(column) && !keys(table).contains(&column.name))
            .collect();
        for chunk in columns.chunks(COLUMNS_A_FILTER) {
            let mut outcome = compare(table, chunk, &of);
            // Something that changed and changed back between the sweeps is not seen in
            // them; it does not do so again and again.
            for _ in 0..2 {
                if outcome.1.is_empty() {
                    break;
                }
                outcome = compare(table, chunk, &of);
            }
            let (compared, wrong) = outcome;
            assert!(
                compared >= chunk.len() * PROGRAMS.len(),
                "{compared} of {} are nothing to compare with",
                table.name()
            );
            differences.extend(wrong);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
