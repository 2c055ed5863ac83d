//! Writing a relocation's value into its insn.
//!
//! **Invariant**: only the field that the insn's class keeps the value in is changed, and,
//! for a load or store, its width.

use super::{RelocErrorKind, Resolution};
use crate::insn::{CALL, Insn, SIZE_MASK};

/// The helper number of a poisoned insn, as libbpf writes it: the verifier says
/// `invalid func unknown#195896080`.
pub(crate) const POISON: i32 = 0x0bad_2310;

const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU: u8 = 0x04;
const CLASS_ALU64: u8 = 0x07;
/// The operand is a register.
const SOURCE_REGISTER: u8 = 0x08;

/// Writes `resolution` into the insn at `slot`; true when it was poisoned.
///
/// # Errors
/// [`RelocErrorKind::Insn`] when the insn cannot hold the value.
pub fn patch(
    insns: &mut [Insn],
    slot: usize,
    resolution: Resolution,
) -> Result<bool, RelocErrorKind> {
    let wrong = |reason: String| RelocErrorKind::Insn { reason };
    let Some(&insn) = insns.get(slot) else {
        return Err(wrong("there is no such insn".into()));
    };
    let poison = Insn { code: CALL, regs: 0, off: 0, imm: POISON };
    let Some(value) = resolution.value else {
        insns[slot] = poison;
        if insn.is_lddw()
            && let Some(second) = insns.get_mut(slot + 1)
        {
            *second = poison;
        }
        return Ok(true);
    };
    match insn.class() {
        CLASS_ALU | CLASS_ALU64 if insn.code & SOURCE_REGISTER == 0 => {
            insns[slot].imm = immediate(value)
                .ok_or_else(|| wrong(format!("{value} does not fit an immediate")))?;
        }
        CLASS_LDX | CLASS_ST | CLASS_STX => {
            let off = i16::try_from(value)
                .map_err(|_| wrong(format!("offset {value} is too large for a load")))?;
            insns[slot].off = off;
            insns[slot].code = width(insn, resolution)?;
        }
        CLASS_LD if insn.is_lddw() && insn.src() == 0 => {
            let Some(second) = insns.get_mut(slot + 1) else {
                return Err(wrong("half of a 16-byte load".into()));
            };
            second.imm = ((value >> 32) as u32).cast_signed();
            insns[slot].imm = (value as u32).cast_signed();
        }
        _ => return Err(wrong(format!("opcode {:#04x} takes no CO-RE value", insn.code))),
    }
    Ok(false)
}

/// A 32-bit immediate that the machine extends to `value`: enumerators may be negative.
fn immediate(value: u64) -> Option<i32> {
    i32::try_from(value.cast_signed())
        .ok()
        .or_else(|| u32::try_from(value).ok().map(u32::cast_signed))
}

/// The opcode for the width that the field has in the kernel.
fn width(insn: Insn, resolution: Resolution) -> Result<u8, RelocErrorKind> {
    let Some(sizes) = resolution.sizes else { return Ok(insn.code) };
    let wrong = |what: &str| {
        let reason =
            format!("a field of {} bytes became {} bytes{what}", sizes.local, sizes.target);
        Err(RelocErrorKind::Insn { reason })
    };
    let size_of_insn = match insn.code & SIZE_MASK {
        0x18 => 8,
        0x00 => 4,
        0x08 => 2,
        _ => 1,
    };
    if size_of_insn != sizes.local {
        return wrong(", and the load has neither size");
    }
    if !sizes.adjustable {
        return wrong(" and cannot be read alike");
    }
    let size = match sizes.target {
        8 => 0x18,
        4 => 0x00,
        2 => 0x08,
        1 => 0x10,
        _ => return wrong(""),
    };
    Ok(insn.code & !SIZE_MASK | size)
}
