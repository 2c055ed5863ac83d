//! Modules made by hand and the question whether the running kernel takes them.

use std::path::Path;
use std::process::Command;

use kernel_vm::abi::SWEEP_STATS_BYTES;
use kernel_vm::object::{Block, BpfMeta, FORMAT, FilterMeta, ObjectMeta, RecordMeta, VmMeta};
use kernel_vm::schema::{Column, SCHEMA_VERSION, SYSTEM_BLOCK_BYTES, Table, Type};
use kfilter_compiler::asm::{AluOp, Asm, Cond, FP, R0, R1, R2, R3, R4, R6, R7, Size};
use kfilter_compiler::code::{Code, FieldPath};
use kfilter_compiler::hir::Span;
use kfilter_compiler::object::{self, Map, MapKind, Module, Program, ProgramSection};
use kfilter_compiler::target::bpf::ahead;
use kfilter_compiler::target::bpf::columns::{Columns, Place, TASK, untrusted};

/// Where the iterator lives on a sweep's stack.
const ITERATOR: i16 = -24;
/// Where the visited rows are counted.
const VISITED: i16 = -48;

/// Metadata of one filter that has nothing but statistics.
pub(crate) fn plain_meta(name: &str) -> ObjectMeta {
    let none = Block { offset: 0, size: 0 };
    let system = u32::try_from(SYSTEM_BLOCK_BYTES).expect("small");
    let stats = u32::try_from(SWEEP_STATS_BYTES).expect("small");
    ObjectMeta {
        format: FORMAT,
        schema: SCHEMA_VERSION,
        compiler: "test".to_owned(),
        source: format!("{name}.kf"),
        filters: vec![FilterMeta {
            name: name.to_owned(),
            doc: String::new(),
            table: "thread".to_owned(),
            rodata: Block { offset: 0, size: system },
            stats: Block { offset: ahead::BYTES, size: stats },
            params: Vec::new(),
            record: RecordMeta { size: 8, fields: Vec::new() },
            top: None,
            state_size: 0,
            hold: None,
            severity: None,
            limit: None,
            needs_two_sweeps: false,
            group: None,
            bpf: BpfMeta {
                sweep: format!("sweep_{name}"),
                records: format!("records_{name}"),
                state: None,
                resident: None,
                classic: Vec::new(),
                reader: None,
            },
            vm: VmMeta { program: none, row_size: 16, columns: Vec::new() },
        }],
    }
}

/// A module of one sweep program.
pub(crate) fn sweep_module(name: &str, source: &str, code: Code) -> Module {
    let meta = plain_meta(name);
    let filter = &meta.filters[0];
    Module {
        source: source.to_owned(),
        programs: vec![Program {
            name: filter.bpf.sweep.clone(),
            section: ProgramSection::Syscall,
            code,
        }],
        subprograms: Vec::new(),
        global: Vec::new(),
        maps: vec![Map {
            name: filter.bpf.records.clone(),
            kind: MapKind::RingBuf,
            flags: 0,
            max_entries: 1 << 16,
            key: None,
            value: None,
        }],
        rodata: vec![0; filter.rodata.size as usize],
        constants: Vec::new(),
        scratch: vec![ahead::variable()],
        vm: Vec::new(),
        meta,
    }
}

/// Code that runs `body` for every task, with the task in `r6`, and counts the visits.
/// `flags` are those of the iterator: 0 for processes, 1 for threads.
pub(crate) fn sweep(flags: i64, body: impl FnOnce(&mut Asm)) -> Code {
    sweep_with(flags, |_| (), body)
}

/// The same, with code before the RCU lock is taken.
pub(crate) fn sweep_with(
    flags: i64,
    before: impl FnOnce(&mut Asm),
    body: impl FnOnce(&mut Asm),
) -> Code {
    let mut asm = Asm::new();
    asm.mark(Span { start: 0, end: 1 });
    before(&mut asm);
    asm.load_imm(R1, 0);
    asm.store(Size::Dw, FP, VISITED, R1);
    asm.call_kfunc("bpf_rcu_read_lock");
    iterator_argument(&mut asm);
    asm.load_imm(R2, 0);
    asm.load_imm(R3, flags);
    asm.call_kfunc("bpf_iter_task_new");
    let (next, end) = (asm.label(), asm.label());
    asm.bind(next);
    iterator_argument(&mut asm);
    asm.call_kfunc("bpf_iter_task_next");
    asm.jump_if_imm(Cond::Eq, R0, 0, end);
    asm.mov(R6, R0);
    asm.load(Size::Dw, R1, FP, VISITED);
    asm.alu_imm(AluOp::Add, R1, 1);
    asm.store(Size::Dw, FP, VISITED, R1);
    body(&mut asm);
    asm.jump(next);
    asm.bind(end);
    iterator_argument(&mut asm);
    asm.call_kfunc("bpf_iter_task_destroy");
    asm.call_kfunc("bpf_rcu_read_unlock");
    asm.load_data(R1, ".bss", ahead::BYTES);
    asm.load(Size::Dw, R7, FP, VISITED);
    asm.store(Size::Dw, R1, 8, R7);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.finish().expect("short jumps")
}

fn iterator_argument(asm: &mut Asm) {
    asm.mov(R1, FP);
    asm.alu_imm(AluOp::Add, R1, ITERATOR.into());
}

/// A sweep over all threads that looks at one field and matches none.
pub(crate) fn none_sweep() -> Module {
    let field = FieldPath { root: "task_struct", path: vec!["se", "sum_exec_runtime"] };
    let code = sweep(1, |asm| {
        asm.mark(Span { start: 24, end: 30 });
        asm.load_field(Size::Dw, R1, R6, field);
    });
    sweep_module("none", "filter none on thread {\n    where cpu_time > 100h\n}\n", code)
}

/// A sweep that hands over, for every row, its tid and then the column, or nothing when the
/// column is unreadable.
pub(crate) fn column_sweep(table: Table, columns: &[&'static Column]) -> Module {
    let stats = u32::try_from(SWEEP_STATS_BYTES).expect("small");
    let reader = Columns::new(
        "probe",
        table,
        columns,
        Place { stats: ahead::BYTES, scratch: ahead::BYTES + stats },
    );
    let flags = i64::from(table == Table::Thread);
    let code = sweep_with(
        flags,
        |asm| reader.sweep_start(asm),
        |asm| {
            asm.store(Size::Dw, FP, TASK, R6);
            asm.mov(R1, R6);
            untrusted(asm, "task_struct");
            asm.mov(R6, R0);
            reader.walk(asm, |asm, _next| {
                for column in columns {
                    hand_over(asm, &reader, column);
                }
            });
        },
    );
    let mut module = sweep_module("probe", "filter probe on process {}\n", code);
    module.maps[0].max_entries = 1 << 22;
    module.maps.extend(reader.maps());
    module.scratch.extend(reader.scratch());
    module.subprograms.extend(reader.subprograms().expect("short jumps"));
    module
}

/// Hands over the row's tid and one column, unless that is unreadable.
fn hand_over(asm: &mut Asm, reader: &Columns, column: &Column) {
    const RECORD: i16 = -256;
    let end = asm.label();
    let field = FieldPath { root: "task_struct", path: vec!["pid"] };
    asm.load_field(Size::W, R1, R6, field);
    asm.store(Size::Dw, FP, RECORD, R1);
    if let Type::Text { .. } | Type::Object = column.ty {
        asm.mov(R1, FP);
        asm.alu_imm(AluOp::Add, R1, i32::from(RECORD) + 8);
        reader.load(asm, column, R1, Some(end));
    } else {
        reader.load(asm, column, R7, Some(end));
        asm.store(Size::Dw, FP, RECORD + 8, R7);
    }
    asm.load_map(R1, "records_probe");
    asm.mov(R2, FP);
    asm.alu_imm(AluOp::Add, R2, RECORD.into());
    asm.load_imm(R3, 8 + i64::try_from(column.ty.size()).expect("small"));
    asm.load_imm(R4, 1);
    asm.call_helper(130);
    asm.bind(end);
}

/// Writes the object and lets bpftool load and pin every program of it.
///
/// # Panics
/// When the kernel refuses it.
pub(crate) fn kernel_accepts(name: &str, module: &Module) {
    kernel_accepts_object(name, &object::write(module).expect("a sound module"));
}

/// The same for an object that is written already.
///
/// # Panics
/// When the kernel refuses it.
pub(crate) fn kernel_accepts_object(name: &str, object: &[u8]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bpf.o"));
    std::fs::write(&path, object).expect("writable");
    if let Some(reason) = cannot_load() {
        println!("SKIPPED {name}: {reason}");
        return;
    }
    let pins = format!("/sys/fs/bpf/kfilter_test_{name}_{}", std::process::id());
    let output = Command::new("bpftool")
        .args(["-d", "prog", "loadall"])
        .arg(&path)
        .arg(&pins)
        .output()
        .expect("bpftool runs");
    let unpinned = std::fs::remove_dir_all(&pins);
    assert!(output.status.success(), "{name}: {}", last_lines(&output.stderr));
    unpinned.expect("the pins are removed");
}

/// The types of an object as bpftool lists them, without their numbers and members; `None`
/// without bpftool.
///
/// # Panics
/// When bpftool cannot read them.
pub(crate) fn types_by_bpftool(name: &str, object: &[u8]) -> Option<Vec<String>> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_types.bpf.o"));
    std::fs::write(&path, object).expect("writable");
    let Ok(output) = Command::new("bpftool").args(["btf", "dump", "file"]).arg(&path).output()
    else {
        println!("SKIPPED {name}: bpftool does not run");
        return None;
    };
    assert!(output.status.success(), "{}", last_lines(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let types = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("] "));
    Some(types.map(|(_, line)| line.to_owned()).collect())
}

/// The end of bpftool's output, where the kernel's verifier says what it disliked.
fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Why objects cannot be loaded here.
fn cannot_load() -> Option<String> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("the kernel has no BTF".to_owned());
    }
    match Command::new("bpftool").args(["prog", "show"]).output() {
        Err(error) => Some(format!("bpftool does not run: {error}")),
        Ok(output) if !output.status.success() => {
            Some(format!("bpf(2) is refused: {}", last_lines(&output.stderr).trim()))
        }
        Ok(_) => (!Path::new("/sys/fs/bpf").is_dir()).then(|| "no bpffs".to_owned()),
    }
}
