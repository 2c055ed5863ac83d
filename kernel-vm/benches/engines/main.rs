//! The interpreter against rbpf's, and uBPF's where there is one, on an ALU loop, a memory loop
//! and a short filter; and the verifier on programs of growing length.
//!
//! Loops exist here only as calls of the loop helper, so the others get the same body with a
//! backward jump. One run measures all, so that the machine's moods touch all alike. "loop"
//! is the interpreter without the ops of threaded code, as a kernel without indirect jumps
//! builds it. `KFILTER_UBPF=/path/to/libubpf.so` lets uBPF take part.

mod ubpf;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use kernel_vm::asm::assemble;
use kernel_vm::checked;
use kernel_vm::isa::RawInsn;
use kernel_vm::run::{Env, Host, Op, Stack};
use kernel_vm::verify::{Scratch, ScratchBuffer, Spec, VerifiedProgram, verify};

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

const SPEC: Spec<'static> =
    Spec { row_size: 64, state_size: 16, params_size: 8, record_size: 16, maps: &[] };
const ROUNDS: u32 = 1_000;

const ALU_BODY: &str = "r3 *= 31
    r3 += 7
    r4 ^= r3
    r4 >>= 1
    r5 = r4
    r5 &= 255
    r3 += r5
    w5 += 3
    r4 |= r5
    r3 -= r4
    r5 <<= 3
    r3 ^= r5
    r4 += 1
    r3 += r4
    r5 s>>= 2
    r4 -= r5\n";

const MEMORY_BODY: &str = "r3 = *(u64 *)(r2 +0)
    r3 += 1
    *(u64 *)(r2 +0) = r3
    r4 = *(u32 *)(r2 +8)
    r4 += r3
    *(u32 *)(r2 +8) = r4
    r5 = *(u16 *)(r2 +2)
    *(u8 *)(r2 +12) = r5
    r4 = *(u8 *)(r2 +12)
    *(u16 *)(r2 +14) = r4\n";

/// Thirty insns: compare columns with parameters, as filters do.
fn short_filter() -> String {
    let mut text = String::from("r0 = 0\n r6 = 0\n");
    for column in 0..6 {
        let off = column * 8;
        text += &format!("r4 = *(u64 *)(r1 +{off})\n r4 += {column}\n r6 += r4\n");
        text += &format!("if r4 > {} goto out\n", 1_000 + column);
    }
    text += "r6 *= 3\n if r6 > 100000 goto out\n r0 = 1\n out:\n exit\n";
    text
}

fn looped(start: &str, body: &str) -> (String, String) {
    let ours = format!(
        "*(u64 *)(r10 -16) = 0\n *(u64 *)(r10 -8) = 0
         r1 = {ROUNDS}\n r2 = func[body]\n r3 = r10\n r3 += -16\n r4 = 0\n call loop
         r0 = *(u64 *)(r10 -16)\n exit
         body:\n {start} {body} r0 = 0\n exit"
    );
    let theirs = format!(
        "*(u64 *)(r10 -16) = 0\n *(u64 *)(r10 -8) = 0
         r1 = {ROUNDS}\n r2 = r10\n r2 += -16\n
         again:\n {start} {body} r1 += -1\n if r1 != 0 goto again
         r0 = *(u64 *)(r10 -16)\n exit"
    );
    (ours, theirs)
}

fn verified<'p>(program: &'p [RawInsn]) -> VerifiedProgram<'p> {
    let mut buffer = ScratchBuffer::new(program.len());
    verify(program, SPEC, &mut buffer.scratch()).expect("the bench's program is safe")
}

fn bytes(program: &[RawInsn]) -> Vec<u8> {
    program.iter().flat_map(|raw| raw.to_bytes()).collect()
}

fn compare(c: &mut Criterion, name: &str, insns: u64, ours: &str, theirs: &str) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(insns));
    let ours = assemble(ours).expect("it is a program");
    let program = verified(&ours);
    let theirs = bytes(&assemble(theirs).expect("it is a program"));
    let rbpf = rbpf::EbpfVmRaw::new(Some(&theirs)).expect("rbpf takes it");
    let row: Vec<u8> = (0..8u64).flat_map(|column| (column * 3).to_le_bytes()).collect();
    let mut state = [0; 16];
    let mut stack = Stack::new();
    let mut host = Nobody;
    let mut rbpf_row = row.clone();
    let expected = rbpf.execute_program(&mut rbpf_row).expect("it runs");
    let mut env = Env {
        row: &row,
        state: &mut state,
        params: &[0; 8],
        maps: &mut [],
        host: &mut host,
        fuel: u64::MAX,
    };
    let mut ops = vec![Op::BLANK; ours.len()];
    let threaded = program.threaded(&mut ops);
    assert_eq!(threaded.run(&mut env, &mut stack), Ok(expected), "the engines agree");
    group.bench_function("kernel-vm", |b| {
        b.iter(|| threaded.run(black_box(&mut env), &mut stack));
    });
    group.bench_function("rbpf", |b| {
        b.iter(|| rbpf.execute_program(black_box(&mut rbpf_row)).expect("it runs"));
    });
    group.bench_function("kernel-vm loop", |b| {
        b.iter(|| program.run(black_box(&mut env), &mut stack));
    });
    if let Some(library) = ubpf::Library::open() {
        let mut row = row.clone();
        for (name, checks) in [("ubpf", true), ("ubpf unchecked", false)] {
            let machine = library.machine(&theirs, checks);
            assert_eq!(machine.interpret(&mut row), expected, "uBPF agrees");
            group.bench_function(name, |b| b.iter(|| machine.interpret(black_box(&mut row))));
        }
        let machine = library.machine(&theirs, true);
        assert_eq!(machine.run_compiled(&mut row), expected, "uBPF's machine code agrees");
        group.bench_function("ubpf jit", |b| b.iter(|| machine.run_compiled(black_box(&mut row))));
    }
    group.bench_function("kernel-vm checked", |b| {
        b.iter(|| checked::run(&ours, &SPEC, black_box(&mut env), &mut ()));
    });
    group.finish();
}

fn engines(c: &mut Criterion) {
    let rounds = u64::from(ROUNDS);
    let start = "r3 = 1\n r4 = 2\n r5 = 3\n";
    let (ours, theirs) = looped(start, ALU_BODY);
    compare(c, "alu loop", rounds * (3 + 16 + 2), &ours, &theirs);
    let (ours, theirs) = looped("", MEMORY_BODY);
    compare(c, "memory loop", rounds * (10 + 2), &ours, &theirs);
    let filter = short_filter();
    compare(c, "short filter", 30, &filter, &filter);
}

/// A long program as compilers make them: arithmetic, loads, spills and branches.
fn long_program(slots: usize) -> Vec<RawInsn> {
    let block = "r4 = *(u64 *)(r1 +8)
        r4 += 3
        r5 = r4
        r5 &= 1023
        *(u64 *)(r10 -8) = r5
        if r5 > 100 goto out
        r0 += r5
        r4 >>= 3
        r5 *= 5
        r0 ^= r4\n";
    let mut text = String::from("r0 = 0\n");
    for index in 0..slots / 10 {
        text += &block.replace("out", &format!("next{index}"));
        text += &format!("next{index}:\n");
    }
    text += "exit\n";
    assemble(&text).expect("it is a program")
}

fn verifier(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    let filter = assemble(&short_filter()).expect("it is a program");
    let mut programs = vec![filter];
    programs.extend([1_000, 30_000, 1_000_000].map(long_program));
    for program in &programs {
        let slots = program.len();
        group.throughput(Throughput::Elements(slots as u64));
        let mut buffer = ScratchBuffer::new(slots);
        group.bench_function(format!("{slots} insns"), |b| {
            b.iter(|| {
                let mut scratch: Scratch<'_> = buffer.scratch();
                verify(black_box(program), SPEC, &mut scratch).map(|verified| verified.max_insns())
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    engines(&mut criterion);
    verifier(&mut criterion);
    criterion.final_summary();
}
