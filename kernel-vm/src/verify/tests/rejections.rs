//! Every reason for which a program is refused, in the words that its author reads: which insn,
//! what is known there, and what would be accepted.

use super::*;
use crate::asm::assemble;
use crate::ffi::REASONS;
use std::collections::BTreeSet;
use std::format;

/// A lookup in map 0, its result in r0.
const LOOKUP: &str = "*(u64 *)(r10 -8) = 1\n r1 = map[idx:0]\n r2 = r10\n r2 += -8
    call map_lookup_elem\n";
/// A loop over `body`, of r1 rounds.
const LOOP: &str = "r2 = func[body]\n r3 = 0\n r4 = 0\n call loop\n r0 = 0\n exit
    body:\n r0 = 0\n exit\n";
const RETURN: &str = "r0 = 0\n exit\n";

/// The kind, a program, the words.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let with_return = |text: &str| format!("{text}\n{RETURN}");
    let on_lookup = |text: &str| format!("{LOOKUP}{text}\n{RETURN}");
    let looped = |count: &str| format!("{count}\n{LOOP}");
    let spills = || {
        let stores: String = (1..=13).map(|n| format!("*(u64 *)(r10 -{}) = r1\n", 8 * n)).collect();
        stores + RETURN
    };
    let open = || {
        let mut text = String::from("r1 = *(u64 *)(r1 +0)\n");
        text.extend((0..600).map(|n| format!("if r1 == {n} goto l{n}\n")));
        text.extend((0..600).map(|n| format!("l{n}:\n r0 = {n}\n")));
        text + "exit\n"
    };
    let deep = || (0..9).map(|n| format!("f{n}:\n call f{}\n exit\n", n + 1)).collect::<String>();
    let long = "r1 = 8000000\n r2 = func[outer]\n r3 = 0\n r4 = 0\n call loop\n r0 = 0\n exit
        outer:\n r1 = 8000000\n r2 = func[inner]\n r3 = 0\n r4 = 0\n call loop\n r0 = 0\n exit
        inner:\n r0 = 0\n exit\n";
    let number = |text: &str| with_return(&format!("r4 = *(u64 *)(r1 +0)\n{text}"));
    std::vec![
        (
            "Backward",
            String::from("r0 = 0\n goto -2\n exit\n"),
            "insn 1: goes back; jumps and calls go forward only, repetition is the loop helper"
        ),
        (
            "JumpOutside",
            String::from("r0 = 0\n goto +5\n exit\n"),
            "insn 1: goes outside the program; go to an insn of it"
        ),
        (
            "OutOfFunction",
            String::from("call f\n if r0 == 0 goto inside\n exit\n f:\n r0 = 0\n inside:\n exit\n"),
            "insn 1: goes into another function: call it"
        ),
        (
            "IntoSecondSlot",
            String::from("r0 = 0\n if r0 == 0 goto +1\n r0 = 7 ll\n exit\n"),
            "insn 1: goes into the middle of an lddw; go to its first slot"
        ),
        (
            "NeverReached",
            String::from("r0 = 0\n exit\n exit\n"),
            "insn 2: is never reached: remove it"
        ),
        (
            "FallsOffEnd",
            String::from("r0 = 0\n"),
            "insn 0: the function ends without exit: add one"
        ),
        (
            "TooManyOpenJumps",
            open(),
            "insn 513: too many jumps to different places are open at once; let them meet sooner"
        ),
        (
            "TooLong",
            String::from(long),
            "insn 5: a run may take 192000072000004 insns; at most 1099511627776, let loops repeat less"
        ),
        (
            "NotInitialised",
            with_return("r5 += 1"),
            "insn 0: r5 holds nothing on some way here; set it on every way (calls clear r1 to r5)"
        ),
        (
            "NeedsNumber",
            String::from("r0 = r1\n exit\n"),
            "insn 1: r0 is row+0; a number is needed here, addresses are none"
        ),
        (
            "PointerArithmetic",
            with_return("r2 *= 2"),
            "insn 0: `*=` on state+0; pointers only move by 64-bit += and -= of a number"
        ),
        (
            "ComparesPointer",
            with_return("if r2 > 7 goto +0"),
            "insn 0: compares state+0; of pointers only a lookup's result is compared, with 0"
        ),
        (
            "UnknownMap",
            with_return("r1 = map[idx:2]"),
            "insn 0: there is no map 2 to use so; the program has 2, and only a direct one gives the \
          address of its value"
        ),
        (
            "NotMemory",
            number("r5 = *(u8 *)(r4 +0)"),
            "insn 1: r4 is number(smin=-9223372036854775808,smax=9223372036854775807,umin=0,\
          umax=18446744073709551615,known=0x0/0x0), which is no memory; use a pointer to some"
        ),
        (
            "MayBeNull",
            on_lookup("r1 = *(u64 *)(r0 +0)"),
            "insn 6: r0 is map_value_or_null, it may be null; compare it with 0 first"
        ),
        (
            "OutOfBounds",
            number("r4 &= 63\n r1 += r4\n r5 = *(u16 *)(r1 +0)"),
            "insn 3: 2 bytes at r1 +0, where r1 is row(smin=0,smax=63,umin=0,umax=63,\
          known=0x0/0xffffffffffffffc0); the region has 64 bytes, compare the offset with its bound \
          first"
        ),
        (
            "VariableStack",
            number("r4 &= 7\n r5 = r10\n r5 += -16\n r5 += r4\n *(u8 *)(r5 +0) = 0"),
            "insn 5: r5 is fp(smin=-16,smax=-9,umin=18446744073709551600,umax=18446744073709551607,\
          known=0xfffffffffffffff0/0xfffffffffffffff8); the stack is used at constant offsets"
        ),
        (
            "StackNotInitialised",
            number("if r4 == 0 goto +1\n *(u64 *)(r10 -8) = 0\n r5 = *(u8 *)(r10 -8)"),
            "insn 3: the byte at fp-8 was not written on every way here, or is part of a pointer; write \
          it first"
        ),
        (
            "ReadOnly",
            with_return("*(u32 *)(r1 +4) = 1"),
            "insn 0: r1 is row+0, which is read only; write to the stack or the state"
        ),
        (
            "PointerEscapes",
            with_return("*(u64 *)(r2 +0) = r1"),
            "insn 0: would store row+0 where it can be read as a number; pointers stay on the stack"
        ),
        (
            "PartOfPointer",
            with_return("*(u32 *)(r10 -8) = r1"),
            "insn 0: would store a part of row+0; store 8 bytes at a multiple of 8"
        ),
        (
            "TooManySpills",
            spills(),
            "insn 12: no room on the stack for row+0; it remembers 12 values, write over some"
        ),
        (
            "AtomicOnPointer",
            with_return("r4 = 1\n *(u64 *)(r10 -8) = r2\n lock *(u64 *)(r10 -8) += r4"),
            "insn 2: an atomic operation on state+0; they are for numbers"
        ),
        (
            "UnknownHelper",
            with_return("call 77"),
            "insn 0: there is no helper 77; there are map_lookup_elem (1), map_update_elem (2), \
          map_delete_elem (3), ktime_get_boot_ns (125), loop (181), emit (27494), waits_for (27495), \
          mul_div (27496), average (27497), spread (27498), root (27499)"
        ),
        (
            "MustBeZero",
            with_return(
                "r1 = 1\n r2 = func[body]\n r3 = 0\n r4 = 5\n call loop\n r0 = 0\n exit\n body:"
            ),
            "insn 5: r4 is 5; it is reserved here and must be 0"
        ),
        (
            "WrongArgument",
            with_return("r1 = 3\n r2 = r10\n call map_lookup_elem"),
            "insn 2: r1 is 3; the helper takes a map"
        ),
        (
            "RecordSize",
            with_return("r1 = r10\n r2 = 12\n call emit"),
            "insn 2: r2 is 12; it must be 16, the size of a record"
        ),
        (
            "LoopTooLong",
            looped("r1 = *(u32 *)(r1 +0)"),
            "insn 5: may repeat 4294967295 times, r1 is number(smin=0,smax=4294967295,umin=0,\
          umax=4294967295,known=0x0/0xffffffff00000000); at most 8388608, compare it first"
        ),
        (
            "TooDeep",
            deep() + "f9:\n" + RETURN,
            "insn 14: calls are nested more than 8 deep; call less from functions"
        ),
        (
            "WritesFramePointer",
            with_return("r10 += -8"),
            "insn 0: writes r10, the frame pointer, which is read only; copy it first"
        ),
        (
            "ShiftTooFar",
            number("w4 <<= 32"),
            "insn 1: shifts 32 bits by 32 or more, or by less than 0; 0 to 31 do"
        ),
        (
            "DivisionByZero",
            number("r4 /= 0"),
            "insn 1: divides by the constant 0; divide by another"
        ),
        (
            "KernelFunction",
            with_return("r1 = var[id:7]"),
            "insn 0: functions and variables of a platform are not known here; call a helper"
        ),
    ]
}

fn rejection(program: &[RawInsn], notes: usize) -> Rejection {
    let mut notes = vec![Note::default(); notes];
    let mut states = vec![State::default(); Scratch::states_needed(program.len())];
    let mut scratch = Scratch { notes: &mut notes, states: &mut states };
    verify(program, SPEC, &mut scratch).expect_err("it is not safe")
}

/// The kind's name, as the table of the C interface has it.
fn name(kind: &RejectionKind) -> String {
    let text = format!("{kind:?}");
    String::from(text.split([' ', '(', '{']).next().unwrap_or(""))
}

#[test]
fn every_reason_is_told_in_words() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    let mut check = |expected: &str, found: Rejection, words: &str| {
        if name(&found.kind) != expected || found.to_string() != words {
            wrong.push(format!("{expected}: {found}"));
        }
        seen.insert(String::from(expected));
    };
    for (kind, text, words) in cases() {
        let program = assemble(&text).unwrap_or_else(|error| panic!("{kind}: {error}"));
        check(kind, rejection(&program, program.len()), words);
    }
    let exit = assemble(RETURN).expect("it is a program");
    check("BadLength", rejection(&[], 0), "insn 0: a program of 0 slots; it has 1 to 1048576");
    check(
        "ScratchTooSmall",
        rejection(&exit, 1),
        "insn 0: the host gave too little memory; Scratch::notes_needed and states_needed tell how \
         much this program takes",
    );
    let packet = [RawInsn::new(0x20, 0, 0, 0, 14), exit[1]];
    check(
        "Decode",
        rejection(&packet, 2),
        "insn 0: packet access (BPF_ABS, BPF_IND) is obsolete and refused (code 0x20 regs 0x00 off 0 \
         imm 14)",
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let missing: Vec<&str> =
        REASONS.iter().map(|&(_, name)| name).filter(|&name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
