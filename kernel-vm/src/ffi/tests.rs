//! The C side as C calls it, and the header against the numbers here.

use super::*;
use crate::abi;
use crate::asm::assemble;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

const HEADER: &str = include_str!("../../include/kfilter_vm.h");
const SPEC: VmSpec = VmSpec { row_size: 24, state_size: 8, params_size: 8, record_size: 16 };

#[repr(align(16))]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "its place and size are what counts")]
struct Aligned([u8; 16]);

/// Memory as C allocates it: aligned, and with anything in it.
fn memory(bytes: usize) -> Vec<Aligned> {
    vec![Aligned([0xa5; 16]); bytes.div_ceil(16)]
}

const fn empty() -> Vm {
    Vm { words: [MaybeUninit::new(0); VM_WORDS] }
}

fn verify_in(vm: &mut Vm, program: &[RawInsn], scratch_bytes: usize) -> Result<(), (i32, Why)> {
    let mut scratch = memory(scratch_bytes);
    let mut why = Why::default();
    // SAFETY: everything is as long as it is said to be.
    let result = unsafe {
        kfilter_vm_verify(
            vm,
            program.as_ptr().cast(),
            program.len() * 8,
            &SPEC,
            scratch.as_mut_ptr().cast(),
            scratch_bytes,
            &raw mut why,
        )
    };
    if result == 0 { Ok(()) } else { Err((result, why)) }
}

extern "C" fn emit(context: *mut c_void, record: *const u8, length: usize) -> i32 {
    // SAFETY: the test hands over a vector, the machine a record.
    let (kept, record) =
        unsafe { (&mut *context.cast::<Vec<u8>>(), core::slice::from_raw_parts(record, length)) };
    kept.extend_from_slice(record);
    1
}

extern "C" fn boot_ns(_: *mut c_void) -> u64 {
    77
}

fn run_in(vm: &Vm, row: &[u8], state: &mut [u8], kept: &mut Vec<u8>) -> Result<u64, i32> {
    let mut stack = memory(STACK_BYTES);
    let callbacks = Callbacks {
        context: core::ptr::from_mut(kept).cast(),
        emit: Some(emit),
        boot_ns: Some(boot_ns),
        waits_for: None,
    };
    let params = [5_u8; 8];
    let run = Run {
        row: row.as_ptr(),
        row_size: row.len(),
        state: state.as_mut_ptr(),
        state_size: state.len(),
        params: params.as_ptr(),
        params_size: params.len(),
        stack: stack.as_mut_ptr().cast(),
        host: &raw const callbacks,
        fuel: 100,
    };
    let mut verdict = 0;
    // SAFETY: the regions live until the call returns.
    match unsafe { kfilter_vm_run(vm, &raw const run, &raw mut verdict) } {
        0 => Ok(verdict),
        error => Err(error),
    }
}

#[test]
fn a_program_is_verified_once_and_run_over_rows() {
    let text = "r6 = *(u64 *)(r1 +16)
        r7 = *(u8 *)(r3 +0)
        call ktime_get_boot_ns
        *(u64 *)(r10 -16) = r0
        r6 += r7
        *(u64 *)(r10 -8) = r6
        r1 = r10
        r1 += -16
        r2 = 16
        call emit
        r0 = 1
        exit";
    let program = assemble(text).unwrap();
    let mut vm = empty();
    verify_in(&mut vm, &program, kfilter_vm_scratch_bytes(program.len())).unwrap();
    // SAFETY: `vm` was just written.
    assert!(unsafe { kfilter_vm_max_insns(&raw const vm) } >= program.len() as u64);
    let mut kept = Vec::new();
    let row = [vec![0; 16], 37_u64.to_le_bytes().to_vec()].concat();
    assert_eq!(run_in(&vm, &row, &mut [0; 8], &mut kept), Ok(1));
    assert_eq!(kept, [77_u64.to_le_bytes(), 42_u64.to_le_bytes()].concat());
    let short = Err(Error::ShortRegion as i32);
    assert_eq!(run_in(&vm, &row[..23], &mut [0; 8], &mut kept), short);
    assert_eq!(run_in(&vm, &row, &mut [0; 7], &mut kept), short);
}

#[test]
fn what_is_not_verified_does_not_run() {
    let mut vm = empty();
    let none = Err(Error::Empty as i32);
    assert_eq!(run_in(&vm, &[0; 24], &mut [0; 8], &mut Vec::new()), none, "zeros are empty");
    let good = assemble("r0 = 0\n exit").unwrap();
    let needed = kfilter_vm_scratch_bytes(good.len());
    verify_in(&mut vm, &good, needed).unwrap();
    assert_eq!(run_in(&vm, &[0; 24], &mut [0; 8], &mut Vec::new()), Ok(0));
    let bad = assemble("r0 = *(u64 *)(r1 +17)\n exit").unwrap();
    let out_of_bounds = REASONS.iter().find(|(_, name)| *name == "OutOfBounds").unwrap().0;
    assert_eq!(
        verify_in(&mut vm, &bad, needed),
        Err((Error::Rejected as i32, Why { insn: 0, reason: out_of_bounds }))
    );
    assert_eq!(run_in(&vm, &[0; 24], &mut [0; 8], &mut Vec::new()), none);
    let argument = Error::BadArgument as i32;
    assert_eq!(verify_in(&mut vm, &good, needed - 16), Err((argument, Why::default())));
    assert_eq!(verify_in(&mut vm, &[], needed), Err((argument, Why::default())));
    assert_eq!(kfilter_vm_scratch_bytes(INSNS_MAX + 1), 0);
}

/// `NotMemory` as C writes it: `NOT_MEMORY`.
fn shouted(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[test]
fn the_header_has_the_same_numbers() {
    let defined = [
        ("ABI", ABI as usize),
        ("STACK_BYTES", STACK_BYTES),
        ("ALIGN", ALIGN),
        ("INSNS_MAX", INSNS_MAX),
        ("ROW_HEADER_BYTES", abi::ROW_HEADER_BYTES),
        ("ROW_NOW_OFFSET", abi::ROW_NOW_OFFSET),
        ("ROW_MISSING_OFFSET", abi::ROW_MISSING_OFFSET),
        ("ROW_COLUMNS_MAX", abi::ROW_COLUMNS_MAX),
        ("RECORD_BYTES_MAX", abi::RECORD_BYTES_MAX),
    ];
    for (name, value) in defined {
        let line = format!("#define KFILTER_VM_{name} {value}\n");
        assert!(HEADER.contains(&line), "{line}");
    }
    let mut named: Vec<(String, i64)> =
        REASONS.iter().map(|&(number, name)| (shouted(name), i64::from(number))).collect();
    for verdict in
        [abi::Verdict::Pass, abi::Verdict::Match, abi::Verdict::Unreadable, abi::Verdict::Warming]
    {
        named.push((shouted(&format!("{verdict:?}")), verdict as i64));
    }
    for error in [
        Error::Rejected,
        Error::BadArgument,
        Error::Empty,
        Error::ShortRegion,
        Error::OutOfFuel,
        Error::Corrupt,
    ] {
        named.push((shouted(&format!("{error:?}")), error as i64));
    }
    for (name, value) in &named {
        let line = format!("\tKFILTER_VM_{name} = {value},\n");
        assert!(HEADER.contains(&line), "{line}");
    }
    let in_header = HEADER.matches("\tKFILTER_VM_").count();
    assert_eq!(in_header, named.len(), "the header names something that is not here");
    assert!(HEADER.contains(&format!("uint64_t opaque[{VM_WORDS}];")));
    let numbers: Vec<u32> = REASONS.iter().map(|&(number, _)| number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "each number once");
}
