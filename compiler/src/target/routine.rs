//! Code of the routines, the same for every target.

use crate::arith::routines::build;
use crate::asm::{Asm, Label, Reg};
use crate::code::Code;
use crate::lir::{Op, Routine};
use crate::object::Subprogram;
use crate::regalloc::allocate;
use crate::target::encode::{Hooks, encode};

/// The code of `routine`.
///
/// # Panics
/// Never: routines are short and call nothing.
#[must_use]
pub fn code(routine: Routine) -> Code {
    let mut function = build(routine);
    function.tidy();
    let allocation = allocate(&function, 0, |_| false);
    let mut asm = Asm::new();
    encode(&function, &allocation, &mut asm, &mut Plain);
    asm.finish().expect("routines are short")
}

/// The routine as a function of an object.
#[must_use]
pub fn subprogram(routine: Routine) -> Subprogram {
    Subprogram { name: routine.name().to_owned(), code: code(routine) }
}

/// Routines do nothing that differs between targets.
struct Plain;

impl Hooks for Plain {
    fn loses(&self, _op: &Op) -> bool {
        false
    }

    fn special(&mut self, _asm: &mut Asm, op: &Op, _dst: Reg, _to: Option<Label>) {
        unreachable!("a routine has no {op:?}");
    }

    fn scratch(&mut self, _asm: &mut Asm, _dst: Reg, _offset: i32) {
        unreachable!("only the kernel's verifier makes values go through memory");
    }

    fn param(&mut self, _asm: &mut Asm, _dst: Reg, _offset: i32) {
        unreachable!("a routine has no parameters of a filter");
    }
}
