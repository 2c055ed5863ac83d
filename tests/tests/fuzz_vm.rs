//! Any bytes as a program: a result or a rejection, never a panic.

use kernel_vm::asm::{assemble, disassemble};
use kernel_vm::checked::{self, FaultKind};
use kernel_vm::isa::{INSN_BYTES, RawInsn, decode, encode};
use kernel_vm::run::{Env, Host, Op, RunError, Stack};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};
use std::time::{Duration, Instant};

const SPEC: Spec<'static> =
    Spec { row_size: 32, state_size: 16, params_size: 8, record_size: 16, maps: &[] };

/// Functions that a run may enter: loops of more rounds end early on both engines.
const FUEL: u64 = 100_000;

struct Nobody;

impl Host for Nobody {
    fn emit(&mut self, _: &[u8]) -> bool {
        true
    }
    fn boot_ns(&mut self) -> u64 {
        1
    }
    fn waits_for(&mut self, tid: u64) -> u64 {
        tid
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mixed = (*state ^ (*state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn budget() -> Duration {
    let seconds = std::env::var("KFILTER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(seconds.map_or(300, |seconds: u64| seconds * 1_000))
}

/// One program: round trip, verification and, of what is accepted, both engines.
fn try_program(program: &[RawInsn], buffer: &mut ScratchBuffer, stack: &mut Stack) -> bool {
    if let Ok(insn) = decode(program) {
        let (first, second) = encode(insn);
        assert_eq!(first, program[0]);
        assert!(second.is_none_or(|second| second == program[1]));
    }
    let (mut state, mut other) = ([7; 16], [7; 16]);
    let (row, params) = ([3; 32], [5; 8]);
    let verified = verify(program, SPEC, &mut buffer.scratch());
    let mut env = Env {
        row: &row,
        state: &mut state,
        params: &params,
        maps: &mut [],
        host: &mut Nobody,
        fuel: FUEL,
    };
    let checked = checked::run(program, &SPEC, &mut env, &mut ());
    let Ok(verified) = verified else { return false };
    let mut env = Env { state: &mut other, host: &mut Nobody, fuel: FUEL, ..env };
    let mut ops = vec![Op::BLANK; program.len()];
    let ran = verified.threaded(&mut ops).run(&mut env, stack);
    match (checked, ran) {
        // A bound may be proven that is higher than this test's fuel, which the engines
        // count each in its own way.
        (Err(fault), _) if fault.kind == FaultKind::OutOfFuel => {}
        (Ok(_), Err(RunError::OutOfFuel)) => {}
        (checked, ran) => {
            assert_eq!(Ok(checked.expect("it was verified")), ran);
            assert_eq!(state, other);
        }
    }
    true
}

#[test]
fn random_and_broken_bytes() {
    let seed = assemble(
        "r6 = r1\n r0 = *(u64 *)(r6 +8)\n if r0 > 24 goto out\n r6 += r0\n r0 = *(u8 *)(r6 +0)
         *(u64 *)(r10 -16) = r0\n *(u64 *)(r10 -8) = 1\n r1 = r10\n r1 += -16\n r2 = 16
         call emit\n r1 = 4\n r2 = func[body]\n r3 = r10\n r3 += -16\n r4 = 0\n call loop
         out:\n r0 = 1\n exit
         body:\n r3 = *(u64 *)(r2 +0)\n r3 += r1\n *(u64 *)(r2 +8) = r3\n r0 = 0\n exit",
    )
    .expect("it is a program");
    let (mut buffer, mut stack) = (ScratchBuffer::new(4_096), Stack::new());
    assert!(try_program(&seed, &mut buffer, &mut stack));
    let (mut state, mut accepted, mut tried) = (11, 0, 0);
    let start = Instant::now();
    while start.elapsed() < budget() {
        let bits = next(&mut state);
        let mut program = seed.clone();
        if bits & 15 == 0 {
            let length = 1 + (bits >> 8) as usize % 40;
            program =
                (0..length).map(|_| RawInsn::from_bytes(next(&mut state).to_le_bytes())).collect();
        } else {
            for _ in 0..1 + (bits >> 8 & 3) {
                let change = next(&mut state);
                let at = change as usize % program.len();
                let mut bytes = program[at].to_bytes();
                bytes[(change >> 32) as usize % INSN_BYTES] ^= 1 << (change >> 40 & 7);
                program[at] = RawInsn::from_bytes(bytes);
            }
        }
        tried += 1;
        accepted += u32::from(try_program(&program, &mut buffer, &mut stack));
        let text = disassemble(&program);
        assert!(text.lines().count() <= program.len());
    }
    assert!(tried < 1_000 || accepted > 0, "{accepted} of {tried}");
}
