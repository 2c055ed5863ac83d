//! Our verifier and Linux's, on the same programs: what Linux refuses and ours accepts is
//! written down in docs/parity.md, reason by reason, and what both accept gives the same
//! result.

mod linux;

use kernel_vm::checked::{self, FaultKind};
use kernel_vm::generate::{Generator, MAPS, SPEC, mutate, scatter};
use kernel_vm::helper::Helper;
use kernel_vm::isa::{Callee, Insn, RawInsn, decode};
use kernel_vm::map::Map;
use kernel_vm::run::{Env, Host, Op, RunError, Stack};
use kernel_vm::verify::{Observer, ScratchBuffer, State, VerifiedProgram, verify, verify_observed};
use linux::{Linux, Memory, Refusal};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../../../docs/parity.md");
/// Programs of one run of the tests, their mutants included; more by `KFILTER_FUZZ_SECONDS`.
const PROGRAMS: u64 = 1_500;

const DEAD: &str = "ways that no value takes";
const PRECISE: &str = "a range that ours knows better";
const OUTSIDE: &str = "addresses outside of their region that nothing is read at";
const BEFORE: &str = "maps and functions that are not there, named where no value comes";

/// What Linux says, and the row of docs/parity.md that it is a case of.
const REASONS: &[(&str, &str)] = &[
    ("misaligned stack access", "unaligned accesses to the stack"),
    ("misaligned", "unaligned atomic operations"),
    ("At callback return", "loop bodies that return any number"),
    ("expected=fp", "any pointer or a number for a loop's body"),
    ("subtraction from stack pointer prohibited", "subtraction from a pointer to the stack"),
    ("combined stack size", "512 bytes of stack for each function"),
    ("frames is too deep", "eight functions deep"),
    ("No program to jit", "the address of a function taken in dead code"),
    ("unbounded min value is not allowed", PRECISE),
    ("value is outside of the allowed memory range", PRECISE),
    ("min value is negative", PRECISE),
    ("unbounded memory access", PRECISE),
    ("invalid access to map value pointer", OUTSIDE),
    ("pointer be out of bounds", OUTSIDE),
    ("pointer offset", OUTSIDE),
    ("math between", OUTSIDE),
    // At an insn that is reached, but Linux came there by a way that ours has excluded: the
    // checked engine tells whether rightly.
    ("!read_ok", DEAD),
    ("pointer arithmetic", DEAD),
    ("pointer prohibited", DEAD),
    ("invalid mem access 'scalar'", DEAD),
    ("invalid read from stack", DEAD),
    ("is not pointing to valid bpf_map", BEFORE),
    ("direct value offset of", BEFORE),
    ("no direct value access", BEFORE),
    ("kernel btf_id", BEFORE),
    ("kernel function", BEFORE),
    ("invalid func unknown", BEFORE),
];

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

fn inputs(seed: &mut u64, constants: &[u64]) -> Memory {
    let mut number = || {
        let bits = scatter(seed);
        let near = constants.get((bits >> 20) as usize % constants.len().max(1)).copied();
        match bits & 3 {
            0 => near.unwrap_or(1),
            1 => near.unwrap_or(9).wrapping_sub(1),
            2 => bits >> 60,
            _ => bits,
        }
        .to_le_bytes()
    };
    let mut memory = Memory::default();
    let places = memory.row.chunks_mut(8).chain(memory.state.chunks_mut(8));
    for place in places.chain([&mut memory.params[..]]).chain(memory.direct.chunks_mut(8)) {
        place.copy_from_slice(&number());
    }
    // As full as it can be: what a run adds would still be there for the next.
    memory.hash = [Some(number()), Some(number()), Some(number()), None];
    memory
}

/// Runs an engine on `memory`, which then holds what the run left there.
fn run<E>(
    memory: &mut Memory,
    engine: impl FnOnce(&mut Env<'_, '_, Nobody>) -> Result<u64, E>,
) -> Result<u64, E> {
    let capacities = [3, 1];
    let mut bytes: Vec<Vec<u8>> = (MAPS.iter().zip(capacities))
        .map(|(spec, n)| vec![0; Map::bytes_needed(spec, n).expect("a small map")])
        .collect();
    let mut maps: Vec<Map<'_>> = (bytes.iter_mut().zip(MAPS).zip(capacities))
        .map(|((bytes, spec), n)| Map::new(*spec, n, bytes).expect("memory of its size"))
        .collect();
    for (key, value) in (0_u32..).zip(&memory.hash) {
        if let Some(value) = value {
            maps[0].set(&key.to_ne_bytes(), value).expect("there is room");
        }
    }
    maps[1].set(&[0; 4], &memory.direct).expect("it is there");
    let result = engine(&mut Env {
        row: &memory.row,
        state: &mut memory.state,
        params: &memory.params,
        maps: &mut maps,
        host: &mut Nobody,
        fuel: 1 << 20,
    })?;
    for (key, value) in (0_u32..).zip(&mut memory.hash) {
        *value = maps[0].get(&key.to_ne_bytes()).map(|found| found.try_into().expect("8 bytes"));
    }
    memory.direct = maps[1].get(&[0; 4]).expect("it is there").try_into().expect("16 bytes");
    Ok(result)
}

/// Whether its result depends on nothing but its input, and on both sides: clocks and threads
/// differ, Linux has no such arithmetic, and what is behind the address of a removed value is not
/// said.
fn is_function(program: &[RawInsn]) -> bool {
    let mut rest = program;
    while let Ok(insn) = decode(rest) {
        if let Insn::Call(Callee::Helper(id)) = insn {
            // In code that no value reaches, any.
            if let Some(
                Helper::BootTime
                | Helper::WaitsFor
                | Helper::MulDiv
                | Helper::Average
                | Helper::Spread
                | Helper::Root
                | Helper::MapDelete,
            ) = Helper::from_id(id)
            {
                return false;
            }
        }
        rest = &rest[insn.slots().count()..];
    }
    true
}

#[derive(Debug, Default)]
struct Count {
    tried: u64,
    both: u64,
    linux_only: u64,
    /// By the row that says why.
    ours_only: BTreeMap<&'static str, u64>,
    /// Runs of what both accept, with equal results.
    runs: u64,
}

/// The line that says what is wrong: the one before the statistics.
fn verdict(log: &str) -> &str {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let lines = log.lines().filter(|line| !line.is_empty());
    let mut lines =
        lines.filter(|line| !STATISTICS.iter().any(|statistics| line.starts_with(statistics)));
    lines.next_back().unwrap_or("")
}

/// Whether our verifier has proven that nothing reaches the insn.
fn is_dead(program: &[RawInsn], pc: usize) -> bool {
    struct Reached(usize, bool);
    impl Observer for Reached {
        fn before(&mut self, pc: usize, _: &State) {
            self.1 |= self.0 == pc;
        }
    }
    let mut reached = Reached(pc, false);
    let mut buffer = ScratchBuffer::new(program.len());
    let verified = verify_observed(program, SPEC, &mut buffer.scratch(), &mut reached);
    verified.is_ok() && !reached.1
}

/// What ours alone accepts, on the engine that checks everything.
fn holds(program: &VerifiedProgram<'_>, constants: &[u64], seed: &mut u64) {
    for _ in 0..10 {
        let mut memory = inputs(seed, constants);
        let checked = run(&mut memory, |env| checked::run(program.program(), &SPEC, env, &mut ()));
        if let Err(fault) = checked
            && fault.kind != FaultKind::OutOfFuel
        {
            panic!("{fault:?}\n{}", kernel_vm::asm::disassemble(program.program()));
        }
    }
}

fn compare(
    linux: &Linux,
    count: &mut Count,
    program: &[RawInsn],
    constants: &[u64],
    seed: &mut u64,
) {
    let mut buffer = ScratchBuffer::new(program.len());
    let verified = verify(program, SPEC, &mut buffer.scratch());
    let text = || kernel_vm::asm::disassemble(program);
    count.tried += 1;
    // What does not decode cannot be said in Linux's terms.
    let mut rest = program;
    while !rest.is_empty() {
        let Ok(insn) = decode(rest) else { return };
        rest = &rest[insn.slots().count()..];
    }
    let loaded = match (linux.load(program), &verified) {
        (Err(Refusal::Other(error)), _) => panic!("{error}\n{}", text()),
        (Err(Refusal::Verifier { .. }), Err(_)) => return,
        (Ok(_), Err(_)) => {
            count.linux_only += 1;
            return;
        }
        (Err(Refusal::Verifier { log, at }), Ok(verified)) => {
            let why = verdict(&log);
            let row = if at.is_some_and(|at| is_dead(program, at)) {
                DEAD
            } else {
                let reason = REASONS.iter().find(|(words, _)| why.contains(words));
                let Some((_, row)) = reason else {
                    panic!(
                        "Linux alone refuses it, and why is not known: {why}\n{log}\n{}",
                        text()
                    );
                };
                row
            };
            *count.ours_only.entry(row).or_default() += 1;
            holds(verified, constants, seed);
            return;
        }
        (Ok(loaded), Ok(_)) => loaded,
    };
    count.both += 1;
    let Ok(verified) = verified else { return };
    if !is_function(program) {
        return;
    }
    let mut ops = vec![Op::BLANK; program.len()];
    let threaded = verified.threaded(&mut ops);
    let mut stack = Stack::new();
    for _ in 0..3 {
        let memory = inputs(seed, constants);
        let (mut here, mut there) = (memory.clone(), memory);
        let result = match run(&mut here, |env| threaded.run(env, &mut stack)) {
            Err(RunError::OutOfFuel) => continue,
            result => result.expect("it was verified"),
        };
        let expected = linux.run(&loaded, &mut there).expect("it runs");
        assert_eq!((result, &here), (expected, &there), "{}", text());
        count.runs += 1;
    }
}

#[test]
fn what_linux_refuses_and_ours_accepts_is_written_down() {
    let mut linux = match Linux::new() {
        Ok(linux) => linux,
        Err(error) => {
            kfilter_tests::skipped("parity with Linux's verifier", &error.to_string());
            return;
        }
    };
    let seconds = std::env::var("KFILTER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let budget = Duration::from_secs(seconds.unwrap_or(0));
    let start = Instant::now();
    let mut count = Count::default();
    for seed in 0.. {
        if count.tried >= PROGRAMS && start.elapsed() >= budget {
            break;
        }
        if seed % 1_000 == 999 {
            // An empty ring for the records.
            linux = Linux::new().expect("as before");
        }
        let mut generator = Generator::new(seed);
        let mut program = generator.program();
        let mut state = seed;
        for _ in 0..3 {
            compare(&linux, &mut count, &program, &generator.constants, &mut state);
            mutate(&mut program, &mut state);
        }
    }
    println!("{count:#?}");
    let covered = count.ours_only.len();
    assert!(covered >= 6, "too few of the known differences are met: {count:?}");
    assert!(count.both > count.tried / 20, "too few programs are compared: {count:?}");
    assert!(count.runs > count.both / 2, "too few programs run: {count:?}");
}

#[test]
fn every_reason_stands_in_the_documentation() {
    for row in REASONS.iter().map(|(_, row)| row).chain([&DEAD]) {
        assert!(PAGE.contains(row), "docs/parity.md has no `{row}`");
    }
}
