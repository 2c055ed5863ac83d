//! Every opcode byte, and the round trip.

use super::*;
extern crate std;
use std::{string::ToString, vec::Vec};

#[test]
fn whatever_decodes_encodes_to_the_same_bytes() {
    let mut state = 1;
    let mut decoded = 0;
    for code in 0..=u8::MAX {
        for round in 0..4_000u32 {
            let random = scatter(&mut state);
            let mut raw = RawInsn {
                code,
                regs: random as u8,
                off: (random >> 8) as i16,
                imm: (random >> 32) as i32,
            };
            // Blank fields are what most insns want.
            if round & 1 != 0 {
                raw.off = (random >> 8 & 1) as i16;
            }
            if round & 2 != 0 {
                raw.imm = (random >> 40 & 0xf1) as i32;
            }
            if round & 4 != 0 {
                raw.regs &= 0x0a;
            }
            let second = RawInsn { imm: (random >> 3) as i32, ..RawInsn::default() };
            if let Ok(insn) = decode(&[raw, second]) {
                decoded += 1;
                let (first, rest) = encode(insn);
                assert_eq!(first, raw, "{insn:?}");
                assert_eq!(rest.is_some(), insn.slots() == Slots::Two);
                if let Some(rest) = rest {
                    assert_eq!(rest, second);
                }
                assert!(!insn.to_string().is_empty());
            }
        }
    }
    assert!(decoded > 50_000, "{decoded}");
}

#[test]
fn packet_access_is_refused_by_name() {
    for code in [0x20, 0x28, 0x30, 0x40, 0x48, 0x50] {
        let error = decode(&[RawInsn::new(code, 0, 0, 0, 0)]).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::PacketAccess);
    }
}

#[test]
fn the_known_opcodes_are_those_of_the_rfc() {
    let known: Vec<u8> = (0..=u8::MAX)
        .filter(|&code| {
            let imms = [0, 16, 1, 0xe1];
            imms.iter()
                .any(|&imm| decode(&[RawInsn::new(code, 0, 0, 0, imm), RawInsn::default()]).is_ok())
        })
        .collect();
    // ALU: 11 families + mov, two sources, two widths; neg twice; three byte orders.
    // Jumps: 11 conditions, two sources, two widths; ja twice; call; exit.
    // Loads: 4 + 3 with sign; stores: 4 + 4; atomics: 2; wide load: 1.
    assert_eq!(known.len(), 12 * 4 + 2 + 3 + 11 * 4 + 2 + 2 + 7 + 8 + 2 + 1);
}

#[test]
fn the_text_is_that_of_the_kernel() {
    let shown = |code, dst, src, off, imm| {
        let second = RawInsn { imm: 1, ..RawInsn::default() };
        decode(&[RawInsn::new(code, dst, src, off, imm), second]).unwrap().to_string()
    };
    assert_eq!(shown(0x07, 1, 0, 0, -3), "r1 += -3");
    assert_eq!(shown(0x0c, 1, 2, 0, 0), "w1 += w2");
    assert_eq!(shown(0x3f, 1, 2, 1, 0), "r1 s/= r2");
    assert_eq!(shown(0x79, 1, 10, -8, 0), "r1 = *(u64 *)(r10 -8)");
    assert_eq!(shown(0x91, 1, 2, 4, 0), "r1 = *(s8 *)(r2 +4)");
    assert_eq!(shown(0x7a, 10, 0, -16, 7), "*(u64 *)(r10 -16) = 7");
    assert_eq!(shown(0xdb, 1, 2, 0, 1), "r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)");
    assert_eq!(shown(0xc3, 1, 2, 0, 0), "lock *(u32 *)(r1 +0) += w2");
    assert_eq!(shown(0x18, 3, 0, 0, 2), "r3 = 0x100000002 ll");
    assert_eq!(shown(0x16, 3, 0, 5, 2), "if w3 == 2 goto +5");
    assert_eq!(shown(0x06, 0, 0, 0, 5), "gotol +5");
    assert_eq!(shown(0xdc, 3, 0, 0, 16), "r3 = be16 r3");
    assert_eq!(shown(0xbf, 3, 4, 8, 0), "r3 = (s8)r4");
    assert_eq!(shown(0x85, 0, 1, 0, 5), "call pc+5");
    assert_eq!(shown(0x85, 0, 0, 0, 5), "call 5");
    assert_eq!(shown(0x95, 0, 0, 0, 0), "exit");
}

#[test]
fn arithmetic_has_the_edges_of_the_rfc() {
    use eval::{alu, condition, mov_sx, neg};
    let (w32, w64) = (Width::W32, Width::W64);
    let minimum = i64::MIN.cast_unsigned();
    assert_eq!(alu(w64, AluOp::Div, 5, 0), 0);
    assert_eq!(alu(w64, AluOp::Mod, 5, 0), 5);
    assert_eq!(alu(w64, AluOp::Sdiv, minimum, u64::MAX), minimum);
    assert_eq!(alu(w64, AluOp::Smod, minimum, u64::MAX), 0);
    assert_eq!(alu(w32, AluOp::Smod, 0xffff_ffff_ffff_fff3, 5), 0xffff_fffd);
    assert_eq!(alu(w32, AluOp::Mod, 0x1_0000_0005, 0), 5);
    assert_eq!(alu(w32, AluOp::Lsh, 1, 33), 2);
    assert_eq!(alu(w64, AluOp::Arsh, minimum, 127), u64::MAX);
    assert_eq!(mov_sx(w32, Size::B, 0x80), 0xffff_ff80);
    assert_eq!(mov_sx(w64, Size::W, 0x8000_0000), 0xffff_ffff_8000_0000);
    assert_eq!(neg(w32, 1), 0xffff_ffff);
    assert!(condition(w32, Cond::Slt, 0x8000_0000, 0));
    assert!(!condition(w64, Cond::Slt, 0x8000_0000, 0));
    assert!(condition(w32, Cond::Gt, 0xffff_ffff, 1));
}
