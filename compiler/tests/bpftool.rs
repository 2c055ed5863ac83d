//! Every kind of object that the writer makes is loaded into the running kernel by bpftool,
//! which is what "BPF object" means to people who use libbpf.
//!
//! Without bpftool or the right to call bpf(2) the tests say so and pass.

mod support;

use kernel_vm::schema::{Column, Table, columns_of};
use kfilter_compiler::target::bpf::columns::Columns;
use support::{column_sweep, kernel_accepts, none_sweep};

#[test]
fn a_hand_made_sweep() {
    kernel_accepts("none_sweep", &none_sweep());
}

#[test]
fn every_column_by_itself() {
    for table in Table::ALL {
        for column in supported(table) {
            let name = format!("{}_{}", table.name(), column.name.replace('.', "_"));
            kernel_accepts(&name, &column_sweep(table, &[column]));
        }
    }
}

#[test]
fn all_columns_of_a_table_in_one_sweep() {
    for table in Table::ALL {
        let name = format!("{}_all", table.name());
        kernel_accepts(&name, &column_sweep(table, &supported(table)));
    }
}

fn supported(table: Table) -> Vec<&'static Column> {
    columns_of(table).filter(|column| Columns::supports(table, column)).collect()
}
