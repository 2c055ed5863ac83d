//! A `vm` program with the routines that it calls behind it: bytes without relocations.

use std::collections::HashMap;

use crate::asm::JumpTooFar;
use crate::code::{Code, RelocKind, Slot};
use crate::lir::Routine;
use crate::target::{routine, vm};

impl Slot {
    /// The slot as the section has it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let ([a, b], [c, d, e, f]) = (self.off.to_le_bytes(), self.imm.to_le_bytes());
        [self.code, self.regs, a, b, c, d, e, f]
    }
}

/// The bytes of `program` and its routines, calls resolved.
pub(super) fn link(program: &vm::Program) -> Result<Vec<u8>, JumpTooFar> {
    let mut slots = program.code.slots.clone();
    let mut starts: HashMap<&'static str, usize> = HashMap::new();
    let mut calls = calls(&program.code, 0);
    for &wanted in &program.routines {
        let code = routine::code(wanted);
        starts.insert(wanted.name(), slots.len());
        calls.extend(self::calls(&code, slots.len()));
        slots.extend(code.slots);
    }
    for (pc, name) in calls {
        let distance = starts[name] as i64 - pc as i64 - 1;
        slots[pc].imm = i32::try_from(distance).map_err(|_| JumpTooFar { distance })?;
    }
    Ok(slots.into_iter().flat_map(Slot::to_bytes).collect())
}

/// Where `code`, placed at `base`, calls which routine.
fn calls(code: &Code, base: usize) -> Vec<(usize, &'static str)> {
    let name = |kind: &RelocKind| {
        let RelocKind::Subprog(name) = kind else { return None };
        Routine::ALL.iter().map(|routine| routine.name()).find(|known| known == name)
    };
    code.relocs.iter().filter_map(|reloc| Some((base + reloc.pc, name(&reloc.kind)?))).collect()
}
