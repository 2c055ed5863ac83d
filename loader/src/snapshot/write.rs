//! Writing a recording.

use super::{FORMAT, VERSION};
use crate::params::SystemValues;
use crate::procfs::Procfs;
use crate::procfs::columns::Cell;
use crate::procfs::walk::Layout;
use kernel_vm::schema::{SCHEMA_VERSION, Table};
use serde_json::{Value as Json, json};
use std::io::{self, Write};

/// Writes the first line.
///
/// # Errors
/// When it cannot be written.
pub fn write_head(out: &mut impl Write, system: SystemValues) -> io::Result<()> {
    let head = json!({
        "format": FORMAT,
        "version": VERSION,
        "schema": SCHEMA_VERSION,
        "memory": system.memory,
        "cpus": system.cpus,
    });
    writeln!(out, "{head}")
}

/// Sweeps over a table of /proc and writes every row, all columns.
///
/// # Errors
/// When /proc cannot be read or the rows cannot be written.
pub fn record(out: &mut impl Write, procfs: &mut Procfs, table: Table) -> io::Result<u64> {
    let layout = Layout::whole(table);
    let now_ns = crate::sys::boot_time_ns();
    let columns: Vec<&str> = layout.columns().map(|column| column.name).collect();
    let begin = json!({ "table": table.name(), "now": now_ns, "columns": columns });
    writeln!(out, "{begin}")?;
    let mut rows = 0_u64;
    let mut outcome = Ok(());
    let unreadable = procfs.walk_cells(&layout, now_ns, |(id, start), cells| {
        if outcome.is_ok() {
            let mut line = vec![json!(id), json!(start)];
            line.extend(cells.iter().map(value));
            outcome = writeln!(out, "{}", Json::Array(line));
            rows = rows.saturating_add(1);
        }
    })?;
    outcome?;
    writeln!(out, "{}", json!({ "end": rows, "unreadable": unreadable }))?;
    Ok(rows)
}

fn value(cell: &Option<Cell<'_>>) -> Json {
    match cell {
        None => Json::Null,
        Some(Cell::Int(value)) => json!(value),
        Some(Cell::Object(device, inode)) => json!([device, inode]),
        Some(Cell::Text(text)) => match std::str::from_utf8(text) {
            Ok(text) => json!(text),
            Err(_) => json!({ "bytes": text }),
        },
    }
}
