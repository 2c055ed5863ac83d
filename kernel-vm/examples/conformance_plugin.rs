//! A plugin for the public bpf_conformance suite: programs from outside, on this machine.
//!
//! The suite's runner calls a plugin with the memory as hexadecimal bytes in the first
//! argument (it may be missing or empty) and the program, eight bytes a slot, on standard
//! input; the plugin prints r0 in hexadecimal. r1 points to the memory, r2 is its length.
//! `--program HEX` gives the program as an argument instead.
//!
//! What the verifier accepts runs on the interpreter, as threaded code and on the checked
//! engine, and all must agree. The suite also has programs that no verifier of this kind
//! takes: backward jumps, dead code, constant shifts by more than the width. Those run on the
//! checked engine alone, which says so on standard error.
//!
//! The suite's runtimes have a helper 5, whatever it does; Linux's is a clock, and so is ours.

use std::io::Read;

use kernel_vm::asm::assemble;
use kernel_vm::checked;
use kernel_vm::helper::Helper;
use kernel_vm::isa::{Callee, INSN_BYTES, Insn, RawInsn, decode, encode};
use kernel_vm::run::{Env, Host, Op, Stack};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};

/// The suite's helper, which gives nothing that its programs look at.
const SUITE_HELPER: i32 = 5;

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

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).map_err(|error| format!("`{pair}`: {error}"))
        })
        .collect()
}

/// The program as this machine takes it, with its start and the suite's helper in place.
fn prepared(memory: &[u8], program: &[u8]) -> Result<Vec<RawInsn>, String> {
    let (slots, rest) = program.as_chunks::<INSN_BYTES>();
    if !rest.is_empty() {
        return Err(String::from("the program is no whole number of slots"));
    }
    // The machine hands writable memory over in r2; the suite wants it in r1.
    let start = format!("r1 = r2\n r2 = {}", memory.len());
    let mut insns = assemble(&start).map_err(|error| error.to_string())?;
    let clock = encode(Insn::Call(Callee::Helper(Helper::BootTime.id()))).0;
    insns.extend(slots.iter().map(|slot| {
        let raw = RawInsn::from_bytes(*slot);
        match decode(&[raw]) {
            Ok(Insn::Call(Callee::Helper(SUITE_HELPER))) => clock,
            _ => raw,
        }
    }));
    Ok(insns)
}

fn result(memory: &[u8], program: &[u8]) -> Result<u64, String> {
    let insns = prepared(memory, program)?;
    let state_size = u32::try_from(memory.len()).map_err(|error| error.to_string())?;
    let spec = Spec { state_size, ..Spec::default() };
    // Each engine gets the memory as it came.
    let on = |engine: &mut dyn FnMut(&mut Env<'_, '_, Nobody>) -> Result<u64, String>| {
        let mut memory = memory.to_vec();
        engine(&mut Env {
            row: &[],
            state: &mut memory,
            params: &[],
            maps: &mut [],
            host: &mut Nobody,
            fuel: 10_000_000,
        })
    };
    let checked =
        on(&mut |env| checked::run(&insns, &spec, env, &mut ()).map_err(|fault| fault.to_string()));
    let mut buffer = ScratchBuffer::new(insns.len());
    let verified = match verify(&insns, spec, &mut buffer.scratch()) {
        Ok(verified) => verified,
        Err(rejection) => {
            eprintln!("on the checked engine, as the verifier refuses it: {rejection}");
            return checked;
        }
    };
    let mut stack = Stack::new();
    let mut ops = vec![Op::BLANK; insns.len()];
    let threaded = verified.threaded(&mut ops);
    let interpreted = on(&mut |env| verified.run(env, &mut stack).map_err(|e| e.to_string()));
    let threaded = on(&mut |env| threaded.run(env, &mut stack).map_err(|e| e.to_string()));
    if interpreted != checked || threaded != checked {
        return Err(format!(
            "the engines differ: interpreter {interpreted:x?}, threaded {threaded:x?}, checked \
             {checked:x?}"
        ));
    }
    interpreted
}

fn run() -> Result<u64, String> {
    let mut memory = Vec::new();
    let mut program = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--program" {
            program = Some(arguments.next().ok_or("--program takes bytes")?);
        } else if !argument.starts_with("--") {
            memory = hex(&argument)?;
        }
    }
    let program = match program {
        Some(program) => program,
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
            text
        }
    };
    result(&memory, &hex(&program)?)
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(r0) => {
            println!("{r0:x}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
