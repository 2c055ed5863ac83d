use super::builder::Builder;
use super::kernel::{KernelBtf, Wanted, essential};
use super::*;

#[test]
fn types_are_found_by_id_beyond_the_first_stride() {
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    let mut last = int;
    for i in 0..100 {
        last = builder.refers(Kind::Typedef, &format!("t{i}"), last);
    }
    let btf = builder.build();
    assert_eq!(btf.count(), 101);
    for id in [1, 15, 16, 17, 32, 33, 101] {
        let view = btf.ty(TypeId(id)).unwrap();
        let name = if id == 1 { "int".to_owned() } else { format!("t{}", id - 2) };
        assert_eq!((view.id, btf.name(&view).unwrap()), (TypeId(id), name.as_str()));
    }
    for id in [0, 102, u32::MAX] {
        assert_eq!(btf.ty(TypeId(id)).unwrap_err().kind, BtfErrorKind::NoSuchType { id });
    }
}

#[test]
fn sizes_follow_modifiers_and_arrays() {
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    let constant = builder.refers(Kind::Const, "", int);
    let row = builder.array(constant, 3);
    let matrix = builder.array(row, 5);
    let pointer = builder.refers(Kind::Ptr, "", TypeId(0));
    let void = builder.refers(Kind::Typedef, "nothing", TypeId(0));
    let own = TypeId(void.0 + 1);
    builder.refers(Kind::Typedef, "own", own);
    let huge = builder.array(matrix, u32::MAX);
    let huger = builder.array(huge, u32::MAX);
    let btf = builder.build();
    assert_eq!(btf.size(matrix), Ok(60));
    assert_eq!(btf.size(pointer), Ok(8));
    assert!(btf.size(void).is_err());
    assert_eq!(btf.size(own).unwrap_err().kind, BtfErrorKind::Chain { id: own.0 });
    assert_eq!(btf.size(huger).unwrap_err().kind, BtfErrorKind::Chain { id: huger.0 });
}

#[test]
fn every_cut_of_the_data_is_an_error_or_stays_in_bounds() {
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    builder.structure("s", 8, &[("a", int, 0, 0), ("b", int, 32, 3)]);
    builder.enumeration("e", &[("A", 1), ("B", 2)]);
    let bytes = builder.bytes();
    for len in 0..bytes.len() {
        assert!(Btf::parse(&bytes[..len], |_, _| Ok(())).is_err(), "{len}");
    }
    assert!(Btf::parse(&bytes[..], |_, _| Ok(())).is_ok());
}

#[test]
fn only_wanted_names_are_kept_and_flavours_dropped() {
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    let first = builder.structure("task_struct", 4, &[("pid", int, 0, 0)]);
    let second = builder.structure("task_struct___new", 4, &[("pid", int, 0, 0)]);
    let short = builder.structure("mm___x", 4, &[]);
    let seven = builder.structure("abcdefg___x", 4, &[]);
    builder.structure("task_structure", 4, &[]);
    builder.refers(Kind::Typedef, "task_struct", first);
    let mut wanted = Wanted::default();
    ["task_struct___mine", "mm", "abcdefg", "nothing", "___"].iter().for_each(|n| wanted.add(n));
    let kernel = KernelBtf::scan(builder.bytes(), wanted).unwrap();
    let structs: Vec<TypeId> = kernel
        .named("task_struct")
        .iter()
        .filter(|(kind, _)| *kind == Kind::Struct)
        .map(|(_, id)| *id)
        .collect();
    assert_eq!(structs, [first, second]);
    assert_eq!(kernel.named("mm"), [(Kind::Struct, short)]);
    assert_eq!(kernel.named("abcdefg"), [(Kind::Struct, seven)]);
    assert_eq!(kernel.named("int"), []);
    assert_eq!(kernel.exact("task_struct", Kind::Struct), Some(first));
    assert_eq!(kernel.exact("mm", Kind::Struct), None);
    assert_eq!(essential("___x"), "___x");
}

#[test]
fn the_kernel_is_not_shown_what_it_refuses() {
    struct Layout;
    impl DataLayout for Layout {
        fn section_size(&self, section: &str) -> Option<u32> {
            (section == ".bss").then_some(16)
        }
        fn variable_offset(&self, _: &str, variable: &str) -> Option<u32> {
            Some(if variable == "second" { 8 } else { 0 })
        }
    }
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    let proto = builder.add(Kind::FuncProto, "", false, 1, 0, &[0, int.0]);
    let function = builder.add(Kind::Func, "bpf_x", false, 2, proto.0, &[]);
    let second = builder.add(Kind::Var, "second", false, 0, int.0, &[1]);
    let first = builder.add(Kind::Var, "first", false, 0, int.0, &[2]);
    let bss = [second.0, 0, 4, first.0, 0, 4];
    let bss = builder.add(Kind::Datasec, ".bss", false, 2, 0, &bss);
    let ksyms = builder.add(Kind::Datasec, ".ksyms", false, 1, 0, &[function.0, 0, 0]);
    let btf = builder.build();
    let clean = Btf::parse(for_kernel(&btf, &Layout).unwrap(), |_, _| Ok(())).unwrap();
    assert_eq!(clean.count(), btf.count());
    assert_eq!(clean.ty(function).unwrap().linkage(), 1);
    assert_eq!(clean.ty(first).unwrap().linkage(), 1);
    let section = clean.ty(bss).unwrap();
    assert_eq!(section.size(), 16);
    let variables: Vec<_> = section.variables().collect();
    assert_eq!(variables, [(first, 0, 4), (second, 8, 4)]);
    let empty = clean.ty(ksyms).unwrap();
    assert_eq!((empty.kind, empty.members, empty.name), (Kind::Struct, 0, 0));
}

/// Typedefs, structs and functions enough for several lanes; `odd` adds what is special.
fn large(odd: impl Fn(&mut Builder)) -> Builder {
    let mut builder = Builder::new();
    let int = builder.int("int", 4, true);
    for i in 0..5000 {
        let shape = builder.structure(&format!("s{i}"), 8, &[("a", int, 0, 0), ("b", int, 32, 0)]);
        let proto = builder.add(Kind::FuncProto, "", false, 1, 0, &[0, shape.0]);
        builder.add(Kind::Func, &format!("f{i}"), false, 2, proto.0, &[]);
        if i % 500 == 0 {
            odd(&mut builder);
        }
    }
    builder
}

/// Says in how many lanes.
fn agrees_with_a_plain_walk(builder: &Builder) -> usize {
    let bytes = builder.bytes();
    let plain = builder.build();
    let names = ["int", "s0", "s17", "s4999", "f2500", "f4999", "ab", "x"];
    let mut wanted = Wanted::default();
    names.iter().for_each(|name| wanted.add(name));
    let kernel = KernelBtf::scan(&bytes[..], wanted).unwrap();
    assert_eq!(kernel.types().count(), plain.count());
    for id in (1..=plain.count()).map(TypeId) {
        let (one, other) = (kernel.types().ty(id).unwrap(), plain.ty(id).unwrap());
        assert_eq!((one.id, one.kind, one.name), (id, other.kind, other.name));
    }
    for name in names {
        let found = plain.iter().filter(|view| essential(plain.name(view).unwrap()) == name);
        let found: Vec<_> = found.map(|view| (view.kind, view.id)).collect();
        assert_eq!(kernel.named(name), found, "{name}");
    }
    kernel.types().lane_starts().count()
}

#[test]
fn lanes_see_what_a_plain_walk_sees() {
    assert_eq!(agrees_with_a_plain_walk(&large(|_| {})), 4);
    let flavoured = large(|builder| {
        builder.structure("ab___mine", 4, &[]);
        builder.structure("x", 4, &[]);
        builder.structure("x___other", 4, &[]);
    });
    assert_eq!(agrees_with_a_plain_walk(&flavoured), 4);
}

#[test]
fn members_that_look_like_types_mislead_nobody() {
    // The members of these read as thousands of typedefs in a row.
    let decoy = [1, (Kind::Typedef as u32) << 24, 1].repeat(10_000);
    agrees_with_a_plain_walk(&large(|builder| {
        builder.add(Kind::Struct, "decoy", false, 10_000, 4, &decoy);
    }));
}

#[test]
fn a_fault_in_any_lane_is_the_fault_that_a_plain_walk_meets() {
    let bytes = large(|_| {}).bytes();
    let (types, _) = sections(&bytes).unwrap();
    for percent in [1, 30, 50, 70, 99] {
        let mut broken = bytes.clone();
        let at = types.start + types.len() / 100 * percent;
        broken[at..at + 64].fill(0xff);
        let scanned = KernelBtf::scan(&broken[..], Wanted::default()).map(|_| ());
        let plain = Btf::parse(&broken[..], |_, _| Ok(())).map(|_| ());
        assert!(plain.is_err());
        assert_eq!(scanned, plain);
    }
}
