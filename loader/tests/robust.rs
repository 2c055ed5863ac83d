//! Broken, cut and foreign objects: an error or a harmless object, never a panic.

use kfilter_loader::Object;
use kfilter_loader::btf::kernel::{KernelBtf, Wanted};
use kfilter_loader::btf::{self, ext};
use kfilter_loader::link::{self, ProgramKind};
use proptest::prelude::*;

const SWEEP: &[u8] = include_bytes!("objects/sweep.o");

/// Goes as far with `bytes` as a load goes without a kernel: the object's own types stand
/// for the kernel's.
fn go_through(bytes: &[u8]) {
    let Ok(object) = Object::parse(bytes) else { return };
    let _ = btf::for_kernel(&object.btf, &object);
    for entry in 0..object.functions.len() {
        let mut wanted = Wanted::default();
        let reached = link::reach(&object, entry);
        if link::want(&object, &reached, &mut wanted).is_err() {
            continue;
        }
        let Ok(kernel) = KernelBtf::scan(object.btf.bytes(), wanted) else { continue };
        if let Ok(program) = link::link(&object, &kernel, entry, ProgramKind::Syscall) {
            for slot in 0..program.insns.len() {
                let _ = program.line_of(&object, slot);
            }
            assert!(program.maps.iter().all(|map| map.slot + 1 < program.insns.len()));
        }
    }
}

/// A value that breaks things: the ends of ranges and what is near them.
fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u32::MAX),
        Just(u32::MAX - 7),
        Just(1 << 31),
        Just(SWEEP.len() as u32),
        0..4096_u32,
        any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn changed_words_are_survived(changes in prop::collection::vec((0..SWEEP.len() / 4, edge()), 1..8)) {
        let mut bytes = SWEEP.to_vec();
        for (word, value) in changes {
            bytes[word * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        go_through(&bytes);
    }

    #[test]
    fn changed_bytes_are_survived(changes in prop::collection::vec((0..SWEEP.len(), any::<u8>()), 1..32)) {
        let mut bytes = SWEEP.to_vec();
        for (at, value) in changes {
            bytes[at] = value;
        }
        go_through(&bytes);
    }

    #[test]
    fn cut_objects_are_survived(len in 0..SWEEP.len(), tail in prop::collection::vec(any::<u8>(), 0..64)) {
        go_through(&[&SWEEP[..len], &tail[..]].concat());
    }

    #[test]
    fn junk_is_no_extension(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = ext::parse(&bytes);
        let mut with_magic = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        with_magic.extend(bytes);
        let _ = ext::parse(&with_magic);
        let _ = btf::Btf::parse(&with_magic[..], |_, _| Ok(()));
    }
}

/// The message for `bytes`.
fn refused(bytes: &[u8]) -> String {
    Object::parse(bytes).expect_err("no object").to_string()
}

#[test]
fn foreign_files_are_named_for_what_they_are() {
    insta::assert_snapshot!(refused(b""), @"section `ELF header`, byte 0x0: not an ELF file");
    insta::assert_snapshot!(refused(b"filter x on process {}"), @"section `ELF header`, byte 0x0: not an ELF file");
    let program = std::fs::read("/proc/self/exe").unwrap();
    let message = match Object::parse(&program) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("this test is no BPF object"),
    };
    assert!(message.contains("not a BPF object") || message.contains("more than"), "{message}");
    let mut other = SWEEP.to_vec();
    other[5] = 2;
    other[16..20].copy_from_slice(&[0, 1, 0, 247]);
    insta::assert_snapshot!(refused(&other), @"section `ELF header`, byte 0x0: not a BPF object in little endian: REL for BPF, 64 bits, big endian");
    insta::assert_snapshot!(refused(&SWEEP[..1000]), @"section `ELF header`, byte 0x28: the section table lies outside of its section");
}

#[test]
fn metadata_that_contradict_the_object_are_refused() {
    let changed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = SWEEP.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = SWEEP.to_vec();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        refused(&bytes)
    };
    insta::assert_snapshot!(
        changed("\"format\":1", "\"format\":9"),
        @"section `.kfilter.meta`, byte 0x0: metadata of format 9 and schema 1, written by compiler 0.0.0 (this loader reads format 1 and schema 1), is not supported");
    insta::assert_snapshot!(
        changed("\"offset\":16,\"size\":8", "\"offset\":96,\"size\":8"),
        @"section `.kfilter.meta`, byte 0x0: filter `hog`: 96..104 lies outside of the parameters (24 bytes)");
    insta::assert_snapshot!(
        changed("\"offset\":32}", "\"offset\":64}"),
        @"section `.kfilter.meta`, byte 0x0: filter `hog`: field `comm` at 64..80 of 48");
    insta::assert_snapshot!(
        changed("\"sweep_hog\"", "\"sweep_cat\""),
        @"section `.kfilter.meta`, byte 0x0: filter `hog`: no program `sweep_cat`");
    insta::assert_snapshot!(
        changed("\"records_hog\"", "\"records_cat\""),
        @"section `.kfilter.meta`, byte 0x0: filter `hog`: no ring buffer `records_cat`");
}
