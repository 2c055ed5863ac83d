//! The dispatch: insns of registers and memory by [`super::step`], the rest here.

use super::call::{Calls, Regs};
use super::raw;
use super::step::{Flow, Operands, address, step};
#[cfg(feature = "threaded")]
use super::thread;
use super::{Env, Host, RunError, Stack};
use crate::isa::{AtomicOp, RawInsn, Size, code, eval};
use crate::verify::VerifiedProgram;

/// Where a jump by `off` slots from the insn before `next` leads.
#[inline(always)]
const fn jump(next: usize, off: i64) -> usize {
    next.wrapping_add(off as usize)
}

/// A slot of the program.
#[derive(Clone, Copy)]
struct Slot<'p>(&'p RawInsn);

impl Operands for Slot<'_> {
    #[inline(always)]
    fn dst(self) -> usize {
        usize::from(self.0.dst())
    }

    #[inline(always)]
    fn src(self) -> usize {
        usize::from(self.0.src())
    }

    #[inline(always)]
    fn off(self) -> i64 {
        i64::from(self.0.off)
    }

    #[inline(always)]
    fn imm32(self) -> i32 {
        self.0.imm
    }
}

#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[allow(
    clippy::indexing_slicing,
    reason = "a four-bit number always is an index of the sixteen registers"
)]
pub(super) fn execute<H: Host>(
    verified: &VerifiedProgram<'_>,
    env: &mut Env<'_, '_, H>,
    stack: &mut Stack,
) -> Result<u64, RunError> {
    let program = verified.program();
    let mut calls = Calls::new(stack);
    let mut r: Regs = [0; 16];
    r[1] = raw::address_of(env.row);
    r[2] = raw::address_of_mut(env.state);
    r[3] = raw::address_of(env.params);
    r[10] = calls.top();
    let mut pc = 0usize;
    loop {
        pc = ahead(verified, pc, &mut r);
        // SAFETY: the verifier proved that every way on is an insn of the program.
        let insn = Slot(unsafe { raw::fetch(program, pc) });
        pc = pc.wrapping_add(1);
        match insn.0.code {
            code::EXIT => match calls.leave(&mut r, &mut env.fuel)? {
                Some(back) => pc = back,
                None => return Ok(r[0]),
            },
            code::CALL if insn.src() == 1 => {
                let function = jump(pc, i64::from(insn.imm32()));
                pc = calls.enter(&mut r, &mut env.fuel, pc, function)?;
            }
            code::CALL => pc = calls.helper(insn.imm32(), pc, &mut r, verified.spec(), env)?,
            code::LOAD_WIDE => {
                // SAFETY: the verifier proved that the second slot is there.
                let high = unsafe { raw::fetch(program, pc) }.imm.cast_unsigned();
                pc = pc.wrapping_add(1);
                r[insn.dst()] = constant(insn, high, pc, env)?;
            }
            code::ATOMIC32 => atomic(&mut r, insn, Size::W),
            code::ATOMIC64 => atomic(&mut r, insn, Size::Dw),
            _ => return Err(RunError::Corrupt),
        }
    }
}

/// Runs insns until one needs more than registers and memory; where that is.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[inline(always)]
fn ahead(verified: &VerifiedProgram<'_>, mut pc: usize, r: &mut Regs) -> usize {
    #[cfg(feature = "threaded")]
    if let Some(stopped) = thread::run(verified.ops(), pc, r) {
        return stopped;
    }
    loop {
        // SAFETY: `pc` is 0, the insn after one that is not last, or the target of
        // a jump or call, all of which the verifier proved to be insns.
        let insn = Slot(unsafe { raw::fetch(verified.program(), pc) });
        // SAFETY: the program is verified, and nothing but its insns changes registers.
        match unsafe { step(insn.0.code, insn, r) } {
            Flow::Next => pc = pc.wrapping_add(1),
            Flow::Jump(off) => pc = jump(pc.wrapping_add(1), off),
            Flow::Other => return pc,
        }
    }
}

/// An atomic insn. The run borrows its memory exclusively, so nothing can come between.
#[inline(never)]
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[allow(
    clippy::indexing_slicing,
    reason = "a four-bit number always is an index of the sixteen registers"
)]
fn atomic(r: &mut Regs, insn: Slot<'_>, size: Size) {
    let Some(op) = AtomicOp::from_imm(insn.imm32()) else { return };
    let (dst, src) = (insn.dst(), insn.src());
    let at = address(r[dst], insn.off());
    // SAFETY: the verifier proved the access in bounds and its bytes initialised.
    let old = unsafe { raw::load(size, at) };
    let operand = eval::zero_extend(size, r[src]);
    let new = eval::atomic(op, old, operand, eval::zero_extend(size, r[0]));
    // SAFETY: the verifier proved that the same bytes may be written.
    unsafe { raw::store(size, at, new) };
    if op == AtomicOp::Cmpxchg {
        r[0] = old;
    } else if op.fetches() {
        r[src] = old;
    }
}

/// What a 16-byte load puts into its register; `next` is the insn after it.
#[inline(never)]
fn constant<H: Host>(
    insn: Slot<'_>,
    high: u32,
    next: usize,
    env: &Env<'_, '_, H>,
) -> Result<u64, RunError> {
    let (low, high) = (u64::from(insn.imm32().cast_unsigned()), u64::from(high));
    Ok(match insn.src() {
        0 => high << 32 | low,
        // A map is known by its index.
        1 | 5 => low,
        2 | 6 => {
            let index = usize::try_from(low).map_err(|_| RunError::Corrupt)?;
            let map = env.maps.get(index).ok_or(RunError::Corrupt)?;
            raw::address_of_values(map.values()).wrapping_add(high)
        }
        // A function is known by its first insn, counted from the second slot.
        4 => jump(next.wrapping_sub(1), i64::from(insn.imm32())) as u64,
        _ => return Err(RunError::Corrupt),
    })
}
