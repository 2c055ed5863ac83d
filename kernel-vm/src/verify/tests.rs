//! What is accepted, what is refused, and in which words.

mod rejections;

use super::*;
use crate::helper::Helper;
use crate::isa::*;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use Operand::{Imm, Reg as R};
use Reg::*;
use Width::{W32, W64};

const SPEC: Spec<'static> = Spec {
    row_size: 64,
    state_size: 16,
    params_size: 24,
    record_size: 16,
    maps: &[
        MapSpec { key_size: 8, value_size: 16, direct: false },
        MapSpec { key_size: 4, value_size: 32, direct: true },
    ],
};

fn slots(insns: &[Insn]) -> Vec<RawInsn> {
    let mut slots = Vec::new();
    for insn in insns {
        let (first, second) = encode(*insn);
        slots.push(first);
        slots.extend(second);
    }
    slots
}

/// The bound on insns, or the rejection in words.
fn outcome(insns: &[Insn]) -> Result<u64, String> {
    let program = slots(insns);
    let mut notes = vec![Note::default(); Scratch::notes_needed(program.len())];
    let mut states = vec![State::default(); Scratch::states_needed(program.len())];
    let mut scratch = Scratch { notes: &mut notes, states: &mut states };
    match verify(&program, SPEC, &mut scratch) {
        Ok(verified) => Ok(verified.max_insns()),
        Err(rejection) => Err(rejection.to_string()),
    }
}

fn mov(dst: Reg, src: Operand) -> Insn {
    Insn::Mov { width: W64, dst, src }
}
fn add(dst: Reg, src: Operand) -> Insn {
    Insn::Alu { width: W64, op: AluOp::Add, dst, src }
}
fn load(dst: Reg, src: Reg, off: i16) -> Insn {
    Insn::Load { size: Size::Dw, signed: false, dst, src, off }
}
fn store(dst: Reg, off: i16, src: Operand) -> Insn {
    Insn::Store { size: Size::Dw, dst, off, src }
}
fn branch(cond: Cond, dst: Reg, src: Operand, off: i16) -> Insn {
    Insn::JumpIf { width: W64, cond, dst, src, off }
}
fn helper(helper: Helper) -> Insn {
    Insn::Call(Callee::Helper(helper.id()))
}
const EXIT: Insn = Insn::Exit;

#[track_caller]
fn accepted(insns: &[Insn]) -> u64 {
    outcome(insns).expect("it is safe")
}

#[track_caller]
fn refused(insns: &[Insn], words: &str) {
    let message = outcome(insns).expect_err("it is not safe");
    assert!(message.contains(words), "{message}");
}

#[test]
fn memory_is_what_the_documentation_says() {
    assert_eq!((size_of::<Note>(), size_of::<State>()), (24, 2_264));
}

#[test]
fn rows_and_params_are_read_within_their_bounds() {
    accepted(&[load(R0, R1, 56), EXIT]);
    accepted(&[load(R0, R3, 16), EXIT]);
    refused(&[load(R0, R1, 57), EXIT], "8 bytes at r1 +57, where r1 is row+0; the region has 64");
    refused(&[load(R0, R1, -1), EXIT], "-1");
    refused(&[store(R1, 0, Imm(0)), mov(R0, Imm(0)), EXIT], "read only");
    refused(&[store(R3, 0, Imm(0)), mov(R0, Imm(0)), EXIT], "read only");
}

#[test]
fn an_offset_must_be_compared_with_its_bound() {
    let access = [
        load(R4, R1, 0),
        branch(Cond::Gt, R4, Imm(48), 2),
        add(R1, R(R4)),
        load(R4, R1, 8),
        mov(R0, Imm(0)),
        EXIT,
    ];
    accepted(&access);
    let mut wrong = access;
    wrong[1] = branch(Cond::Gt, R4, Imm(49), 2);
    refused(&wrong, "compare the offset with its bound first");
    wrong[1] = branch(Cond::Sgt, R4, Imm(48), 2);
    refused(&wrong, "smin=-9223372036854775808");
}

#[test]
fn the_stack_is_read_where_it_was_written() {
    accepted(&[store(R10, -8, Imm(1)), load(R0, R10, -8), EXIT]);
    refused(&[load(R0, R10, -8), EXIT], "fp-8 was not written");
    refused(&[store(R10, -520, Imm(1)), mov(R0, Imm(0)), EXIT], "512");
    refused(&[store(R10, 0, Imm(1)), mov(R0, Imm(0)), EXIT], "512");
    let half = Insn::Store { size: Size::W, dst: R10, off: -8, src: Imm(0) };
    refused(&[half, load(R0, R10, -8), EXIT], "fp-8 was not written");
}

#[test]
fn one_way_that_did_not_write_is_enough_to_refuse() {
    refused(
        &[
            load(R4, R1, 0),
            branch(Cond::Eq, R4, Imm(0), 1),
            store(R10, -8, Imm(1)),
            load(R0, R10, -8),
            EXIT,
        ],
        "on every way",
    );
    refused(
        &[load(R4, R1, 0), branch(Cond::Eq, R4, Imm(0), 1), mov(R0, Imm(1)), EXIT],
        "r0 holds nothing",
    );
}

#[test]
fn pointers_do_not_become_numbers() {
    refused(&[mov(R0, R(R1)), EXIT], "a number is needed");
    refused(&[store(R2, 0, R(R1)), mov(R0, Imm(0)), EXIT], "pointers stay on the stack");
    refused(
        &[Insn::Alu { width: W32, op: AluOp::Add, dst: R1, src: Imm(1) }, mov(R0, Imm(0)), EXIT],
        "pointers only move by 64-bit",
    );
    refused(&[Insn::Mov { width: W32, dst: R0, src: R(R1) }, EXIT], "a number is needed");
    refused(
        &[branch(Cond::Gt, R1, R(R2), 0), mov(R0, Imm(0)), EXIT],
        "of pointers only a lookup's result is compared",
    );
    let spilled = store(R10, -8, R(R1));
    let part = Insn::Load { size: Size::W, signed: false, dst: R0, src: R10, off: -8 };
    refused(&[spilled, part, EXIT], "part of a pointer");
    accepted(&[spilled, load(R4, R10, -8), load(R0, R4, 0), EXIT]);
    // Half overwritten, it is neither a pointer nor initialised.
    let over = Insn::Store { size: Size::W, dst: R10, off: -8, src: Imm(0) };
    refused(&[spilled, over, load(R0, R10, -8), EXIT], "part of a pointer");
}

#[test]
fn a_record_is_emitted_whole_and_initialised() {
    let emit = |size: i32| {
        [
            store(R10, -16, Imm(1)),
            store(R10, -8, Imm(2)),
            mov(R1, R(R10)),
            add(R1, Imm(-16)),
            mov(R2, Imm(size)),
            helper(Helper::Emit),
            mov(R0, Imm(1)),
            EXIT,
        ]
    };
    accepted(&emit(16));
    refused(&emit(15), "r2 is 15; it must be 16, the size of a record");
    let mut gap = emit(16);
    gap[0] = store(R10, -24, Imm(1));
    refused(&gap, "fp-16 was not written");
    let mut leak = emit(16);
    leak[1] = store(R10, -8, R(R1));
    refused(&leak, "part of a pointer");
}

#[test]
fn words_are_written_where_all_of_them_may_be() {
    let change = |id: Helper, address: &[Insn]| {
        let numbers = [R2, R3, R4].map(|reg| mov(reg, Imm(1)));
        outcome(&[address, &numbers[..], &[helper(id), EXIT]].concat())
    };
    let spread = |address: &[Insn]| change(Helper::Spread, address);
    let on_stack = |low: Operand| [store(R10, -16, low), store(R10, -8, Imm(0)), mov(R1, R(R10))];
    assert!(spread(&[mov(R1, R(R2))]).is_ok());
    let is_refused = |address: &[Insn], words: &str| {
        let message = spread(address).expect_err("it is not safe");
        assert!(message.contains(words), "{message}");
    };
    is_refused(&[mov(R1, R(R2)), add(R1, Imm(8))], "16 bytes");
    is_refused(&[], "read only");
    is_refused(&[mov(R1, Imm(8))], "r1 is 8");
    assert!(spread(&[&on_stack(Imm(1))[..], &[add(R1, Imm(-16))]].concat()).is_ok());
    is_refused(&[&on_stack(Imm(1))[..], &[add(R1, Imm(-24))]].concat(), "fp-24 was not written");
    is_refused(&[&on_stack(R(R2))[..], &[add(R1, Imm(-16))]].concat(), "part of a pointer");
    assert!(change(Helper::Average, &[mov(R1, R(R2))]).is_ok());
    let message = change(Helper::Average, &[]).expect_err("it is not safe");
    assert!(message.contains("read only"), "{message}");
}

#[test]
fn a_lookup_is_compared_with_null_first() {
    let lookup = |rest: &[Insn]| {
        let mut insns = vec![
            store(R10, -8, Imm(1)),
            Insn::LoadWide { dst: R1, value: Wide::MapIndex(0) },
            mov(R2, R(R10)),
            add(R2, Imm(-8)),
            helper(Helper::MapLookup),
        ];
        insns.extend_from_slice(rest);
        insns
    };
    refused(&lookup(&[load(R0, R0, 0), EXIT]), "may be null");
    accepted(&lookup(&[
        mov(R6, R(R0)),
        branch(Cond::Ne, R0, Imm(0), 2),
        mov(R0, Imm(0)),
        EXIT,
        load(R0, R6, 8),
        EXIT,
    ]));
    refused(
        &lookup(&[branch(Cond::Eq, R0, Imm(0), 1), load(R0, R0, 9), mov(R0, Imm(0)), EXIT]),
        "the region has 16",
    );
    refused(&lookup(&[branch(Cond::Ne, R0, Imm(0), 1), load(R0, R0, 0), EXIT]), "is no memory");
}

#[test]
fn only_the_tested_lookup_is_proven() {
    let lookup = [
        Insn::LoadWide { dst: R1, value: Wide::MapIndex(0) },
        mov(R2, R(R10)),
        add(R2, Imm(-8)),
        helper(Helper::MapLookup),
    ];
    let mut insns = vec![store(R10, -8, Imm(1))];
    insns.extend_from_slice(&lookup);
    insns.push(mov(R6, R(R0)));
    insns.extend_from_slice(&lookup);
    insns.extend_from_slice(&[
        branch(Cond::Ne, R0, Imm(0), 2),
        mov(R0, Imm(0)),
        EXIT,
        load(R0, R6, 0),
        EXIT,
    ]);
    refused(&insns, "r6 is map_value_or_null");
}

#[test]
fn a_loop_is_proven_once_for_all_rounds() {
    let with_count = |count: Operand, body: &[Insn]| {
        let mut insns = vec![
            load(R6, R1, 0),
            store(R10, -8, Imm(0)),
            mov(R1, count),
            Insn::LoadWide { dst: R2, value: Wide::Function(7) },
            mov(R3, R(R10)),
            add(R3, Imm(-8)),
            mov(R4, Imm(0)),
            helper(Helper::Loop),
            load(R0, R10, -8),
            EXIT,
        ];
        insns.extend_from_slice(body);
        insns
    };
    let sum = [load(R4, R2, 0), add(R4, R(R1)), store(R2, 0, R(R4)), mov(R0, Imm(0)), EXIT];
    assert_eq!(accepted(&with_count(Imm(100), &sum)), 10 + 1 + 100 * 6);
    refused(&with_count(R(R6), &sum), "may repeat 18446744073709551615 times");
    refused(&with_count(Imm(100), &[load(R0, R2, 8), EXIT]), "the region has 8");
    refused(&with_count(Imm(100), &[store(R2, 0, R(R2)), mov(R0, Imm(0)), EXIT]), "pointers stay");
    refused(&with_count(Imm(100), &[mov(R0, R(R6)), EXIT]), "r6 holds nothing");
}

#[test]
fn calls_and_jumps_go_forward() {
    refused(&[mov(R0, Imm(0)), Insn::Jump { off: -2, long: false }], "goes back");
    refused(&[Insn::Call(Callee::Local(-1)), EXIT], "goes back");
    refused(&[mov(R0, Imm(0)), Insn::Jump { off: 9, long: true }, EXIT], "outside the program");
    refused(&[mov(R0, Imm(0)), EXIT, EXIT], "never reached");
    refused(&[mov(R0, Imm(0))], "without exit");
    let wide = Insn::LoadWide { dst: R0, value: Wide::Value(7) };
    refused(&[load(R4, R1, 0), branch(Cond::Eq, R4, Imm(0), 1), wide, EXIT], "middle of an lddw");
    refused(
        &[
            Insn::Call(Callee::Local(2)),
            branch(Cond::Eq, R0, Imm(0), 1),
            EXIT,
            mov(R0, Imm(0)),
            EXIT,
        ],
        "another function",
    );
}

#[test]
fn calls_keep_what_they_promise() {
    let callee = [mov(R0, Imm(1)), EXIT];
    let mut insns = vec![mov(R6, R(R1)), Insn::Call(Callee::Local(2)), load(R0, R6, 0), EXIT];
    insns.extend_from_slice(&callee);
    assert_eq!(accepted(&insns), 6);
    let mut lost = vec![Insn::Call(Callee::Local(2)), load(R0, R1, 0), EXIT];
    lost.extend_from_slice(&callee);
    refused(&lost, "calls clear r1 to r5");
    // Nine functions, each calling the next, are too deep.
    let mut deep = Vec::new();
    for _ in 0..8 {
        deep.extend_from_slice(&[Insn::Call(Callee::Local(1)), EXIT]);
    }
    deep.extend_from_slice(&callee);
    refused(&deep, "nested more than 8 deep");
}

#[test]
fn slips_in_constants_are_refused() {
    for (op, words) in [
        (AluOp::Lsh, "shifts 64 bits by 64 or more"),
        (AluOp::Arsh, "shifts 64 bits by 64 or more"),
    ] {
        let shift = Insn::Alu { width: W64, op, dst: R0, src: Imm(64) };
        refused(&[mov(R0, Imm(1)), shift, EXIT], words);
    }
    let divide = Insn::Alu { width: W64, op: AluOp::Smod, dst: R0, src: Imm(0) };
    refused(&[mov(R0, Imm(1)), divide, EXIT], "divides by the constant 0");
    refused(&[mov(R10, Imm(1)), mov(R0, Imm(0)), EXIT], "frame pointer");
    refused(&[Insn::Call(Callee::Helper(77)), EXIT], "there is no helper 77");
}

#[test]
fn dead_ways_by_value_are_not_followed() {
    accepted(&[
        mov(R4, Imm(5)),
        mov(R0, Imm(0)),
        branch(Cond::Le, R4, Imm(9), 1),
        load(R0, R1, 4000),
        EXIT,
    ]);
}

#[test]
fn any_bytes_are_answered() {
    let mut random = crate::domain::tests::Random(7);
    for round in 0..20_000u64 {
        let program: Vec<RawInsn> = (0..1 + random.next() % 40)
            .map(|_| {
                let mut raw = RawInsn::from_bytes(random.next().to_le_bytes());
                if round % 2 == 0 {
                    raw.off &= 15;
                    raw.regs &= 0x77;
                }
                raw
            })
            .collect();
        let mut notes = vec![Note::default(); program.len()];
        let mut states = vec![State::default(); Scratch::states_needed(program.len())];
        let mut scratch = Scratch { notes: &mut notes, states: &mut states };
        let _answered = verify(&program, SPEC, &mut scratch).map(|program| program.max_insns());
    }
}

#[test]
fn adversarial_shapes_stay_linear() {
    // All jumps to one place; and as many open places as there are insns.
    let n = 30_000usize;
    let mut one: Vec<Insn> = vec![load(R4, R1, 0), mov(R0, Imm(0))];
    for i in 0..n {
        one.push(branch(Cond::Eq, R4, Imm(i as i32), (n - 1 - i) as i16));
    }
    one.push(EXIT);
    accepted(&one);
    let mut many: Vec<Insn> = vec![load(R4, R1, 0), mov(R0, Imm(0))];
    for i in 0..n {
        many.push(branch(Cond::Eq, R4, Imm(i as i32), n as i16));
    }
    many.extend(vec![mov(R0, Imm(0)); n + 1]);
    many.push(EXIT);
    refused(&many, "open at once");
}

#[test]
fn a_longer_buffer_is_no_part_of_the_program() {
    let program = slots(&[mov(R0, Imm(1)), mov(R1, Imm(1))]);
    let mut notes = vec![Note::default(); 100];
    let mut states = vec![State::default(); 100];
    let mut scratch = Scratch { notes: &mut notes, states: &mut states };
    let rejection = verify(&program, SPEC, &mut scratch).unwrap_err();
    assert_eq!((rejection.pc, rejection.kind), (1, RejectionKind::FallsOffEnd));
}
