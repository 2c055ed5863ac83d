//! The readers of ELF and BTF on any bytes at all.

use kfilter_loader::Object;
use kfilter_loader::btf::kernel::{KernelBtf, Wanted};
use kfilter_loader::btf::{self, Btf, ext};
use kfilter_loader::link::{self, ProgramKind};
use kfilter_tests::fuzz;

/// An object that another compiler has written.
const FOREIGN: &[u8] = include_bytes!("../../loader/tests/objects/sweep.o");

const WORDS: &[&[u8]] = &[
    b".maps\0",
    b".BTF\0",
    b".BTF.ext\0",
    b".rodata\0",
    b".bss\0",
    b"license\0",
    b"syscall\0",
    b".kfilter.meta\0",
    b"\x9f\xeb\x01\x00",
    b"\x7fELF\x02\x01\x01",
    b"\x18\0\0\0",
    b"\xf7\0",
    b"{\"format\":1,",
    b"\"offset\":4294967295",
    b"\xff\xff\xff\xff",
];

#[test]
fn the_object_reader_never_panics() {
    fuzz::run("object", &[FOREIGN.to_vec()], WORDS, |input| {
        if let Ok(object) = Object::parse(input) {
            for filter in object.filters() {
                let _ = object.vm_program(filter);
                let _ = kfilter_loader::Request::new(
                    &object,
                    &filter.name,
                    &[],
                    kfilter_loader::params::SystemValues::default(),
                );
            }
            relocate(&object);
        }
    });
}

/// Links every program against the object's own types, as if they were a kernel's.
fn relocate(object: &Object) {
    let _ = btf::for_kernel(&object.btf, object);
    for (entry, function) in object.functions.iter().enumerate() {
        let kind = ProgramKind::of_section(&function.section).unwrap_or(ProgramKind::Syscall);
        let mut wanted = Wanted::default();
        if link::want(object, &link::reach(object, entry), &mut wanted).is_err() {
            continue;
        }
        let Ok(kernel) = KernelBtf::scan(object.btf.bytes(), wanted) else { continue };
        if let Ok(program) = link::link(object, &kernel, entry, kind) {
            assert!(program.maps.iter().all(|map| map.slot + 1 < program.insns.len()));
            (0..program.insns.len()).for_each(|slot| drop(program.line_of(object, slot)));
        }
    }
}

#[test]
fn the_type_readers_never_panic() {
    // Both kinds of data begin with the same magic number.
    let starts = FOREIGN.windows(4).enumerate().filter(|(_, window)| *window == b"\x9f\xeb\x01\0");
    let seeds: Vec<Vec<u8>> = starts.map(|(at, _)| FOREIGN[at..].to_vec()).collect();
    assert!(seeds.len() >= 2, "the object has types and their extension");
    fuzz::run("btf", &seeds, WORDS, |input| {
        let _ = Btf::parse(input, |_, _| Ok(()));
        let _ = ext::parse(input);
    });
}
