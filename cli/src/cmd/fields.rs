//! `kfilter fields`: the tables and their columns, from the one schema.

use crate::exit::{Exit, Failure};
use crate::output::table::Table as TextTable;
use crate::output::terminal::{ColorChoice, Style, stdout_width};
use clap::ValueEnum;
use kernel_vm::schema::{Column, EnumKind, Since, SystemValue, Table, Type, columns_of};
use std::fmt::Write as _;
use std::io::Write as _;

/// List the tables and their columns
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this table: process, thread, file or mapping
    #[arg(value_parser = parse_table)]
    table: Option<Table>,

    /// How to write them
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: FieldsFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FieldsFormat {
    /// Aligned columns
    Table,
    /// One JSON object a line
    Json,
    /// The page docs/tables.md
    Markdown,
}

fn parse_table(name: &str) -> Result<Table, String> {
    Table::from_name(name)
        .ok_or_else(|| format!("the tables are {}", Table::ALL.map(Table::name).join(", ")))
}

/// Writes the columns to standard output.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let tables: Vec<Table> = args.table.map_or_else(|| Table::ALL.to_vec(), |table| vec![table]);
    let text = match args.format {
        FieldsFormat::Table => as_text(&tables, stdout_width(), Style::for_stdout(color)),
        FieldsFormat::Json => as_json(&tables),
        FieldsFormat::Markdown => as_markdown(&tables),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

fn as_text(tables: &[Table], width: Option<usize>, style: Style) -> String {
    let mut out = String::new();
    for (index, &table) in tables.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", style.bold(&format!("table {}", table.name())));
        let mut text = TextTable::new();
        for title in ["COLUMN", "TYPE", "BPF", "VM", "MEANING"] {
            text.column(title, false);
        }
        for column in columns_of(table) {
            text.row(vec![
                column.name.to_owned(),
                type_name(column.ty),
                since(column.bpf),
                since(column.procfs),
                column.doc.to_owned(),
            ]);
        }
        out.push_str(&text.render(width, style));
    }
    out
}

fn as_json(tables: &[Table]) -> String {
    let mut out = String::new();
    for &table in tables {
        for column in columns_of(table) {
            let value = serde_json::json!({
                "table": table.name(),
                "column": column.name,
                "id": column.id.0,
                "type": column.ty.to_string(),
                "doc": column.doc,
                "qnx": column.qnx,
                "immutable": column.immutable,
                "counter": column.counter,
                "address": column.address,
                "values": enum_values(column.ty),
                "hosts": {
                    "bpf": json_since(column.bpf),
                    "vm": json_since(column.procfs),
                    "module": kernel_vm::module::has(table, column)
                        .then(|| json_since(column.module)),
                },
            });
            let _ = writeln!(out, "{value}");
        }
    }
    out
}

/// Null: the host has no such column; "any": every kernel that the host runs on.
fn json_since(since: Since) -> Option<String> {
    match since {
        Since::Never => None,
        Since::Kernel(0, 0) => Some("any".to_owned()),
        Since::Kernel(major, minor) => Some(format!("{major}.{minor}")),
    }
}

fn since(since: Since) -> String {
    match since {
        Since::Never => "-".to_owned(),
        Since::Kernel(0, 0) => "yes".to_owned(),
        Since::Kernel(major, minor) => format!("{major}.{minor}"),
    }
}

fn type_name(ty: Type) -> String {
    match ty {
        Type::Int(unit) => unit.name().to_owned(),
        Type::PerSecond(unit) => format!("{} a second", unit.name()),
        Type::Bool => "bool".to_owned(),
        Type::Text { .. } => "text".to_owned(),
        Type::Enum(kind) => kind.name().to_owned(),
        Type::Thread => "ref<thread>".to_owned(),
        Type::Object => "object".to_owned(),
    }
}

const fn enum_values(ty: Type) -> Option<&'static [&'static str]> {
    match ty {
        Type::Enum(kind) => Some(kind.values()),
        Type::Int(_)
        | Type::PerSecond(_)
        | Type::Bool
        | Type::Text { .. }
        | Type::Thread
        | Type::Object => None,
    }
}

const HEAD: &str = "\
# Tables

This page is made by `kfilter fields --format markdown` from the schema in
`kernel-vm/src/schema`; a test keeps it in step.

**bpf** and **vm** say which host has the column: `yes` on every kernel that the host runs
on, a version from that kernel on, `-` not at all. A filter that reads a column which its
host does not have is refused at load. **QNX** names the field of QNX's `debug_process_t` or
`debug_thread_t` that says the same.

A *counter* only grows while its row lives, which makes it fit for `rate`. A column marked
*fixed* never changes while its row lives. An *address* needs privilege to be shown.

The hosts agree on every column that both have, but for this: on the vm host `start_time` and
`age` are exact to a clock tick (10 ms); the context switches of a process are those of its live
threads, as /proc does not show what dead ones did; `user_time` and `system_time` are scaled to
add up to the exact sum, where the kernel itself keeps samples; memory counters may differ by a
batch of pages a CPU. What /proc does not let a user read (`read_bytes` and its like, open files,
mappings and waits of others) is missing there.
";

fn as_markdown(tables: &[Table]) -> String {
    let mut out = HEAD.to_owned();
    for &table in tables {
        let _ = write!(
            out,
            "\n## {}\n\n| column | type | what it is | bpf | vm | QNX |\n|---|---|---|---|---|---|\n",
            table.name()
        );
        for column in columns_of(table) {
            let _ = writeln!(
                out,
                "| `{}` | {} | {}{} | {} | {} | {} |",
                column.name,
                type_name(column.ty).replace('<', "&lt;"),
                column.doc.replace('|', "\\|"),
                marks(column),
                since(column.bpf),
                since(column.procfs),
                column.qnx.map_or_else(String::new, |field| format!("`{field}`")),
            );
        }
    }
    out.push_str("\n## Named values\n\n| type | values |\n|---|---|\n");
    for kind in EnumKind::ALL {
        let values: Vec<String> = kind.values().iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(out, "| {} | {} |", kind.name(), values.join(", "));
    }
    out.push_str("\n## System values\n\n| name | type |\n|---|---|\n");
    for value in SystemValue::ALL {
        let _ = writeln!(out, "| `{}` | {} |", value.name(), type_name(value.ty()));
    }
    out
}

fn marks(column: &Column) -> String {
    let marks: Vec<&str> =
        [(column.counter, "counter"), (column.immutable, "fixed"), (column.address, "address")]
            .into_iter()
            .filter_map(|(is_set, mark)| is_set.then_some(mark))
            .collect();
    if marks.is_empty() { String::new() } else { format!(" *({})*", marks.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_docs_is_in_step_with_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tables.md");
        let page = std::fs::read_to_string(path).expect("docs/tables.md is readable");
        assert!(
            page == as_markdown(&Table::ALL),
            "docs/tables.md is out of step: kfilter fields --format markdown > docs/tables.md"
        );
    }

    #[test]
    fn every_json_line_parses_and_names_its_type() {
        for line in as_json(&Table::ALL).lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("valid JSON");
            let ty = value["type"].as_str().expect("a type");
            assert!(ty.parse::<Type>().is_ok(), "{line}");
        }
    }

    #[test]
    fn every_column_of_a_table_is_in_its_text() {
        let text = as_text(&[Table::File], None, Style::PLAIN);
        for column in columns_of(Table::File) {
            assert!(text.contains(column.name), "{}", column.name);
        }
    }
}
