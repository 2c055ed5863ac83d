//! What the filters found, as metrics.
//!
//! Names are those of OpenTelemetry's semantic conventions where it has one for a column
//! (`process.memory.usage` becomes `process_memory_usage_bytes`). Values of records carry
//! the filter's name and the command's, and no pid unless asked: the largest value among
//! the processes of one name is shown, and how many there are.
//!
//! **Invariant**: each filter has at most `label_sets_max` label sets; what is beyond is
//! counted.

use super::openmetrics::{Describe, Exposition, Kind};
use crate::output::escape::visible;
use crate::output::json::fixed;
use kernel_vm::abi::SweepStats;
use kernel_vm::object::{FilterMeta, RecordMeta};
use kernel_vm::schema::{Type, Unit};
use kfilter_loader::record::{RecordBatch, Value, fields};
use std::collections::BTreeMap;
use std::time::Duration;

/// How records become label sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cardinality {
    /// Most label sets of a filter.
    pub(crate) label_sets_max: usize,
    /// Give each process a label set of its own.
    pub(crate) by_pid: bool,
}

/// The numbers of every filter.
#[derive(Debug)]
pub(crate) struct Collector {
    cardinality: Cardinality,
    filters: Vec<(String, Numbers)>,
}

#[derive(Debug, Default)]
struct Numbers {
    is_up: bool,
    sweeps: u64,
    failures: u64,
    dropped: u64,
    swept: Duration,
    last: SweepStats,
    records: u64,
    sets: BTreeMap<Labels, Set>,
    sets_beyond: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    comm: String,
    pid: String,
}

#[derive(Debug, Default)]
struct Set {
    records: u64,
    values: BTreeMap<usize, i64>,
    families: Vec<(usize, String, &'static str, bool)>,
}

impl Collector {
    /// Numbers of no filter yet.
    pub(crate) const fn new(cardinality: Cardinality) -> Self {
        Self { cardinality, filters: Vec::new() }
    }

    /// Takes over what one sweep found.
    pub(crate) fn observe(
        &mut self,
        filter: &FilterMeta,
        records: &RecordBatch,
        stats: SweepStats,
    ) {
        let cardinality = self.cardinality;
        let numbers = self.numbers(&filter.name);
        numbers.is_up = true;
        numbers.sweeps += 1;
        numbers.dropped = numbers.dropped.saturating_add(stats.dropped);
        numbers.swept = numbers.swept.saturating_add(Duration::from_nanos(stats.took_ns));
        numbers.last = stats;
        numbers.records = records.len() as u64;
        numbers.sets.clear();
        numbers.sets_beyond = 0;
        for record in records.iter() {
            let labels = labels(&filter.record, record, cardinality.by_pid);
            if !numbers.sets.contains_key(&labels)
                && numbers.sets.len() >= cardinality.label_sets_max
            {
                numbers.sets_beyond += 1;
                continue;
            }
            numbers.sets.entry(labels).or_default().add(&filter.record, record);
        }
    }

    /// Notes that a sweep of `filter` failed.
    pub(crate) fn failed(&mut self, filter: &str) {
        let numbers = self.numbers(filter);
        numbers.is_up = false;
        numbers.failures += 1;
        // Old records are no statement about now.
        numbers.sets.clear();
        numbers.records = 0;
    }

    fn numbers(&mut self, filter: &str) -> &mut Numbers {
        let index = self.filters.iter().position(|(name, _)| name == filter).unwrap_or_else(|| {
            self.filters.push((filter.to_owned(), Numbers::default()));
            self.filters.len() - 1
        });
        &mut self.filters[index].1
    }

    /// All numbers; `own_cpu` is the CPU time that this process has used.
    pub(crate) fn exposition(&self, own_cpu: Option<Duration>) -> Exposition {
        let mut out = Exposition::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.sample(describe("kfilter_build", Kind::Info, "", "What runs."), &version, "1");
        if let Some(cpu) = own_cpu {
            let family = describe(
                "kfilter_exporter_cpu_seconds",
                Kind::Counter,
                "seconds",
                "CPU time that the exporter itself has used, its sweeps included.",
            );
            out.sample(family, &[], &seconds(cpu));
        }
        for (filter, numbers) in &self.filters {
            numbers.push(&mut out, filter);
        }
        out
    }
}

impl Numbers {
    fn push(&self, out: &mut Exposition, filter: &str) {
        let labels = [("filter", filter)];
        let last = &self.last;
        let took = Duration::from_nanos(last.took_ns);
        let gauge = |name, help| describe(name, Kind::Gauge, "", help);
        let counter = |name, help| describe(name, Kind::Counter, "", help);
        let samples = [
            (
                gauge("kfilter_up", "1 when the last sweep was completed."),
                u64::from(self.is_up).to_string(),
            ),
            (counter("kfilter_sweeps", "Sweeps that were completed."), self.sweeps.to_string()),
            (counter("kfilter_failures", "Sweeps that failed."), self.failures.to_string()),
            (
                gauge("kfilter_matches", "Rows that matched in the last sweep."),
                last.matched.to_string(),
            ),
            (
                gauge("kfilter_records", "Records that the last sweep handed over."),
                self.records.to_string(),
            ),
            (
                gauge("kfilter_visited", "Rows that the last sweep looked at."),
                last.visited.to_string(),
            ),
            (
                gauge("kfilter_unreadable", "Rows of the last sweep that could not be judged."),
                last.unreadable.to_string(),
            ),
            (
                gauge("kfilter_warming", "Rows of the last sweep with too short a history."),
                last.warming.to_string(),
            ),
            (
                counter("kfilter_dropped", "Records that matched but found no room."),
                self.dropped.to_string(),
            ),
            (
                gauge(
                    "kfilter_label_sets_beyond",
                    "Records of the last sweep beyond the most label sets.",
                ),
                self.sets_beyond.to_string(),
            ),
            (
                describe(
                    "kfilter_sweep_duration_seconds",
                    Kind::Gauge,
                    "seconds",
                    "How long the last sweep took.",
                ),
                seconds(took),
            ),
            (
                describe(
                    "kfilter_sweep_time_seconds",
                    Kind::Counter,
                    "seconds",
                    "Time spent in sweeps: what the filter costs.",
                ),
                seconds(self.swept),
            ),
        ];
        for (family, value) in samples {
            out.sample(family, &labels, &value);
        }
        for (labels, set) in &self.sets {
            set.push(out, filter, labels);
        }
    }
}

impl Set {
    fn add(&mut self, layout: &RecordMeta, record: &[u8]) {
        self.records += 1;
        for (index, (field, value)) in fields(layout, record).enumerate() {
            let Some(number) = value.as_ref().and_then(gauge_value) else { continue };
            if field.hidden {
                continue;
            }
            match self.values.entry(index) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let (name, unit, is_millionths) = family_of(&field.name, field.ty.0);
                    // Two samples of one name and label set would spoil the whole text.
                    if self.families.iter().any(|(_, known, _, _)| *known == name) {
                        continue;
                    }
                    self.families.push((index, name, unit, is_millionths));
                    entry.insert(number);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    *entry.get_mut() = number.max(*entry.get());
                }
            }
        }
    }

    fn push(&self, out: &mut Exposition, filter: &str, labels: &Labels) {
        let mut pairs = vec![("filter", filter), ("process_command", labels.comm.as_str())];
        if !labels.pid.is_empty() {
            pairs.push(("process_pid", &labels.pid));
        }
        let count = describe(
            "kfilter_offenders",
            Kind::Gauge,
            "",
            "Records of the last sweep with this name.",
        );
        out.sample(count, &pairs, &self.records.to_string());
        for (index, name, unit, is_millionths) in &self.families {
            let Some(&value) = self.values.get(index) else { continue };
            let help = "The largest value among the records of the last sweep with this name.";
            let text = match (*is_millionths, *unit) {
                (true, _) => fixed(value),
                (false, "seconds") => signed_seconds(value),
                (false, _) => value.to_string(),
            };
            out.sample(describe(name, Kind::Gauge, unit, help), &pairs, &text);
        }
    }
}

const fn describe<'a>(
    name: &'a str,
    kind: Kind,
    unit: &'static str,
    help: &'a str,
) -> Describe<'a> {
    Describe { name, kind, unit, help }
}

fn labels(layout: &RecordMeta, record: &[u8], by_pid: bool) -> Labels {
    let mut labels = Labels { comm: String::new(), pid: String::new() };
    for (field, value) in fields(layout, record) {
        match (field.name.as_str(), value) {
            ("comm", Some(Value::Text(bytes))) => labels.comm = visible(&bytes),
            ("pid", Some(Value::Int(pid, _))) if by_pid => labels.pid = pid.to_string(),
            _ => {}
        }
    }
    labels
}

/// The number that a gauge shows; names, addresses and identities are none.
const fn gauge_value(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number, Unit::Count | Unit::Bytes | Unit::Duration | Unit::Ratio)
        | Value::PerSecond(number, _) => Some(*number),
        Value::Int(_, Unit::Instant | Unit::Id | Unit::Address | Unit::Device | Unit::Bits)
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Enum(..)
        | Value::Thread(_)
        | Value::Object { .. } => None,
    }
}

/// OpenTelemetry's metrics for processes: our column, its type, their name and unit.
const OPEN_TELEMETRY: [(&str, Type, &str, &str); 8] = [
    ("cpu_time", Type::Int(Unit::Duration), "process_cpu_time_seconds", "seconds"),
    ("cpu", Type::Int(Unit::Ratio), "process_cpu_utilization_ratio", "ratio"),
    ("rss", Type::Int(Unit::Bytes), "process_memory_usage_bytes", "bytes"),
    ("virtual_size", Type::Int(Unit::Bytes), "process_memory_virtual_bytes", "bytes"),
    ("threads", Type::Int(Unit::Count), "process_thread_count", ""),
    ("files", Type::Int(Unit::Count), "process_unix_file_descriptor_count", ""),
    ("page_faults", Type::Int(Unit::Count), "process_paging_faults", ""),
    ("age", Type::Int(Unit::Duration), "process_uptime_seconds", "seconds"),
];

/// The family's name and unit, and whether values are millionths.
fn family_of(field: &str, ty: Type) -> (String, &'static str, bool) {
    let is_millionths = matches!(ty, Type::Int(Unit::Ratio) | Type::PerSecond(_));
    for (column, known_ty, name, unit) in OPEN_TELEMETRY {
        if column == field && known_ty == ty {
            return (name.to_owned(), unit, is_millionths);
        }
    }
    let unit = match ty {
        Type::Int(Unit::Bytes) => "bytes",
        Type::Int(Unit::Duration) => "seconds",
        Type::Int(Unit::Ratio) => "ratio",
        Type::PerSecond(Unit::Bytes) => "bytes_per_second",
        Type::PerSecond(Unit::Duration) => "nanoseconds_per_second",
        Type::PerSecond(_) => "per_second",
        Type::Int(_)
        | Type::Bool
        | Type::Text { .. }
        | Type::Enum(_)
        | Type::Thread
        | Type::Object => "",
    };
    let field: String =
        field.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let separator = if unit.is_empty() { "" } else { "_" };
    (format!("kfilter_record_{field}{separator}{unit}"), unit, is_millionths)
}

fn seconds(duration: Duration) -> String {
    format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos())
}

fn signed_seconds(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", seconds(Duration::from_nanos(ns.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::records::tests::filter;

    fn batch(records: &[Vec<u8>]) -> RecordBatch {
        let mut batch = RecordBatch::new(records[0].len());
        for record in records {
            assert!(batch.push(record));
        }
        batch
    }

    fn named(mut record: Vec<u8>, name: &[u8; 16], rss: i64) -> Vec<u8> {
        record[16..32].copy_from_slice(name);
        record[40..48].copy_from_slice(&rss.to_le_bytes());
        record
    }

    #[test]
    fn records_are_grouped_by_name_and_show_the_largest() {
        let (filter, record) = filter();
        let spin = b"spin\0\0\0\0\0\0\0\0\0\0\0\0";
        let records = [named(record.clone(), spin, 100), named(record, spin, 300)];
        let mut collector = Collector::new(Cardinality { label_sets_max: 20, by_pid: false });
        let stats = SweepStats { visited: 345, matched: 2, took_ns: 312_000, ..Default::default() };
        collector.observe(&filter, &batch(&records), stats);
        insta::assert_snapshot!(collector.exposition(None).render(true));
    }

    #[test]
    fn names_cannot_make_metrics_without_end() {
        let (filter, record) = filter();
        let records: Vec<Vec<u8>> = (0..100_u8)
            .map(|i| {
                named(
                    record.clone(),
                    &[b'a' + i % 26, b'0' + i / 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    1,
                )
            })
            .collect();
        let mut collector = Collector::new(Cardinality { label_sets_max: 5, by_pid: false });
        collector.observe(&filter, &batch(&records), SweepStats::default());
        let text = collector.exposition(None).render(true);
        assert_eq!(text.matches("kfilter_offenders{").count(), 5);
        assert!(text.contains("kfilter_label_sets_beyond{filter=\"everything\"} 95\n"), "{text}");
    }

    #[test]
    fn a_failure_takes_the_old_records_away() {
        let (filter, record) = filter();
        let mut collector = Collector::new(Cardinality { label_sets_max: 5, by_pid: true });
        collector.observe(&filter, &batch(&[record]), SweepStats::default());
        assert!(collector.exposition(None).render(true).contains("process_pid=\"4242\""));
        collector.failed("everything");
        let text = collector.exposition(None).render(true);
        assert!(text.contains("kfilter_up{filter=\"everything\"} 0\n"), "{text}");
        assert!(!text.contains("kfilter_offenders{"), "{text}");
    }
}
