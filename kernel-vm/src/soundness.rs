//! The suite that holds the verifier to its promises.
//!
//! Programs by chance and their mutants are verified; each accepted one is run by the
//! checked engine on many inputs, and before each insn every concrete register and stack
//! slot must lie in the verifier's abstract value. No access may fail, the bound on insns
//! must hold, and the interpreter (and rbpf, for programs that it can run) must give the
//! same results. `docs/soundness.md` tells what this found.

mod contain;
pub(crate) mod mutants;
mod operators;
mod rbpf;

use std::string::String;
use std::vec::Vec;

use crate::generate::{Generator, mutate};
use contain::{Bench, Verdict};

/// How often programs are tried, accepted and changed.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    tried: u64,
    accepted: u64,
    /// Insns run, before each of which the machine was held against the verifier's state.
    insns_checked: u64,
    /// Runs of which only the beginning was compared, for their length.
    cut_short: u64,
    /// Runs compared with rbpf's interpreter and with its machine code.
    rbpf_runs: [u64; 2],
}

/// Tries programs until `programs` were tried or a promise is broken.
fn campaign(from: u64, programs: u64, inputs: u64) -> Result<Count, String> {
    let mut bench = Bench::new();
    let mut count = Count::default();
    for seed in from..from.saturating_add(programs) {
        let mut generator = Generator::new(seed);
        let mut program = generator.program();
        let mut state = seed;
        for _ in 0..3 {
            count.tried += 1;
            let pure = generator.rbpf.is_some();
            match bench.try_program(&program, &generator.constants, inputs, pure) {
                Ok(Verdict::Refused) => {}
                Ok(Verdict::Held) => count.accepted += 1,
                Err(what) => {
                    let text = crate::asm::disassemble(&program);
                    let text: Vec<String> =
                        text.lines().map(|line| std::format!("  {line}\n")).collect();
                    return Err(std::format!("seed {seed}: {what}\n{}", text.concat()));
                }
            }
            mutate(&mut program, &mut state);
        }
    }
    count.insns_checked = bench.insns_checked;
    count.cut_short = bench.cut_short;
    count.rbpf_runs = bench.rbpf_runs;
    Ok(count)
}

/// How many programs a run of the suite tries; `KFILTER_FUZZ_SECONDS` gives it time.
#[test]
fn accepted_programs_keep_what_the_verifier_promised() {
    let seconds = std::env::var("KFILTER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let start = std::time::Instant::now();
    let mut from = 0;
    let mut total = Count::default();
    loop {
        let count = campaign(from, 5_000, 6).unwrap_or_else(|what| panic!("{what}"));
        from += 5_000;
        total.tried += count.tried;
        total.accepted += count.accepted;
        total.insns_checked += count.insns_checked;
        total.cut_short += count.cut_short;
        for (total, runs) in total.rbpf_runs.iter_mut().zip(count.rbpf_runs) {
            *total += runs;
        }
        if start.elapsed().as_secs() >= seconds.unwrap_or(0) {
            break;
        }
    }
    std::println!("{total:?} in {:?}", start.elapsed());
    let Count { tried, accepted, insns_checked, cut_short, rbpf_runs } = total;
    assert!(accepted * 8 > tried, "too few programs are accepted: {accepted} of {tried}");
    assert!(insns_checked > accepted * 6, "the accepted programs hardly run: {total:?}");
    assert!(cut_short * 1_000 < accepted, "too many runs are cut short: {total:?}");
    assert!(rbpf_runs[0] > 100, "rbpf's interpreter ran {rbpf_runs:?}");
    assert!(rbpf_runs[1] > 100 || !cfg!(target_arch = "x86_64"), "rbpf's code ran {rbpf_runs:?}");
}
