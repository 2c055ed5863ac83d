//! The assembler by itself.

use super::*;

#[test]
fn jumps_count_from_the_next_insn() {
    let mut asm = Asm::new();
    let end = asm.label();
    asm.jump_if_imm(Cond::Eq, R1, 0, end);
    asm.load_imm(R0, 1 << 40);
    asm.bind(end);
    asm.exit();
    let code = asm.finish().expect("short jumps");
    assert_eq!(code.slots.len(), 4);
    assert_eq!(code.slots[0].off, 2);
    assert_eq!(code.slots[2], Slot { code: 0, regs: 0, off: 0, imm: 256 });
}

#[test]
fn a_jump_that_does_not_fit_is_refused() {
    let mut asm = Asm::new();
    let end = asm.label();
    asm.jump_if_imm(Cond::Eq, R1, 0, end);
    for _ in 0..=i16::MAX {
        asm.load_imm(R0, 0);
    }
    asm.bind(end);
    asm.exit();
    assert_eq!(asm.finish(), Err(JumpTooFar { distance: 32768 }));
}

#[test]
fn what_nothing_reaches_goes_and_the_rest_moves_up() {
    let mut asm = Asm::new();
    let (used, unused) = (asm.label(), asm.label());
    let (a, b) = (Span { start: 0, end: 1 }, Span { start: 2, end: 3 });
    asm.jump_if_imm(Cond::Eq, R1, 0, used);
    asm.jump(used);
    asm.bind(unused);
    asm.mark(a);
    asm.load_map(R1, "gone");
    asm.exit();
    asm.bind(used);
    asm.mark(b);
    asm.load_map(R1, "kept");
    asm.exit();
    let code = asm.finish().expect("short jumps");
    assert_eq!(code.slots.len(), 4);
    assert_eq!(code.slots[0].off, 0);
    assert_eq!(code.relocs, [Reloc { pc: 1, kind: RelocKind::Map("kept".to_owned()) }]);
    assert_eq!(code.lines, [LineMark { pc: 1, span: b }]);
}

#[test]
fn jumps_to_jumps_lead_on_and_those_to_the_next_insn_go() {
    let mut asm = Asm::new();
    let (again, relay, join, end) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.bind(again);
    asm.jump_if_imm(Cond::Eq, R1, 0, relay);
    asm.mov(R0, R1);
    asm.jump(join);
    asm.bind(relay);
    asm.jump(end);
    asm.bind(join);
    asm.jump_if_imm(Cond::Eq, R2, 0, again);
    asm.bind(end);
    asm.exit();
    let code = asm.finish().expect("short jumps");
    let offsets: Vec<i16> = code.slots.iter().map(|slot| slot.off).collect();
    assert_eq!(offsets, [2, 0, -3, 0]);
}

#[test]
fn a_jump_to_itself_stays() {
    let mut asm = Asm::new();
    let here = asm.label();
    asm.bind(here);
    asm.jump(here);
    let code = asm.finish().expect("a short jump");
    assert_eq!(code.slots.len(), 1);
    assert_eq!(code.slots[0].off, -1);
}

#[test]
fn a_later_mark_at_the_same_place_wins_and_repeats_are_dropped() {
    let mut asm = Asm::new();
    let (a, b) = (Span { start: 0, end: 1 }, Span { start: 2, end: 3 });
    asm.mark(a);
    asm.mark(b);
    asm.exit();
    asm.mark(b);
    asm.exit();
    let code = asm.finish().expect("no jumps");
    assert_eq!(code.lines, [LineMark { pc: 0, span: b }]);
}
