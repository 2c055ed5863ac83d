//! The module shows what /proc shows, column by column, over tasks that do not move.

use crate::tasks::Frozen;
use kernel_vm::module::has;
use kernel_vm::schema::{Column, EnumKind, Since, Table, columns_of};
use kfilter_loader::HostKind;
use kfilter_loader::record::Value;
use kfilter_tests::run::{Record, Running, number};
use std::collections::BTreeMap;

/// How far two values may be apart, with the reason for it.
fn tolerance(column: &Column) -> i64 {
    match column.name {
        // /proc counts in clock ticks of 10 ms, and the second sweep is later.
        "start_time" => 10_000_000,
        "age" => 5_000_000_000,
        "user_time" | "system_time" | "children_time" => 20_000_000,
        // Kernels from 6.2 to 6.15 show less in /proc than their counters hold.
        "rss" | "rss_anon" | "rss_file" | "rss_shared" | "swap" | "peak_rss" => 256 * 4096,
        _ => 0,
    }
}

/// Who a row is: its task, and which of the task's mappings or descriptors.
type RowKey = (i64, i64);

fn rows(host: HostKind, table: Table, names: &str) -> Result<BTreeMap<RowKey, Record>, String> {
    let key = match table {
        Table::Process => "pid as row_key, kernel_thread as row_part",
        Table::Thread => "tid as row_key, kernel_thread as row_part",
        Table::File => "pid as row_key, fd as row_part",
        Table::Mapping => "pid as row_key, address as row_part",
    };
    let source =
        format!("filter f on {} {{ where comm == \"frozen\" emit {key}, {names} }}", table.name());
    let mut filter = Running::load(host, &source, &[]).map_err(|error| error.to_string())?;
    let (records, stats) = filter.sweep();
    if stats.unreadable + stats.dropped > 0 {
        return Err(format!("{names}: {stats:?}"));
    }
    let keyed =
        |record: Record| ((number(&record, "row_key"), number(&record, "row_part")), record);
    Ok(records.into_iter().map(keyed).collect())
}

fn is_same(column: &Column, one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one.and_then(Value::number), other.and_then(Value::number)) {
        // The guest's programs are on its first file system, a tmpfs that /proc calls `rootfs`.
        (Some(tmpfs), Some(file)) if column.name == "object.kind" && tmpfs != file => {
            let kind = |name| EnumKind::ObjectKind.values().iter().position(|&one| one == name);
            kind("tmpfs") == usize::try_from(tmpfs).ok()
                && kind("file") == usize::try_from(file).ok()
        }
        (Some(one), Some(other)) => one.abs_diff(other) <= tolerance(column).unsigned_abs(),
        _ => one.is_some() && one == other,
    }
}

/// Every column that both hosts have.
pub(crate) fn run() -> Result<String, String> {
    let frozen = Frozen::start(12, 4)?;
    let (mut compared, mut columns) = (0, 0);
    for table in Table::ALL {
        let both: Vec<&Column> = columns_of(table)
            .filter(|column| has(table, column) && column.procfs != Since::Never)
            .collect();
        for some in both.chunks(4) {
            let names: Vec<&str> = some.iter().map(|column| column.name).collect();
            let names = names.join(", ");
            let module = rows(HostKind::Module, table, &names)?;
            let vm = rows(HostKind::Vm, table, &names)?;
            let is_expected = match table {
                Table::Process => module.len() == 12,
                Table::Thread => module.len() == 48,
                // Three descriptors, a program and its stack at least.
                Table::File | Table::Mapping => module.len() >= 36,
            };
            if !is_expected || !module.keys().eq(vm.keys()) {
                let (module, vm) = (module.keys(), vm.keys());
                return Err(format!("rows of {}: {module:?}, in /proc {vm:?}", table.name()));
            }
            for (id, record) in &module {
                for column in some {
                    let (one, other) = (record.get(column.name), vm[id].get(column.name));
                    if !is_same(column, one, other) {
                        return Err(format!(
                            "{} of {id:?}: {one:?}, in /proc {other:?}",
                            column.name
                        ));
                    }
                    compared += 1;
                }
            }
            columns += some.len();
        }
    }
    drop(frozen);
    Ok(format!("{compared} values of {columns} columns"))
}
