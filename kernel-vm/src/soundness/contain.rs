//! One program: what the verifier promises against what happens.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use crate::checked::memory::Region;
use crate::checked::{self, FaultKind, Machine, Watch};
use crate::generate::{Engine, MAPS, SPEC, scatter};
use crate::helper::Helper;
use crate::isa::{Callee, Insn, RawInsn, Reg, decode};
use crate::map::Map;
use crate::run::{Env, Host, Stack};
use crate::verify::{
    Kind, Observer, STACK_BYTES, ScratchBuffer, Spec, State, Value, verify_observed,
};

const CAPACITIES: [usize; 2] = [3, 1];
/// Nothing but a row: all that rbpf can be given.
const PURE: Spec<'static> = Spec { state_size: 0, params_size: 0, ..SPEC };

/// Insns that a run on the checked engine may take: of longer ones, the beginning is looked at.
const FUEL: u64 = 1 << 20;

/// What a run leaves behind.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    r0: Result<u64, String>,
    records: Vec<Vec<u8>>,
    state: [u8; 16],
    values: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Recorder(Vec<Vec<u8>>);

impl Host for Recorder {
    fn emit(&mut self, record: &[u8]) -> bool {
        self.0.push(record.to_vec());
        self.0.len() & 3 != 3
    }
    fn boot_ns(&mut self) -> u64 {
        0x1234_5678_9abc
    }
    fn waits_for(&mut self, tid: u64) -> u64 {
        tid.wrapping_mul(3)
    }
}

/// Every state that the verifier saw.
#[derive(Default)]
pub(super) struct States(Vec<Option<State>>);

impl Observer for States {
    fn before(&mut self, pc: usize, state: &State) {
        if self.0.len() <= pc {
            self.0.resize(pc + 1, None);
        }
        self.0[pc] = Some(state.clone());
    }
}

/// Holds each concrete state against the verifier's.
struct Containment<'p> {
    program: &'p [RawInsn],
    states: &'p States,
    /// Insns run, helpers counted by their cost.
    cost: u64,
    /// Insns before which every register and slot was held against the verifier's.
    insns: u64,
    failure: Option<String>,
}

impl Watch<Recorder> for Containment<'_> {
    fn before(&mut self, pc: usize, machine: &Machine<'_, '_, '_, Recorder>) {
        self.cost += 1;
        self.insns += 1;
        if let Ok(Insn::Call(Callee::Helper(id))) = decode(&self.program[pc..])
            && let Some(helper) = Helper::from_id(id)
        {
            self.cost += helper.cost();
        }
        if self.failure.is_none() {
            self.failure = match self.states.0.get(pc) {
                Some(Some(state)) => broken(state, machine).map(|what| format!("{pc}: {what}")),
                _ => Some(format!("{pc}: reached, and the verifier thought it never is")),
            };
        }
    }
}

/// Which promise does not hold.
fn broken(state: &State, machine: &Machine<'_, '_, '_, Recorder>) -> Option<String> {
    for &reg in Reg::ALL {
        let value = state.reg(reg);
        if value.kind == Kind::Unset {
            continue;
        }
        match machine.reg(reg) {
            None => return Some(format!("{reg} is not set, but {value:?}")),
            Some(found) if !holds(value, found, machine) => {
                return Some(format!("{reg} is {found:#x}, but {value:x?}"));
            }
            Some(_) => {}
        }
    }
    let bottom = machine.frame_top() - STACK_BYTES as u64;
    for slot in 0..STACK_BYTES / 8 {
        let address = bottom + slot as u64 * 8;
        for byte in (0..8).filter(|byte| state.init_of(slot) >> byte & 1 != 0) {
            if machine.memory().read(address + byte, 1).is_err() {
                return Some(format!("byte {byte} of slot {slot} was never written"));
            }
        }
        if let Some(value) = state.spilled(slot) {
            let Ok(bytes) = machine.memory().read(address, 8) else {
                return Some(format!("slot {slot} was never written, but {value:?}"));
            };
            let found = u64::from_le_bytes(bytes.try_into().unwrap());
            if !holds(value, found, machine) {
                return Some(format!("slot {slot} is {found:#x}, but {value:x?}"));
            }
        }
    }
    None
}

fn holds(value: &Value, found: u64, machine: &Machine<'_, '_, '_, Recorder>) -> bool {
    let within = |region: Region| value.scalar.contains(found.wrapping_sub(region.base()));
    let in_values = |map: u16| {
        let map = usize::from(map);
        let size = u64::from(MAPS[map].value_size);
        let base = Region::MapValues(map).base();
        (0..CAPACITIES[map] as u64)
            .any(|place| value.scalar.contains(found.wrapping_sub(base + place * size)))
    };
    match value.kind {
        Kind::Unset => true,
        Kind::Scalar => value.scalar.contains(found),
        Kind::Row => within(Region::Row),
        Kind::State => within(Region::State),
        Kind::Params => within(Region::Params),
        Kind::Stack => value.scalar.contains(found.wrapping_sub(machine.frame_top())),
        Kind::Window { size } => {
            let Some(off) = value.scalar.exact() else { return true };
            let base = found.wrapping_sub(off);
            machine.memory().read(base, usize::from(size)).is_ok()
                && (size == 0 || base < machine.frame_top() - STACK_BYTES as u64)
        }
        Kind::Map(map) => found == Region::Map(usize::from(map)).base(),
        Kind::MapValue(map) => in_values(map),
        Kind::MapValueOrNull { map, .. } => found == 0 || in_values(map),
        Kind::Func(pc) => found == Region::Function.base() + u64::from(pc),
    }
}

/// Bytes to run on: numbers that come near those that the program knows.
fn fill(bytes: &mut [u8], constants: &[u64], seed: &mut u64) {
    for chunk in bytes.chunks_mut(8) {
        let bits = scatter(seed);
        let near = match constants.len() {
            0 => 0,
            n => constants[(bits >> 20) as usize % n],
        };
        let number = match bits & 7 {
            0 => near,
            1 => near.wrapping_add(1),
            2 => near.wrapping_sub(1),
            3 => bits >> 60,
            4 => near | bits << 32,
            5 => u64::MAX << (bits >> 58),
            _ => scatter(seed),
        };
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
}

/// One run on chosen bytes, on either engine.
fn run_on(
    seed: u64,
    constants: &[u64],
    engine: impl FnOnce(&mut Env<'_, '_, Recorder>) -> Result<u64, String>,
) -> (Trace, [u8; 32]) {
    let mut seed = seed;
    let (mut row, mut state, mut params) = ([0; 32], [0; 16], [0; 8]);
    fill(&mut row, constants, &mut seed);
    fill(&mut state, constants, &mut seed);
    fill(&mut params, constants, &mut seed);
    let mut memory: Vec<Vec<u8>> = (MAPS.iter().zip(CAPACITIES))
        .map(|(spec, n)| vec![0; Map::bytes_needed(spec, n).unwrap()])
        .collect();
    let mut maps: Vec<Map<'_>> = (memory.iter_mut().zip(MAPS).zip(CAPACITIES))
        .map(|((memory, spec), n)| Map::new(*spec, n, memory).unwrap())
        .collect();
    for key in 0..2u32 {
        if scatter(&mut seed) & 1 == 0 {
            maps[0].insert(&key.to_le_bytes());
        }
    }
    for map in &mut maps {
        fill(map.all_values_mut(), constants, &mut seed);
    }
    let mut host = Recorder::default();
    let mut env = Env {
        row: &row,
        state: &mut state,
        params: &params,
        maps: &mut maps,
        host: &mut host,
        fuel: FUEL,
    };
    let r0 = engine(&mut env);
    let values = maps.iter().map(|map| map.all_values().to_vec()).collect();
    (Trace { r0, records: host.0, state, values }, row)
}

/// What became of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    Held,
}

/// Memory that is used for program after program.
pub(super) struct Bench {
    buffer: ScratchBuffer,
    stack: Stack,
    /// Insns, over all runs, before which the machine was compared with the verifier's state.
    pub(super) insns_checked: u64,
    /// Runs of a loop so long that only their beginning was compared.
    pub(super) cut_short: u64,
    /// Runs that each of rbpf's engines was compared in.
    pub(super) rbpf_runs: [u64; Engine::ALL.len()],
    #[cfg(feature = "threaded")]
    ops: Vec<crate::run::Op>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            buffer: ScratchBuffer::new(4096),
            stack: Stack::new(),
            insns_checked: 0,
            cut_short: 0,
            rbpf_runs: [0; Engine::ALL.len()],
            #[cfg(feature = "threaded")]
            ops: vec![crate::run::Op::BLANK; 4096],
        }
    }

    /// Verifies `program` and, when it is accepted, runs it on `inputs` inputs.
    ///
    /// The error says which promise was broken, and how.
    pub(super) fn try_program(
        &mut self,
        program: &[RawInsn],
        constants: &[u64],
        inputs: u64,
        pure: bool,
    ) -> Result<Verdict, String> {
        let mut states = States::default();
        let spec = if pure { PURE } else { SPEC };
        let verified = verify_observed(program, spec, &mut self.buffer.scratch(), &mut states);
        let Ok(verified) = verified else { return Ok(Verdict::Refused) };
        for input in 0..inputs {
            let seed = input.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ program.len() as u64;
            let mut watch =
                Containment { program, states: &states, cost: 0, insns: 0, failure: None };
            let mut cut_short = false;
            let (checked, row) = run_on(seed, constants, |env| {
                checked::run(program, &spec, env, &mut watch).map_err(|fault| {
                    cut_short = fault.kind == FaultKind::OutOfFuel;
                    format!("{fault}")
                })
            });
            self.insns_checked += watch.insns;
            if let Some(failure) = watch.failure {
                return Err(failure);
            }
            if cut_short && verified.max_insns() > FUEL {
                self.cut_short += 1;
                continue;
            }
            if let Err(fault) = &checked.r0 {
                return Err(fault.clone());
            }
            if watch.cost > verified.max_insns() {
                let bound = verified.max_insns();
                return Err(format!("{} insns, but at most {bound}", watch.cost));
            }
            let (fast, _) = run_on(seed, constants, |env| {
                verified.run(env, &mut self.stack).map_err(|error| format!("{error}"))
            });
            if fast != checked {
                return Err(format!("the engines differ: {fast:x?}, {checked:x?}"));
            }
            #[cfg(feature = "threaded")]
            {
                let threaded = verified.threaded(&mut self.ops);
                let (threaded, _) = run_on(seed, constants, |env| {
                    threaded.run(env, &mut self.stack).map_err(|error| format!("{error}"))
                });
                if threaded != checked {
                    return Err(format!("threaded code: {threaded:x?}, {checked:x?}"));
                }
            }
            if pure {
                for (&engine, runs) in Engine::ALL.iter().zip(&mut self.rbpf_runs) {
                    *runs += u64::from(engine.agrees(program, row, &checked.r0)?);
                }
            }
        }
        Ok(Verdict::Held)
    }
}
