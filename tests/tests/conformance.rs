//! The cases of tests/conformance on every engine: interpreter, checked engine, rbpf's two and,
//! where bpf(2) may be used, Linux.

use kernel_vm::asm::assemble;
use kernel_vm::checked;
use kernel_vm::isa::{Insn, RawInsn, decode};
use kernel_vm::run::{Env, Host, Op, Stack};
use kernel_vm::verify::{ScratchBuffer, Spec, verify};
use kfilter_loader::sys::{Call, Kernel, ProgLoad, Reply, Sys, prog_type};
use std::os::fd::AsFd;

const SPEC: Spec<'static> =
    Spec { row_size: 64, state_size: 16, params_size: 8, record_size: 16, maps: &[] };

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

#[derive(Debug)]
struct Case {
    name: String,
    text: String,
    /// Engines that are left out.
    not: Vec<String>,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Result(u64),
    Refused(String),
}

/// `42 << 8 | 40`: numbers, with operators from left to right.
fn value(text: &str) -> u64 {
    let number = |word: &str| -> u64 {
        let (negative, digits) = match word.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, word),
        };
        let value = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        let value = value.unwrap_or_else(|_| panic!("a number: {word}"));
        if negative { value.wrapping_neg() } else { value }
    };
    let mut words = text.split_whitespace();
    let mut result = number(words.next().expect("a result"));
    while let (Some(op), Some(word)) = (words.next(), words.next()) {
        let operand = number(word);
        result = match op {
            "<<" => result << operand,
            ">>" => result >> operand,
            "|" => result | operand,
            "^" => result ^ operand,
            "-" => result.wrapping_sub(operand),
            _ => panic!("an operator: {op}"),
        };
    }
    result
}

fn table_case(insn: &str, row: &str) -> Case {
    let (operands, expected) = row.split_once("->").expect("a result");
    let operands: Vec<&str> = operands.split_whitespace().collect();
    let (a, b) = (operands[0], operands[1]);
    let test = if insn.starts_with("if ") {
        format!("{insn} +2\n r0 = 0\n exit\n r0 = 1\n exit")
    } else {
        format!("{insn}\n exit")
    };
    let mut not = Vec::new();
    let mut leave_out = |engine: &str, differs: bool| {
        if differs {
            not.push(String::from(engine));
        }
    };
    // rbpf leaves the upper half of a 32-bit remainder by zero as it was; the kernel and the
    // standard clear it.
    let rest_by_zero = insn == "w0 %= w1" && value(b) as u32 == 0;
    leave_out("rbpf", rest_by_zero || later_than_rbpf(insn));
    // In a build with overflow checks its interpreter panics when it negates the minimum, and it
    // takes the negative immediates of 64-bit jumps for unsigned 32-bit ones.
    leave_out("rbpf-interpreter", insn == "r0 = -r0" && value(a) == 1 << 63);
    leave_out("rbpf-interpreter", insn.starts_with("if r0") && insn.contains(" -"));
    // Its machine code moves the upper half too, and keeps it in little-endian conversions.
    leave_out("rbpf-jit", insn == "w0 = w1" || ["r0 = le16 r0", "r0 = le32 r0"].contains(&insn));
    let text = format!("r0 = {a} ll\n r1 = {b} ll\n {test}");
    let expected = Expected::Result(value(expected));
    Case { name: format!("{insn}: {row}"), text, not, expected }
}

/// The fourth version of the ISA, which rbpf does not have.
fn later_than_rbpf(insn: &str) -> bool {
    ["s/=", "s%=", "bswap", "(s8)", "(s16)", "(s32)"].iter().any(|part| insn.contains(part))
}

fn cases() -> Vec<Case> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance");
    let mut cases = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the cases are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    files.sort();
    for file in files {
        let content = std::fs::read_to_string(&file).expect("it is text");
        let mut insn = String::new();
        let mut open: Option<(String, bool, String, Vec<String>)> = None;
        for line in content.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix("insn ") {
                insn = String::from(rest);
            } else if let Some((refused, name)) = (line.strip_prefix("program "))
                .map(|name| (false, name))
                .or_else(|| line.strip_prefix("refused ").map(|name| (true, name)))
            {
                open = Some((String::from(name), refused, String::new(), Vec::new()));
            } else if let Some((name, refused, text, not)) = &mut open {
                if let Some(rest) = line.strip_prefix("-- not ") {
                    let engine = rest.split(':').next().expect("an engine");
                    not.push(String::from(engine));
                } else if let Some(result) = line.strip_prefix("->") {
                    let expected = if *refused {
                        Expected::Refused(String::from(result.trim()))
                    } else {
                        Expected::Result(value(result))
                    };
                    let text = format!("{text}exit\n");
                    let (name, not) = (name.clone(), not.clone());
                    cases.push(Case { name, text, not, expected });
                    open = None;
                } else {
                    text.push_str(line);
                    text.push('\n');
                }
            } else {
                cases.push(table_case(&insn, line));
            }
        }
    }
    cases
}

fn env<'e>(state: &'e mut [u8; 16], host: &'e mut Nobody) -> Env<'e, 'static, Nobody> {
    Env { row: &[0; 64], state, params: &[0; 8], maps: &mut [], host, fuel: 1 << 20 }
}

fn program(case: &Case) -> Vec<RawInsn> {
    assemble(&case.text).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn runnable() -> impl Iterator<Item = (Case, Vec<RawInsn>, u64)> {
    cases().into_iter().filter_map(|case| {
        let Expected::Result(expected) = case.expected else { return None };
        let program = program(&case);
        Some((case, program, expected))
    })
}

#[test]
fn the_cases_cover_every_opcode() {
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for case in cases() {
        count += 1;
        let slots = program(&case);
        let mut at = 0;
        while at < slots.len() {
            let insn = decode(&slots[at..]).expect("it was assembled");
            seen.insert(slots[at].code);
            at += insn.slots().count();
        }
    }
    let blank = [RawInsn::default(); 1];
    let all = (0..=u8::MAX).filter(|&code| {
        [0, 16, 1, 0xe1].iter().any(|&imm| {
            let slots = [RawInsn::new(code, 0, 0, 0, imm), blank[0]];
            decode(&slots).is_ok()
        })
    });
    let missing: Vec<u8> = all.filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no case has {missing:02x?}");
    assert!(count > 5_000, "{count}");
}

#[test]
fn the_interpreter() {
    let mut buffer = ScratchBuffer::new(256);
    let mut stack = Stack::new();
    for (case, program, expected) in runnable() {
        let verified = verify(&program, SPEC, &mut buffer.scratch())
            .unwrap_or_else(|rejection| panic!("{}: {rejection}", case.name));
        let found = verified.run(&mut env(&mut [0; 16], &mut Nobody), &mut stack);
        assert_eq!(found, Ok(expected), "{}", case.name);
        let mut ops = vec![Op::BLANK; program.len()];
        let threaded = verified.threaded(&mut ops);
        let found = threaded.run(&mut env(&mut [0; 16], &mut Nobody), &mut stack);
        assert_eq!(found, Ok(expected), "{}, threaded", case.name);
    }
}

#[test]
fn the_checked_engine() {
    for (case, program, expected) in runnable() {
        let found = checked::run(&program, &SPEC, &mut env(&mut [0; 16], &mut Nobody), &mut ());
        assert_eq!(found, Ok(expected), "{}", case.name);
    }
}

#[test]
fn what_is_refused_is_refused_in_words() {
    let mut buffer = ScratchBuffer::new(256);
    for case in cases() {
        let Expected::Refused(words) = &case.expected else { continue };
        let program = program(&case);
        let outcome = verify(&program, SPEC, &mut buffer.scratch());
        let message = outcome.expect_err(&case.name).to_string();
        assert!(message.contains(words), "{}: {message}", case.name);
    }
}

fn bytes(program: &[RawInsn]) -> Vec<u8> {
    program.iter().flat_map(|raw| raw.to_bytes()).collect()
}

#[test]
fn rbpfs_interpreter_agrees() {
    let agreed = agreeing("rbpf-interpreter", |bytes| {
        rbpf::EbpfVmNoData::new(Some(bytes)).and_then(|vm| vm.execute_program())
    });
    assert!(agreed > 4_000, "{agreed}");
}

#[test]
fn rbpfs_machine_code_agrees() {
    if !cfg!(target_arch = "x86_64") {
        kfilter_tests::skipped("conformance on rbpf's machine code", "this CPU is no x86-64");
        return;
    }
    let agreed = agreeing("rbpf-jit", |bytes| {
        let mut vm = rbpf::EbpfVmNoData::new(Some(bytes))?;
        vm.jit_compile()?;
        run_machine_code(&vm)
    });
    assert!(agreed > 4_000, "{agreed}");
}

#[allow(unsafe_code, reason = "machine code has no safe interface")]
fn run_machine_code(vm: &rbpf::EbpfVmNoData<'_>) -> Result<u64, std::io::Error> {
    // SAFETY: the program is one of ours: it calls no helper and accesses its own stack only, as
    // our verifier proves in `the_interpreter`.
    unsafe { vm.execute_program_jit() }
}

/// How many cases `run` gives the expected result for: all that are not left out for rbpf or for
/// this `engine` of it.
fn agreeing(engine: &str, run: impl Fn(&[u8]) -> Result<u64, std::io::Error>) -> usize {
    let left_out = |case: &Case| case.not.iter().any(|not| not == engine || not == "rbpf");
    let cases = runnable().filter(|(case, ..)| !left_out(case));
    cases.fold(0, |agreed, (case, program, expected)| {
        let found = run(&bytes(&program)).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(found, expected, "{}", case.name);
        agreed + 1
    })
}

/// The program as a function of one that returns one half of its result: the kernel hands
/// back 32 bits.
fn half(program: &[RawInsn], upper: bool) -> Vec<u8> {
    let start = if upper { "call pc+2\n r0 >>= 32\n exit" } else { "call pc+2\n r0 >>= 0\n exit" };
    let mut slots = assemble(start).expect("it is a program");
    slots.extend_from_slice(program);
    bytes(&slots)
}

fn on_linux(kernel: &Kernel, insns: &[u8]) -> Result<u32, String> {
    let mut log = vec![0; 16 << 10];
    let load = ProgLoad {
        name: "conformance",
        ty: prog_type::SYSCALL,
        attach_type: 0,
        attach_btf_id: 0,
        flags: kfilter_loader::sys::PROG_SLEEPABLE,
        insns,
        license: "Dual MIT/GPL",
        btf: None,
        log: &mut log,
    };
    let loaded = kernel.bpf(Call::ProgLoad(load)).map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
        format!("{error}\n{}", String::from_utf8_lossy(&log[..end]))
    })?;
    let Reply::Fd(program) = loaded else { return Err(String::from("no descriptor")) };
    match kernel.bpf(Call::ProgRun(program.as_fd())) {
        Ok(Reply::Number(value)) => Ok(value),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn linux_agrees() {
    let kernel = Kernel;
    let nothing = bytes(&assemble("r0 = 7\n exit").expect("it is a program"));
    if let Err(error) = on_linux(&kernel, &nothing) {
        let reason = error.lines().next().unwrap_or("");
        kfilter_tests::skipped("conformance on Linux", reason);
        return;
    }
    // A table's rows differ in numbers only: each third is enough for the kernel's JIT.
    let mut ran = 0;
    for (index, (case, program, expected)) in runnable().enumerate() {
        let table = program.len() < 12 && decode(&program[..2]).is_ok_and(is_wide);
        if case.not.iter().any(|engine| engine == "linux") || (table && index % 3 != 0) {
            continue;
        }
        for upper in [false, true] {
            let found = on_linux(&kernel, &half(&program, upper))
                .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let expected = (expected >> if upper { 32 } else { 0 }) as u32;
            assert_eq!(found, expected, "{} (upper half: {upper})", case.name);
        }
        ran += 1;
    }
    assert!(ran > 1_000, "{ran}");
}

fn is_wide(insn: Insn) -> bool {
    insn.slots().count() == 2
}
