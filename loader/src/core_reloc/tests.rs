use super::*;
use crate::btf::Kind;
use crate::btf::builder::Builder;
use crate::btf::ext::CodePlace;
use crate::insn::{Insn, LDDW, LOAD_U64, MOV_IMM};

const LOAD_U32: u8 = 0x61;

/// One relocation against both sides; the builder gets the path's string added.
fn ask(
    local: &mut Builder,
    kernel: &Builder,
    ty: TypeId,
    path: &str,
    kind: RelocKind,
) -> Result<Resolution, RelocErrorKind> {
    let access = local.string(path);
    let kind = RelocKind::ALL.iter().position(|other| *other == kind).unwrap() as u32;
    let reloc = CoreReloc { place: CodePlace { section: 0, slot: 0 }, ty, access, kind };
    let local = local.build();
    let mut wanted = Wanted::default();
    want(&local, &[reloc], &mut wanted).unwrap();
    resolve(&local, &KernelBtf::scan(kernel.bytes(), wanted).unwrap(), &reloc)
}

fn value(result: Result<Resolution, RelocErrorKind>) -> Option<u64> {
    result.unwrap().value
}

/// `struct task { int pid; struct { u64 time; }; u32 bit:3; char comm[16]; }` in the object.
fn local() -> (Builder, TypeId) {
    let mut local = Builder::new();
    let int = local.int("int", 4, true);
    let word = local.int("u32", 4, false);
    let long = local.int("u64", 8, false);
    let byte = local.int("char", 1, true);
    let comm = local.array(byte, 16);
    let members = [
        ("pid", int, 0, 0),
        ("time", long, 64, 0),
        ("bit", word, 128, 3),
        ("comm", comm, 160, 0),
        ("gone", int, 288, 0),
        ("wide", word, 320, 0),
    ];
    let task = local.structure("task___mine", 48, &members);
    (local, task)
}

/// The same in a kernel where everything has moved.
fn kernel() -> Builder {
    let mut kernel = Builder::new();
    let long = kernel.int("u64", 8, false);
    let int = kernel.int("int", 4, true);
    let word = kernel.int("u32", 4, false);
    let byte = kernel.int("char", 1, true);
    let comm = kernel.array(byte, 8);
    let inner = kernel.composite(Kind::Union, "", 8, &[("other", int, 0, 0), ("time", long, 0, 0)]);
    let outer = kernel.structure("", 16, &[("pad", long, 0, 0), ("", inner, 64, 0)]);
    let pid = kernel.refers(Kind::Typedef, "pid_t", int);
    let pid = kernel.refers(Kind::Const, "", pid);
    let members = [
        ("", outer, 64, 0),
        ("pid", pid, 192, 0),
        ("bit", word, 224, 3),
        ("comm", comm, 288, 0),
        ("wide", long, 384, 0),
    ];
    kernel.structure("task", 64, &members);
    // Another type of that name that does not correspond.
    kernel.composite(Kind::Union, "task", 4, &[("pid", int, 0, 0)]);
    kernel
}

#[test]
fn fields_are_found_where_they_are_now() {
    let (mut local, task) = local();
    let kernel = kernel();
    let mut offset = |path| value(ask(&mut local, &kernel, task, path, RelocKind::FieldByteOffset));
    assert_eq!(offset("0:0"), Some(24), "through a typedef and const");
    assert_eq!(offset("0:1"), Some(16), "in a union in an anonymous struct");
    assert_eq!(offset("0:3"), Some(36));
    assert_eq!(offset("0:3:7"), Some(43));
    assert_eq!(offset("0:3:8"), None, "the array is shorter there");
    assert_eq!(offset("0:4"), None);
    assert_eq!(offset("1:0"), Some(64 + 24), "as an element of an array of tasks");
}

#[test]
fn what_is_absent_is_zero_or_poisoned() {
    let (mut local, task) = local();
    let nothing = local.structure("nothing", 4, &[]);
    let kernel = kernel();
    let mut ask = |ty, path, kind| value(ask(&mut local, &kernel, ty, path, kind));
    assert_eq!(ask(task, "0:0", RelocKind::FieldExists), Some(1));
    assert_eq!(ask(task, "0:4", RelocKind::FieldExists), Some(0));
    assert_eq!(ask(task, "0:4", RelocKind::FieldByteSize), None);
    assert_eq!(ask(task, "0", RelocKind::TypeExists), Some(1));
    assert_eq!(ask(task, "0", RelocKind::TypeSize), Some(64));
    assert_eq!(ask(nothing, "0", RelocKind::TypeExists), Some(0));
    assert_eq!(ask(nothing, "0", RelocKind::TypeSize), Some(0));
    assert_eq!(ask(nothing, "0", RelocKind::TypeIdTarget), None);
    assert_eq!(ask(nothing, "0", RelocKind::TypeIdLocal), Some(nothing.0.into()));
}

#[test]
fn a_bitfield_across_words_is_read_by_a_wider_load() {
    let (mut local, task) = local();
    let mut kernel = Builder::new();
    let word = kernel.int("u32", 4, false);
    let members = [("flags", word, 64, 30), ("bit", word, 94, 3)];
    kernel.structure("task", 16, &members);
    let mut ask = |kind| value(ask(&mut local, &kernel, task, "0:2", kind));
    assert_eq!(ask(RelocKind::FieldByteOffset), Some(8));
    assert_eq!(ask(RelocKind::FieldByteSize), Some(8));
    assert_eq!(ask(RelocKind::FieldLeftShift), Some(64 - 33));
    assert_eq!(ask(RelocKind::FieldRightShift), Some(61));
    assert_eq!(ask(RelocKind::FieldSigned), Some(0));
}

#[test]
fn a_bitfield_that_no_load_holds_is_an_error() {
    let (mut local, task) = local();
    let mut kernel = Builder::new();
    let word = kernel.int("u32", 4, false);
    kernel.structure("task", 16, &[("bit", word, 62, 3)]);
    let result = ask(&mut local, &kernel, task, "0:2", RelocKind::FieldByteOffset);
    assert!(matches!(result, Err(RelocErrorKind::Insn { .. })), "{result:?}");
}

#[test]
fn a_load_takes_the_width_that_the_field_has_now() {
    let (mut local, task) = local();
    let kernel = kernel();
    let wide = ask(&mut local, &kernel, task, "0:5", RelocKind::FieldByteOffset).unwrap();
    assert_eq!(wide.sizes, Some(FieldSizes { local: 4, target: 8, adjustable: true }));
    let mut insns = [Insn::new(LOAD_U32, 1, 2, 40, 0)];
    assert_eq!(patch(&mut insns, 0, wide), Ok(false));
    assert_eq!(insns[0], Insn::new(LOAD_U64, 1, 2, 48, 0));
    let mut wrong = [Insn::new(LOAD_U64, 1, 2, 40, 0)];
    assert!(patch(&mut wrong, 0, wide).is_err());
}

#[test]
fn enumerators_are_matched_by_name() {
    let (mut local, kernel) = (Builder::new(), {
        let mut kernel = Builder::new();
        kernel.enumeration("kind", &[("KIND_B", 7), ("KIND_A", 9)]);
        kernel
    });
    let kind = local.enumeration("kind___old", &[("KIND_A___x", 0), ("KIND_C", 1)]);
    let mut ask = |path, kind_of| value(ask(&mut local, &kernel, kind, path, kind_of));
    assert_eq!(ask("0", RelocKind::EnumValue), Some(9));
    assert_eq!(ask("1", RelocKind::EnumValue), None);
    assert_eq!(ask("1", RelocKind::EnumValueExists), Some(0));
}

#[test]
fn candidates_that_disagree_are_an_error_and_those_that_agree_are_not() {
    let mut local = Builder::new();
    let int = local.int("int", 4, true);
    let task = local.structure("s", 4, &[("a", int, 0, 0), ("b", int, 32, 0)]);
    let mut kernel = Builder::new();
    let int = kernel.int("int", 4, true);
    kernel.structure("s", 8, &[("a", int, 0, 0), ("b", int, 32, 0)]);
    kernel.structure("s", 16, &[("a", int, 0, 0), ("b", int, 64, 0)]);
    let kind = RelocKind::FieldByteOffset;
    assert_eq!(value(ask(&mut local, &kernel, task, "0:0", kind)), Some(0));
    let error = ask(&mut local, &kernel, task, "0:1", kind).unwrap_err();
    assert!(matches!(error, RelocErrorKind::Ambiguous { .. }), "{error}");
}

#[test]
fn a_field_of_another_shape_does_not_correspond() {
    let mut local = Builder::new();
    let int = local.int("int", 4, true);
    let task = local.structure("s", 4, &[("a", int, 0, 0)]);
    let mut kernel = Builder::new();
    let pointer = kernel.refers(Kind::Ptr, "", TypeId(0));
    kernel.structure("s", 8, &[("a", pointer, 0, 0)]);
    let exists = ask(&mut local, &kernel, task, "0:0", RelocKind::FieldExists);
    assert_eq!(value(exists), Some(0));
}

#[test]
fn broken_paths_are_errors() {
    let (mut local, task) = local();
    let kernel = kernel();
    for path in ["", "x", "0:99", "0:0:0", "0:3:16", "4294967296", "0:", "-1"] {
        let result = ask(&mut local, &kernel, task, path, RelocKind::FieldByteOffset);
        assert!(matches!(result, Err(RelocErrorKind::Path { .. })), "{path}: {result:?}");
    }
}

#[test]
fn types_that_fan_out_do_not_take_for_ever() {
    let mut local = Builder::new();
    let int = local.int("int", 4, true);
    let task = local.structure("s", 4, &[("a", int, 0, 0)]);
    let mut kernel = Builder::new();
    let mut inner = kernel.structure("", 4, &[]);
    for _ in 0..28 {
        inner = kernel.structure("", 8, &[("", inner, 0, 0), ("", inner, 32, 0)]);
    }
    kernel.structure("s", 8, &[("", inner, 0, 0)]);
    let result = ask(&mut local, &kernel, task, "0:0", RelocKind::FieldByteOffset);
    assert!(matches!(result, Err(RelocErrorKind::Btf(_))), "{result:?}");
}

#[test]
fn values_go_where_the_insn_keeps_them() {
    let plain = |value| Resolution { value: Some(value), sizes: None };
    let mut mov = [Insn::new(MOV_IMM, 1, 0, 0, 0)];
    assert_eq!(patch(&mut mov, 0, plain(40_000)), Ok(false));
    assert_eq!(mov[0].imm, 40_000);
    let mut load = [Insn::new(LOAD_U64, 1, 2, 0, 0)];
    assert!(patch(&mut load, 0, plain(40_000)).is_err(), "beyond 16 bits");
    let mut lddw = [Insn::new(LDDW, 1, 0, 0, 0), Insn::default()];
    assert_eq!(patch(&mut lddw, 0, plain(0x1_2345_6789)), Ok(false));
    assert_eq!((lddw[0].imm, lddw[1].imm), (0x2345_6789, 1));
    let mut exit = [Insn::new(0x95, 0, 0, 0, 0)];
    assert!(patch(&mut exit, 0, plain(1)).is_err());
    assert!(patch(&mut exit, 1, plain(1)).is_err());
    let absent = Resolution { value: None, sizes: None };
    assert_eq!(patch(&mut lddw, 0, absent), Ok(true));
    assert_eq!(lddw[0], lddw[1]);
    assert_eq!((lddw[0].code, lddw[0].imm), (0x85, POISON));
}
