//! Every kind of object that the writer makes is loaded into the running kernel by bpftool,
//! which is what "BPF object" means to people who use libbpf.
//!
//! Without bpftool or the right to call bpf(2) the tests say so and pass.

mod support;

use kernel_vm::schema::{Column, Table, columns_of};
use kfilter_compiler::target::bpf::columns::Columns;
use support::{column_sweep, kernel_accepts, kernel_accepts_object, none_sweep, types_by_bpftool};

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

#[test]
fn every_shipped_filter() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../filters");
    for entry in std::fs::read_dir(directory).expect("the shipped filters") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if let Some(stem) = name.strip_suffix(".kf") {
            let source = std::fs::read_to_string(&path).expect("readable");
            let compiled = kfilter_compiler::compile(name, &source).expect("no errors");
            kernel_accepts_object(&format!("shipped_{stem}"), &compiled.object);
        }
    }
}

#[test]
fn a_filter_on_each_table_and_on_waits() {
    let source = "
        filter on_process on process { where files > 3 and shm_objects > 1 emit pid, rss, user_time }
        filter on_thread on thread { where rate(cpu_time) > 5% emit pid, tid, comm, waits_for }
        filter on_file on file { where kind == socket emit pid, fd, name, inode, flags }
        filter on_mapping on mapping { where shared emit pid, object, object.name, permissions }
        filter deadlock on thread { where cycle(waits_for) emit tid, waits_on, cycle.id }
        filter acting on process { where rss > 1TiB emit comm limit { after 1s term after 9s kill } }
        filter held on thread { where wait_class == waiting for 1s emit tid, waits_for }
    ";
    let compiled = kfilter_compiler::compile("each.kf", source).expect("no errors");
    kernel_accepts_object("each", &compiled.object);
    types_stand_once("each", &compiled.object);
}

/// Where the kernel has no work of tasks, the calls that ask for it are dead code.
#[test]
fn a_filter_that_can_act_loads_where_the_kernel_cannot() {
    let source = "filter acts on process { where rss > 1TiB emit comm limit { after 1s kill } }";
    let mut object = kfilter_compiler::compile("acts.kf", source).expect("no errors").object;
    let known = b"bpf_task_work";
    for place in 0..object.len() - known.len() {
        if object[place..].starts_with(known) {
            object[place..place + known.len()].copy_from_slice(b"bpf_task_nope");
        }
    }
    kernel_accepts_object("acts_elsewhere", &object);
}

/// bpftool reads the object's BTF, finds the records in it, and every named type once.
fn types_stand_once(name: &str, object: &[u8]) {
    let Some(types) = types_by_bpftool(name, object) else { return };
    assert!(types.iter().any(|line| line.starts_with("STRUCT 'on_file_record' size=")));
    let mut named: Vec<&String> = types.iter().filter(|line| !line.contains("'(anon)'")).collect();
    let before = named.len();
    named.sort();
    named.dedup();
    assert_eq!(named.len(), before, "a type stands twice");
}

fn supported(table: Table) -> Vec<&'static Column> {
    columns_of(table).filter(|column| Columns::supports(table, column)).collect()
}
