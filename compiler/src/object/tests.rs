//! The writer's parts by themselves; `tests/bpftool.rs` asks the kernel about the whole.

use goblin::elf::{Elf, header, sym};
use kernel_vm::object::ObjectMeta;

use super::btf::{Btf, BtfMember, Encoding, TypeId};
use super::{
    DataType, Map, MapKind, Module, ObjectErrorKind, Program, ProgramSection, Scratch, Subprogram,
    write,
};
use crate::asm::{Asm, R0, R1, R2, Size};
use crate::code::{Code, FieldPath, RelocKind};
use crate::hir::Span;

const SOURCE: &str = "# two lines\nfilter f on process { where rss > 1 }\n";

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn module(code: Code) -> Module {
    let meta = ObjectMeta {
        format: 1,
        schema: 1,
        compiler: "test".to_owned(),
        source: "f.kf".to_owned(),
        filters: Vec::new(),
    };
    let mut helper = Asm::new();
    helper.load_imm(R0, 7);
    helper.exit();
    let helper = helper.finish().expect("no jumps");
    let subprogram = |name: &str| Subprogram { name: name.to_owned(), code: helper.clone() };
    Module {
        meta,
        source: SOURCE.to_owned(),
        programs: vec![Program {
            name: "sweep_f".to_owned(),
            section: ProgramSection::Syscall,
            code,
        }],
        subprograms: vec![subprogram("first"), subprogram("second")],
        global: Vec::new(),
        maps: vec![Map {
            name: "counts".to_owned(),
            kind: MapKind::Hash,
            flags: 0,
            max_entries: 8,
            key: Some(DataType::U32),
            value: Some(DataType::words(2)),
        }],
        rodata: Vec::new(),
        constants: Vec::new(),
        scratch: vec![Scratch { name: "sums".to_owned(), offset: 0, ty: DataType::words(4) }],
        vm: vec![1, 2, 3, 4, 5, 6, 7, 8],
    }
}

fn every_reference() -> Code {
    let field = |path: &[&'static str]| FieldPath { root: "task_struct", path: path.to_vec() };
    let mut asm = Asm::new();
    asm.mark(Span { start: 12, end: 18 });
    asm.load_map(R1, "counts");
    asm.load_data(R2, ".bss", 16);
    asm.mark(Span { start: 40, end: 43 });
    asm.load_field(Size::Dw, R0, R1, field(&["se", "sum_exec_runtime"]));
    asm.load_core(R0, RelocKind::FieldExists(field(&["__state"])));
    asm.call_subprog("second");
    asm.load_subprog(R2, "second");
    asm.call_kfunc("bpf_rcu_read_lock");
    asm.exit();
    asm.finish().expect("no jumps")
}

#[test]
fn equal_types_and_strings_are_one() {
    let mut btf = Btf::new();
    let int = btf.int("int", 4, Encoding::Signed);
    assert_eq!(int, TypeId(1));
    assert_eq!(btf.int("int", 4, Encoding::Signed), int);
    assert_ne!(btf.int("int", 4, Encoding::Unsigned), int);
    let pointer = btf.pointer(int);
    assert_eq!(btf.pointer(int), pointer);
    assert_eq!(btf.string("int"), 1);
    assert_eq!(btf.string(""), 0);
    assert_eq!(btf.string("a\0b"), btf.string("a"));
}

#[test]
fn a_struct_may_point_to_itself() {
    let mut btf = Btf::new();
    let node = btf.reserve();
    let next = btf.pointer(node);
    let member = BtfMember { name: "next".to_owned(), ty: next, offset: 0 };
    btf.fill(node, "node", 8, std::slice::from_ref(&member));
    assert_eq!(btf.structure("node", 8, &[member]), node, "a filled struct is found again");
    let bytes = btf.finish();
    // struct node: name, kind 4 with one member, size; the member: name, type 2, bit 0.
    let types: Vec<u32> = (0..6).map(|index| word(&bytes, 24 + index * 4)).collect();
    assert_eq!(types[1..3], [4 << 24 | 1, 8]);
    assert_eq!(types[4..6], [next.0, 0]);
    assert_eq!(word(&bytes, 24 + 24 + 8), node.0, "the pointer points back");
}

#[test]
fn the_header_agrees_with_the_length() {
    let mut btf = Btf::new();
    btf.int("int", 4, Encoding::Signed);
    let bytes = btf.finish();
    let (types, strings) = (word(&bytes, 12), word(&bytes, 20));
    assert_eq!((types, strings), (16, 5));
    assert_eq!(bytes.len(), 24 + 16 + 5);
}

#[test]
fn the_file_reads_back_with_goblin() {
    let bytes = write(&module(every_reference())).expect("a sound module");
    let elf = Elf::parse(&bytes).expect("ELF");
    assert_eq!((elf.header.e_machine, elf.header.e_type), (header::EM_BPF, header::ET_REL));
    let section = |name: &str| {
        elf.section_headers
            .iter()
            .position(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name))
            .unwrap_or_else(|| panic!("no section {name}"))
    };
    for name in [".maps", ".bss", "license", ".BTF", ".BTF.ext", ".kfilter.meta", ".kfilter.vm"] {
        section(name);
    }
    let named = |name: &str| {
        elf.syms
            .iter()
            .find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name))
            .unwrap_or_else(|| panic!("no symbol {name}"))
    };
    assert_eq!(named("sweep_f").st_shndx, section("syscall"));
    assert_eq!(named("sweep_f").st_bind(), sym::STB_GLOBAL);
    assert_eq!(named("second").st_bind(), sym::STB_LOCAL);
    assert_eq!(named("bpf_rcu_read_lock").st_shndx, 0, "kernel functions are undefined");
    let (_, relocs) = elf.shdr_relocs.first().expect("relocations");
    let found: Vec<(u64, u32)> =
        relocs.iter().map(|reloc| (reloc.r_offset, reloc.r_type)).collect();
    assert_eq!(found, [(0, 1), (16, 1), (48, 10), (56, 1), (72, 10)]);
}

#[test]
fn insns_hold_the_addends_that_libbpf_reads() {
    let bytes = write(&module(every_reference())).expect("a sound module");
    let elf = Elf::parse(&bytes).expect("ELF");
    let code = elf
        .section_headers
        .iter()
        .find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some("syscall"))
        .map(|section| &bytes[section.sh_offset as usize..][..section.sh_size as usize])
        .expect("the program's section");
    let imm = |slot: usize| word(code, slot * 8 + 4).cast_signed();
    assert_eq!(imm(0), 0, "a map");
    assert_eq!(imm(2), 16, "an offset in .bss");
    assert_eq!(&code[4 * 8 + 2..4 * 8 + 4], [8, 0], "se follows __state, aligned");
    assert_eq!(imm(5), 1, "a field exists in its own type");
    assert_eq!(imm(6), 2 - 1, "the call of the second function");
    assert_eq!(imm(7), 16, "its address");
    assert_eq!(imm(9), -1, "a kernel function");
}

#[test]
fn the_same_module_gives_the_same_bytes() {
    let module = module(every_reference());
    assert_eq!(write(&module), write(&module));
}

#[test]
fn what_cannot_be_resolved_is_an_error() {
    let kind = |build: fn(&mut Asm)| {
        let mut asm = Asm::new();
        build(&mut asm);
        asm.exit();
        write(&module(asm.finish().expect("no jumps"))).expect_err("unsound").kind
    };
    insta::assert_snapshot!(
        [
            kind(|asm| asm.load_map(R1, "nowhere")),
            kind(|asm| asm.call_subprog("nowhere")),
            kind(|asm| asm.call_kfunc("bpf_no_such")),
            kind(|asm| asm.load_data(R1, ".rodata", 0)),
            kind(|asm| {
                let path = FieldPath { root: "task_struct", path: vec!["mm", "total_vm"] };
                asm.load_field(Size::Dw, R1, R1, path);
            }),
            kind(|asm| asm.reloc(RelocKind::Map("counts".to_owned()))),
        ]
        .map(|kind: ObjectErrorKind| kind.to_string())
        .join("\n"),
        @"
    `sweep_f` refers to `nowhere`, which the object does not have
    `sweep_f` refers to `nowhere`, which the object does not have
    no prototype is described for the kernel function `bpf_no_such`
    `sweep_f` refers to `.rodata`, which the object does not have
    no kernel type is described for `task_struct.mm.total_vm`
    insn 0 of `sweep_f` cannot hold the reference made there
    "
    );
}
