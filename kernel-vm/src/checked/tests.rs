//! What must be stopped is stopped, and where.

use super::*;
use crate::asm::assemble;
use crate::verify::Spec;

struct Nobody;

impl Host for Nobody {
    fn emit(&mut self, _: &[u8]) -> bool {
        true
    }
    fn boot_ns(&mut self) -> u64 {
        0
    }
    fn waits_for(&mut self, _: u64) -> u64 {
        0
    }
}

fn run_text(text: &str) -> Result<u64, Fault> {
    let program = assemble(text).unwrap();
    let spec =
        Spec { row_size: 16, state_size: 8, params_size: 8, record_size: 8, ..Spec::default() };
    let mut env = Env {
        row: &[1; 16],
        state: &mut [0; 8],
        params: &[2; 8],
        maps: &mut [],
        host: &mut Nobody,
        fuel: 1_000,
    };
    run(&program, &spec, &mut env, &mut ())
}

#[track_caller]
fn stopped(text: &str, pc: usize) -> FaultKind {
    let fault = run_text(text).unwrap_err();
    assert_eq!(fault.pc, pc, "{fault}");
    fault.kind
}

#[test]
fn accesses_are_checked() {
    assert_eq!(run_text("r0 = *(u64 *)(r1 +8)\n exit"), Ok(0x0101_0101_0101_0101));
    assert!(matches!(stopped("r0 = *(u64 *)(r1 +9)\n exit", 0), FaultKind::BadAccess { .. }));
    assert!(matches!(stopped("r0 = *(u8 *)(r1 -1)\n exit", 0), FaultKind::BadAccess { .. }));
    assert!(matches!(stopped("*(u8 *)(r1 +0) = 1\n exit", 0), FaultKind::BadAccess { .. }));
    assert!(matches!(stopped("*(u8 *)(r3 +0) = 1\n exit", 0), FaultKind::BadAccess { .. }));
    assert!(matches!(
        stopped("r0 = 0\n *(u8 *)(r0 +0) = 1\n exit", 1),
        FaultKind::BadAccess { .. }
    ));
    assert!(matches!(stopped("r0 = *(u8 *)(r10 +0)\n exit", 0), FaultKind::UnsetStack { .. }));
    assert!(matches!(
        stopped("*(u32 *)(r10 -8) = 1\n r0 = *(u64 *)(r10 -8)\n exit", 1),
        FaultKind::UnsetStack { .. }
    ));
}

#[test]
fn registers_must_be_set() {
    assert_eq!(stopped("exit", 0), FaultKind::Unset { reg: Reg::R0 });
    assert_eq!(stopped("r0 += r5\n exit", 0), FaultKind::Unset { reg: Reg::R0 });
    assert_eq!(stopped("r10 = 1\n exit", 0), FaultKind::WritesFramePointer);
    assert_eq!(
        stopped("call ktime_get_boot_ns\n r0 = r1\n exit", 1),
        FaultKind::Unset { reg: Reg::R1 }
    );
}

#[test]
fn endless_programs_end() {
    assert_eq!(stopped("goto -1", 0), FaultKind::OutOfFuel);
    assert_eq!(stopped("r0 = 0\n goto -3", 1), FaultKind::Decode(DecodeErrorKind::Missing));
    assert_eq!(stopped("call pc-1", 0), FaultKind::TooDeep);
    assert_eq!(stopped("r0 = 0", 1), FaultKind::Decode(DecodeErrorKind::Missing));
}
