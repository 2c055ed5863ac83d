//! Programs from text, verified and run.

use super::*;
use crate::asm::assemble;
use crate::verify::{MapSpec, ScratchBuffer, verify};
use std::vec;
use std::vec::Vec;

#[derive(Default)]
struct Records(Vec<Vec<u8>>);

impl Host for Records {
    fn emit(&mut self, record: &[u8]) -> bool {
        self.0.push(record.to_vec());
        self.0.len() < 3
    }
    fn boot_ns(&mut self) -> u64 {
        1_000
    }
    fn waits_for(&mut self, tid: u64) -> u64 {
        tid + 1
    }
}

const MAPS: &[MapSpec] = &[
    MapSpec { key_size: 4, value_size: 8, direct: false },
    MapSpec { key_size: 4, value_size: 16, direct: true },
];
const SPEC: Spec<'static> =
    Spec { row_size: 32, state_size: 16, params_size: 8, record_size: 16, maps: MAPS };

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    r0: Result<u64, RunError>,
    records: Vec<Vec<u8>>,
    state: [u8; 16],
}

fn run(text: &str) -> Outcome {
    run_with(text, u64::MAX, 32)
}

fn run_with(text: &str, fuel: u64, row_bytes: usize) -> Outcome {
    let program = assemble(text).unwrap();
    let mut buffer = ScratchBuffer::new(program.len());
    let verified = verify(&program, SPEC, &mut buffer.scratch())
        .unwrap_or_else(|rejection| panic!("{rejection}"));
    let outcome = run_verified(&verified, fuel, row_bytes);
    #[cfg(feature = "threaded")]
    {
        let mut ops = vec![Op::BLANK; program.len()];
        assert_eq!(run_verified(&verified.threaded(&mut ops), fuel, row_bytes), outcome);
    }
    outcome
}

fn run_verified(verified: &VerifiedProgram<'_>, fuel: u64, row_bytes: usize) -> Outcome {
    let mut memory: Vec<Vec<u8>> =
        MAPS.iter().zip([3, 1]).map(|(m, n)| vec![0; Map::bytes_needed(m, n).unwrap()]).collect();
    let mut maps: Vec<Map<'_>> = (memory.iter_mut().zip(MAPS).zip([3, 1]))
        .map(|((memory, spec), n)| Map::new(*spec, n, memory).unwrap())
        .collect();
    let mut host = Records::default();
    let row: Vec<u8> = (0..row_bytes as u8).collect();
    let mut state = [0; 16];
    let mut env = Env {
        row: &row,
        state: &mut state,
        params: &[7; 8],
        maps: &mut maps,
        host: &mut host,
        fuel,
    };
    let r0 = verified.run(&mut env, &mut Stack::new());
    Outcome { r0, records: host.0, state }
}

#[test]
fn regions_are_where_the_abi_says() {
    assert_eq!(run("r0 = *(u32 *)(r1 +28)\n exit").r0, Ok(0x1f1e_1d1c));
    assert_eq!(run("r0 = *(s8 *)(r3 +7)\n r0 <<= 8\n exit").r0, Ok(0x700));
    let outcome = run("*(u16 *)(r2 +2) = -2\n r0 = *(s16 *)(r2 +2)\n exit");
    assert_eq!(outcome.r0, Ok(u64::MAX - 1));
    assert_eq!(outcome.state[..5], [0, 0, 0xfe, 0xff, 0]);
}

#[test]
fn records_reach_the_host_until_it_is_full() {
    let emit = "r1 = r10\n r1 += -16\n r2 = 16\n call emit\n r6 += r0\n";
    let text = std::format!(
        "r6 = 0\n *(u64 *)(r10 -16) = 1\n *(u64 *)(r10 -8) = 2\n {emit}{emit}{emit} r0 = r6\n exit"
    );
    let outcome = run(&text);
    assert_eq!(outcome.r0, Ok((-28i64).cast_unsigned()));
    assert_eq!(outcome.records.len(), 3);
    assert_eq!(outcome.records[0], [1u64.to_le_bytes(), 2u64.to_le_bytes()].concat());
}

#[test]
fn functions_have_their_own_stack_and_keep_the_callers_registers() {
    let outcome = run("r6 = 5
        *(u64 *)(r10 -8) = 3
        r1 = r10
        r1 += -8
        call twice
        r1 = *(u64 *)(r10 -8)
        r0 += r1
        r0 += r6
        exit
    twice:
        r6 = *(u64 *)(r1 +0)
        *(u64 *)(r10 -8) = 77
        r6 <<= 1
        *(u64 *)(r1 +0) = r6
        r0 = 100
        exit");
    assert_eq!(outcome.r0, Ok(111));
}

const SUM: &str = "*(u64 *)(r10 -8) = 0
        r1 = 10
        r2 = func[body]
        r3 = r10
        r3 += -8
        r4 = 0
        call loop
        r1 = *(u64 *)(r10 -8)
        r0 <<= 32
        r0 |= r1
        exit
    body:
        r3 = *(u64 *)(r2 +0)
        r3 += r1
        *(u64 *)(r2 +0) = r3
        r0 = 0
        if r1 != 6 goto done
        r0 = 1
    done:
        exit";

#[test]
fn a_loop_counts_until_its_body_says_stop() {
    assert_eq!(run(SUM).r0, Ok(7 << 32 | 21));
    assert_eq!(run(&SUM.replace("!= 6", "!= 60")).r0, Ok(10 << 32 | 45));
    assert_eq!(run(&SUM.replace("r1 = 10", "r1 = 0")).r0, Ok(0));
}

#[test]
fn fuel_is_a_second_line() {
    assert_eq!(run_with(SUM, 7, 32).r0, Ok(7 << 32 | 21));
    assert_eq!(run_with(SUM, 6, 32).r0, Err(RunError::OutOfFuel));
}

#[test]
fn a_short_region_is_refused_before_anything_runs() {
    assert_eq!(run_with("r0 = 0\n exit", 1, 31).r0, Err(RunError::ShortRegion));
}

#[test]
fn maps_find_what_was_put_in() {
    let outcome = run("*(u32 *)(r10 -4) = 9
        *(u64 *)(r10 -16) = 1234
        r1 = map[idx:0]
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 0
        call map_update_elem
        r1 = map[idx:0]
        r2 = r10
        r2 += -4
        call map_lookup_elem
        if r0 == 0 goto none
        r6 = *(u64 *)(r0 +0)
        r1 = map[idx:1][0]+8
        *(u64 *)(r1 +0) = r6
        r1 = map[idx:0]
        r2 = r10
        r2 += -4
        call map_delete_elem
        r1 = map[idx:0]
        r2 = r10
        r2 += -4
        call map_lookup_elem
        if r0 != 0 goto none
        r1 = map[idx:1][0]+0
        r0 = *(u64 *)(r1 +8)
        exit
    none:
        r0 = -1
        exit");
    assert_eq!(outcome.r0, Ok(1234));
}

#[test]
fn atomics_return_what_was_there() {
    let outcome = run("*(u64 *)(r2 +0) = 5
        r1 = 3
        r1 = atomic64_fetch_add((u64 *)(r2 +0), r1)
        r0 = 8
        r4 = 9
        r0 = atomic64_cmpxchg((u64 *)(r2 +0), r0, r4)
        r5 = 1
        lock *(u32 *)(r2 +0) |= w5
        r0 += r1
        exit");
    assert_eq!(outcome.r0, Ok(13));
    assert_eq!(outcome.state[0], 9);
}

#[test]
fn time_and_waiting_come_from_the_host() {
    let outcome = run("call ktime_get_boot_ns\n r1 = r0\n call waits_for\n exit");
    assert_eq!(outcome.r0, Ok(1_001));
}

#[test]
fn products_are_divided_exactly() {
    let scaled = |a: &str, b: &str, c: &str| {
        run(&std::format!("r1 = {a} ll\n r2 = {b} ll\n r3 = {c} ll\n call mul_div\n exit")).r0
    };
    assert_eq!(scaled("-0x7000000000000000", "3", "7"), Ok((-0x3000_0000_0000_0000_i64) as u64));
    assert_eq!(scaled("0x7000000000000000", "3", "1"), Ok(i64::MAX as u64));
    assert_eq!(scaled("7", "3", "0"), Ok(0));
}

#[test]
fn a_variance_is_spread_where_it_is_kept() {
    // A difference of 3, of which half is kept, twice: 3 * 1 / 2, then (1 + 3) / 2.
    let once = "r1 = r6\n r2 = 3\n r3 = 1\n r3 <<= 31\n call spread\n";
    let root = "r1 = *(u64 *)(r6 +0)\n r2 = *(u64 *)(r6 +8)\n r1 <<= 40\n call root\n exit";
    let start = "r6 = r2\n *(u64 *)(r6 +0) = 0\n *(u64 *)(r6 +8) = 0\n";
    let outcome = run(&std::format!("{start} {once} {once} {root}"));
    assert_eq!(outcome.state, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(outcome.r0, Ok((2_u64 << 40).isqrt()));
}

#[test]
fn an_average_goes_half_the_way_in_a_half_life() {
    // From 4 at the time 7 towards 10 at `now`.
    let average = |now: u64, half_life: u64| {
        run(&std::format!(
            "r1 = r2\n *(u64 *)(r1 +0) = 7\n *(u64 *)(r1 +8) = 4
            r2 = 10\n r3 = {now}\n r4 = {half_life}\n call average\n exit"
        ))
    };
    for (now, half_life, kept, mean) in [(12, 5, 1 << 31, 7), (7, 5, 1 << 32, 4), (12, 0, 0, 10)] {
        let outcome = average(now, half_life);
        assert_eq!(outcome.r0, Ok(kept));
        assert_eq!([outcome.state[0], outcome.state[8]], [now as u8, mean]);
    }
}

/// Every fused pair, with its registers the same and not, against the loop.
#[cfg(feature = "threaded")]
#[test]
fn pairs_do_what_their_insns_do() {
    use crate::isa::RawInsn;
    let number = |dst: &str, value: &str| assemble(&std::format!("{dst} = {value} ll")).unwrap();
    let start = [number("r3", "0x8123456789abcdef"), number("r4", "0xfedcba9812345678")].concat();
    let end = assemble("r0 = r3\n r0 *= 31\n r0 += r4\n exit").unwrap();
    let mut buffer = ScratchBuffer::new(16);
    let (mut ran, mut fused) = (0, 0);
    for &first in &thread::KINDS[..thread::FIRST] {
        for &second in &thread::KINDS {
            for registers in 0..81u8 {
                let [a, b, c, d] = [1, 3, 9, 27].map(|place| 2 + registers / place % 3);
                let slot = |code: u8, dst, src| {
                    let by_reg = code & 0x08 != 0 || code & 7 < 4;
                    let (src, imm) = if by_reg { (src, 0) } else { (0, 13) };
                    let off = if code & 7 < 4 { 3 } else { 0 };
                    let off = if code & 7 == 5 && code < 0x90 { 1 } else { off };
                    RawInsn::new(code, dst, src, off, imm)
                };
                let pair = [slot(first, a, b), slot(second, c, d)];
                let program = [&start[..], &pair[..], &end[..]].concat();
                let verified = verify(&program, SPEC, &mut buffer.scratch());
                let Ok(verified) = verified else { continue };
                let plain = run_verified(&verified, 1, 32);
                let mut ops = [Op::BLANK; 16];
                assert_eq!(run_verified(&verified.threaded(&mut ops), 1, 32), plain, "{pair:x?}");
                ran += 1;
                fused += u32::from(thread::fused(pair[0], pair[1]).is_some());
            }
        }
    }
    assert!(ran > 10_000 && fused == ran, "{fused} of {ran}");
}

#[cfg(feature = "threaded")]
#[test]
fn the_longest_threaded_program_needs_little_stack() {
    let body = "r0 += 1\n r0 s/= 3\n".repeat(SLOTS_MAX / 2 - 1);
    assert_eq!(run(&std::format!("r0 = 7\n {body} exit")).r0, Ok(0));
    // One slot more is run by the loop.
    let text = std::format!("r0 = 7\n r0 = 7\n {body} exit");
    assert_eq!(run(&text).r0, Ok(0));
}
