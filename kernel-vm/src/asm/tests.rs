//! The assembler reads what the disassembler writes.

use super::*;
use crate::isa::{decode, scatter};
use std::string::ToString;

#[test]
fn every_insn_survives_its_text() {
    let mut state = 3;
    let mut seen = 0;
    for _ in 0..400_000 {
        let random = scatter(&mut state);
        let imms = [0, 16, 32, 64, 1, 0x41, 0xa1, 0xe1, 0xf1, (random >> 32) as i32];
        let raw = RawInsn {
            code: random as u8,
            regs: (random >> 8) as u8 & if random >> 60 & 1 == 0 { 0xff } else { 0x0f },
            off: [0, 1, 8, (random >> 16) as i16][(random >> 58) as usize & 3],
            imm: imms[(random >> 40) as usize % imms.len()],
        };
        let second =
            RawInsn { imm: [0, random as i32][random as usize >> 9 & 1], ..RawInsn::default() };
        if let Ok(insn) = decode(&[raw, second]) {
            let text = insn.to_string();
            let slots = assemble(&text).unwrap_or_else(|error| panic!("{error}"));
            let mut expected = std::vec![raw];
            expected.extend((slots.len() == 2).then_some(second));
            assert_eq!(slots, expected, "{text}");
            seen += 1;
        }
    }
    assert!(seen > 20_000, "{seen}");
}

#[test]
fn labels_lead_where_they_stand() {
    let program = assemble(
        "r1 = func[body]  ; two slots
         if r2 s>= -1 goto end
         call body
         gotol end
         body:
         r0 = 0
         end:
         exit",
    );
    assert_eq!(
        disassemble(&program.unwrap()),
        "r1 = func[pc+4]\nif r2 s>= -1 goto +3\ncall pc+1\ngotol +1\nr0 = 0\nexit\n"
    );
}

#[test]
fn an_error_names_its_line() {
    let error = assemble("exit\nr1 = w2").unwrap_err();
    assert_eq!(error.to_string(), "line 2: all registers of an insn are r or all are w: `r1 = w2`");
    for bad in ["r11 = 1", "r1 += ", "goto nowhere", "exit exit", "r1 = *(u7 *)(r2 +0)", "a b:"] {
        assert!(assemble(bad).is_err(), "{bad}");
    }
}
