//! A plugin for the public bpf_conformance suite: programs from outside, on this machine.
//!
//! The suite's runner calls a plugin with the memory as hexadecimal bytes in the first
//! argument (it may be missing or empty) and the program, eight bytes a slot, on standard
//! input; the plugin prints r0 in hexadecimal. r1 points to the memory, r2 is its length.
//! `--program HEX` gives the program as an argument instead.
//!
//! What the verifier accepts is run by the interpreter. The suite also has backward jumps,
//! which are no part of this machine's programs: those run on the checked engine, which
//! says so on standard error.

use std::io::Read;

use kernel_vm::asm::assemble;
use kernel_vm::checked;
use kernel_vm::isa::{INSN_BYTES, RawInsn};
use kernel_vm::run::{Env, Host, Stack};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};

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

fn result(memory: &mut [u8], program: &[u8]) -> Result<u64, String> {
    let (slots, rest) = program.as_chunks::<INSN_BYTES>();
    if !rest.is_empty() {
        return Err(String::from("the program is no whole number of slots"));
    }
    // The machine hands writable memory over in r2; the suite wants it in r1.
    let start = format!("r1 = r2\n r2 = {}", memory.len());
    let mut insns = assemble(&start).map_err(|error| error.to_string())?;
    insns.extend(slots.iter().map(|slot| RawInsn::from_bytes(*slot)));
    let state_size = u32::try_from(memory.len()).map_err(|error| error.to_string())?;
    let spec = Spec { state_size, ..Spec::default() };
    let mut env = Env {
        row: &[],
        state: memory,
        params: &[],
        maps: &mut [],
        host: &mut Nobody,
        fuel: 10_000_000,
    };
    let mut buffer = ScratchBuffer::new(insns.len());
    match verify(&insns, spec, &mut buffer.scratch()) {
        Ok(verified) => {
            verified.run(&mut env, &mut Stack::new()).map_err(|error| error.to_string())
        }
        Err(rejection) => {
            eprintln!("on the checked engine, as the verifier refuses it: {rejection}");
            checked::run(&insns, &spec, &mut env, &mut ()).map_err(|fault| fault.to_string())
        }
    }
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
    result(&mut memory, &hex(&program)?)
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
