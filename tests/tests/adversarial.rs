//! Programs made to be dear or to slip through: each is answered after one look at each insn,
//! accepted or refused in words, and what is accepted runs to its end on every engine.

use kernel_vm::asm::assemble;
use kernel_vm::checked;
use kernel_vm::isa::{DecodeErrorKind, RawInsn, decode};
use kernel_vm::run::{Env, Host, Op, Stack};
use kernel_vm::verify::{
    DEPTH_MAX, INSNS_MAX, Observer, RejectionKind, STACK_BYTES, ScratchBuffer, Spec, State, verify,
    verify_observed,
};
use std::fmt::Write as _;

const SPEC: Spec<'static> =
    Spec { row_size: 32, state_size: 16, params_size: 8, record_size: 16, maps: &[] };

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

/// How often the verifier looks at an insn: what its time is made of.
struct Looks(usize);

impl Observer for Looks {
    fn before(&mut self, _: usize, _: &State) {
        self.0 += 1;
    }
}

/// The bound on a run's insns, or the rejection in words.
fn outcome(program: &[RawInsn]) -> Result<u64, String> {
    let mut buffer = ScratchBuffer::new(program.len());
    let mut looks = Looks(0);
    let outcome = verify_observed(program, SPEC, &mut buffer.scratch(), &mut looks);
    assert!(looks.0 <= program.len(), "{} looks at {} slots", looks.0, program.len());
    outcome.map(|verified| verified.max_insns()).map_err(|rejection| rejection.to_string())
}

#[track_caller]
fn program(text: &str) -> Vec<RawInsn> {
    assemble(text).expect("it is a program")
}

/// What the program returns on every engine.
#[track_caller]
fn result(program: &[RawInsn]) -> u64 {
    let mut buffer = ScratchBuffer::new(program.len());
    let verified = verify(program, SPEC, &mut buffer.scratch()).expect("it is safe");
    let mut ops = vec![Op::BLANK; program.len()];
    let (mut state, mut host, mut stack) = ([0; 16], Nobody, Stack::new());
    let mut env = Env {
        row: &[3; 32],
        state: &mut state,
        params: &[0; 8],
        maps: &mut [],
        host: &mut host,
        fuel: 1 << 20,
    };
    let slots = verified.run(&mut env, &mut stack).expect("it runs");
    let threaded = verified.threaded(&mut ops).run(&mut env, &mut stack).expect("it runs");
    let checked = checked::run(program, &SPEC, &mut env, &mut ()).expect("it runs");
    assert_eq!((slots, threaded), (checked, checked));
    checked
}

fn repeated(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|index| line(index) + "\n").collect()
}

#[test]
fn all_jumps_to_one_insn() {
    let jumps = repeated(5_000, |n| format!("if r2 == {n} goto out\n r2 += 1"));
    let text = format!("r0 = 1\n r2 = *(u64 *)(r1 +0)\n {jumps} out:\n exit");
    let program = program(&text);
    assert_eq!(outcome(&program), Ok(10_003));
    result(&program);
}

#[test]
fn ways_that_double_at_every_branch() {
    let diamonds =
        repeated(5_000, |n| format!("if r2 & {} goto l{n}\n r0 += 1\n l{n}:", 1 << (n % 31)));
    let program = program(&format!("r0 = 0\n r2 = *(u64 *)(r1 +0)\n {diamonds} exit"));
    assert_eq!(outcome(&program), Ok(10_003));
    result(&program);
}

#[test]
fn every_jump_to_a_place_of_its_own() {
    let text = |count| {
        let jumps = repeated(count, |n| format!("if r2 == {n} goto l{n}"));
        let places = repeated(count, |n| format!("l{n}:\n r0 += 1"));
        program(&format!("r0 = 0\n r2 = *(u64 *)(r1 +0)\n {jumps} {places} exit"))
    };
    result(&text(512));
    let refused = outcome(&text(513)).expect_err("as many states would be kept");
    assert!(refused.contains("open at once"), "{refused}");
}

/// A chain of functions, each of which fills its stack to the last byte, calls the next twice
/// and reads its stack back.
fn chain(functions: u32) -> Vec<RawInsn> {
    let slots = STACK_BYTES / 8;
    let mut text = String::new();
    for function in 0..functions {
        let calls = match function + 1 {
            last if last == functions => String::from("r6 = 1"),
            next => format!("call f{next}\n r6 = r0\n call f{next}\n r6 += r0"),
        };
        let stores = repeated(slots, |slot| format!("*(u64 *)(r10 -{}) = {slot}", 8 * (slot + 1)));
        let loads = repeated(slots, |slot| {
            format!("r1 = *(u64 *)(r10 -{})\n r1 -= {slot}\n r6 += r1", 8 * (slot + 1))
        });
        writeln!(text, "f{function}:\n {stores} {calls}\n {loads} r0 = r6\n exit")
            .expect("a string takes all");
    }
    program(&text)
}

#[test]
fn the_deepest_chain_of_calls_with_the_fullest_stacks() {
    assert_eq!(result(&chain(DEPTH_MAX)), 1 << (DEPTH_MAX - 1));
    let refused = outcome(&chain(DEPTH_MAX + 1)).expect_err("one more is too deep");
    assert!(refused.contains("nested more than"), "{refused}");
    for text in ["*(u8 *)(r10 -513) = 1", "*(u8 *)(r10 +0) = 1", "*(u64 *)(r10 -516) = 1"] {
        let refused = outcome(&program(&format!("{text}\n r0 = 0\n exit")));
        assert!(refused.is_err_and(|words| words.contains("the region has 512")), "{text}");
    }
}

#[test]
fn loops_in_loops() {
    let nested = |depth: u32, rounds: u64| {
        let mut text = String::new();
        for level in 0..depth {
            let _ = writeln!(
                text,
                "f{level}:\n r1 = {rounds}\n r2 = func[f{}]\n r3 = 0\n r4 = 0\n call loop\n r0 = 0\n exit",
                level + 1
            );
        }
        program(&format!("{text} f{depth}:\n r0 = 0\n exit"))
    };
    result(&nested(DEPTH_MAX - 1, 4));
    let refused = outcome(&nested(DEPTH_MAX - 1, 1 << 23)).expect_err("it would run for ever");
    assert!(refused.contains("a run may take"), "{refused}");
    assert!(outcome(&nested(DEPTH_MAX, 1)).is_err());
}

#[test]
fn everything_calls_one_function() {
    let calls = repeated(10_000, |_| String::from("call f"));
    let program = program(&format!("{calls} r0 = 0\n exit\n f:\n r0 = 1\n exit"));
    assert_eq!(outcome(&program), Ok(10_000 * 3 + 2));
    result(&program);
}

#[test]
fn the_longest_programs() {
    let nothing = RawInsn::new(0xb7, 0, 0, 0, 1);
    let exit = RawInsn::new(0x95, 0, 0, 0, 0);
    let mut longest = vec![nothing; INSNS_MAX];
    longest[INSNS_MAX - 1] = exit;
    assert_eq!(outcome(&longest), Ok(INSNS_MAX as u64));
    longest.push(exit);
    assert!(outcome(&longest).is_err_and(|words| words.contains("slots")));
    // Wide loads, each with a second slot that is no insn.
    let wide = [RawInsn::new(0x18, 0, 0, 0, -1), RawInsn::new(0, 0, 0, 0, -1)];
    let mut wides = wide.repeat(INSNS_MAX / 2 - 1);
    wides.extend([nothing, exit]);
    assert_eq!(outcome(&wides), Ok(INSNS_MAX as u64 / 2 + 1));
    // The second half is missing.
    wides.truncate(INSNS_MAX - 3);
    assert!(outcome(&wides).is_err());
}

#[test]
fn the_farthest_targets() {
    let exit = RawInsn::new(0x95, 0, 0, 0, 0);
    for imm in [i32::MIN, i32::MIN + 1, -2, -1, 2, 3, i32::MAX - 1, i32::MAX] {
        let off = imm.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        let function = [RawInsn::new(0x18, 1, 4, 0, imm), RawInsn::default()];
        for program in [
            vec![RawInsn::new(0x05, 0, 0, off, 0), exit],
            vec![RawInsn::new(0x06, 0, 0, 0, imm), exit],
            vec![RawInsn::new(0x15, 1, 0, off, 0), exit],
            vec![RawInsn::new(0x85, 0, 1, 0, imm), exit],
            vec![RawInsn::new(0x85, 0, 0, 0, imm), exit],
            vec![function[0], function[1], exit],
        ] {
            assert!(outcome(&program).is_err(), "{program:?}");
        }
    }
}

/// For each opcode that there is, insns with it that decode.
fn legal_insns() -> Vec<RawInsn> {
    let mut legal = Vec::new();
    for code in 0..=u8::MAX {
        for (src, off, imm) in [
            (0, 0, 0),
            (0, 0, 16),
            (0, 0, 1),
            (1, 0, 0),
            (1, 0, 0xe1),
            (0, 1, 0),
            (1, 1, 0),
            (1, 8, 0),
            (1, 0, 32),
        ] {
            let registers = [(0, src), (8, src), (0, 8)];
            legal.extend(registers.map(|(dst, src)| RawInsn::new(code, dst, src, off, imm)));
        }
    }
    legal.retain(|&raw| decode(&[raw, RawInsn::default()]).is_ok());
    legal
}

/// Any change to a field of a legal insn gives another insn or is refused for that field: no
/// two slots mean the same, and nothing that is reserved is ignored.
#[test]
fn every_reserved_field_set() {
    let second = RawInsn::default();
    let mut refused = std::collections::BTreeMap::new();
    for raw in legal_insns() {
        let insn = decode(&[raw, second]).expect("it is legal");
        for bit in 0..64 {
            let bytes = (u64::from_le_bytes(raw.to_bytes()) ^ 1 << bit).to_le_bytes();
            let changed = RawInsn::from_bytes(bytes);
            let program = [changed, second, RawInsn::new(0x95, 0, 0, 0, 0)];
            match decode(&program) {
                Ok(other) => assert_ne!(other, insn, "bit {bit} of {raw:?} is ignored"),
                Err(error) => {
                    *refused.entry(format!("{:?}", error.kind)).or_insert(0) += 1;
                    let mut buffer = ScratchBuffer::new(program.len());
                    let rejection = verify(&program, SPEC, &mut buffer.scratch());
                    let kind = rejection.expect_err("it is no insn").kind;
                    assert_eq!(kind, RejectionKind::Decode(error));
                }
            }
        }
        // Half of a wide load's second slot is reserved, too.
        if insn.slots().count() == 2 {
            for bit in 0..32 {
                let bytes = (1u64 << bit).to_le_bytes();
                let error = decode(&[raw, RawInsn::from_bytes(bytes)]).expect_err("it is reserved");
                assert_eq!(error.kind, DecodeErrorKind::BadWide);
            }
        }
    }
    for kind in ["BadDst", "BadSrc", "ReservedDst", "ReservedSrc", "ReservedOff", "ReservedImm"] {
        assert!(refused.contains_key(kind), "nothing is refused as {kind}: {refused:?}");
    }
}
