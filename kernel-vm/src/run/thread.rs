//! Threaded code: each op knows the function that runs it, and runs the next itself.
//!
//! A loop around a match comes back to one indirect jump for each insn, and on today's
//! processors that jump, not the work, is what an interpreter takes its time for. Here each
//! insn's function ends with the call of the next one's, which an optimising build makes a
//! jump; and where two insns of common kinds follow one another, one function runs both.
//! What needs more than registers and memory goes back to [`super::engine`].
//!
//! The caller gives [`Op`]s, 16 bytes for each slot, which [`VerifiedProgram::threaded`]
//! fills once. A kernel that forbids indirect jumps builds without this.
//!
//! **Invariant**: verified insns only go forward, so one [`run`] calls at most as many
//! functions as the program has slots: a build that leaves each call a call still stays
//! within [`SLOTS_MAX`] frames of stack.

mod pairs;
#[cfg(test)]
pub(super) use pairs::{FIRST, KINDS, fused};

use super::call::{ARITHMETIC, Regs};
use super::raw;
use super::step::{Flow, Operands, step};
use crate::isa::{RawInsn, Reg, code};
use crate::verify::VerifiedProgram;

/// Longest program that is threaded; what is longer runs in the loop.
pub const SLOTS_MAX: usize = 2048;

/// Runs an op and what follows it; where it stopped.
type Run = unsafe fn(op: *const Op, r: &mut Regs) -> *const Op;

/// A slot of a program, ready to be run.
#[derive(Clone, Copy)]
pub struct Op {
    run: Run,
    dst: Reg,
    src: Reg,
    off: i16,
    imm: i32,
}

impl Op {
    /// An op that does nothing, to fill memory with.
    pub const BLANK: Self = Self { run: stop, dst: Reg::R0, src: Reg::R0, off: 0, imm: 0 };
}

impl Default for Op {
    fn default() -> Self {
        Self::BLANK
    }
}

impl core::fmt::Debug for Op {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Op")
    }
}

/// An op's operands. A register that is known to be that of the insn before comes from there:
/// its value is then still in a register of the machine.
#[derive(Clone, Copy)]
struct Fields<'o> {
    op: &'o Op,
    dst: Reg,
    src: Reg,
    /// The offset field is 0 and need not be looked at.
    is_plain: bool,
}

impl<'o> Fields<'o> {
    /// Those of an insn with this opcode. Copies that extend a sign are in no pair and have a
    /// function of their own, so that all others need not ask for it.
    #[inline(always)]
    const fn new(op: &'o Op, code: u8) -> Self {
        Self { op, dst: op.dst, src: op.src, is_plain: code == code::alu64_reg::Mov }
    }
}

impl Operands for Fields<'_> {
    #[inline(always)]
    fn dst(self) -> usize {
        self.dst.index()
    }

    #[inline(always)]
    fn src(self) -> usize {
        self.src.index()
    }

    #[inline(always)]
    fn off(self) -> i64 {
        if self.is_plain { 0 } else { i64::from(self.op.off) }
    }

    #[inline(always)]
    fn imm32(self) -> i32 {
        self.op.imm
    }
}

/// Runs ops from `pc` on; the insn that is for the engine to run. `None` without ops.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[inline(always)]
pub(super) fn run(ops: &[Op], pc: usize, r: &mut Regs) -> Option<usize> {
    let run = ops.get(pc)?.run;
    // SAFETY: ops are only ever those of a verified program, and `pc` is one of its insns.
    let stopped = unsafe { run(ops.as_ptr().add(pc), r) };
    Some(raw::distance(ops, stopped))
}

/// For insns that the engine runs.
#[allow(unsafe_code, reason = "has the type of those that run what the verifier proved")]
unsafe fn stop(op: *const Op, _: &mut Regs) -> *const Op {
    op
}

/// Goes on with the op that lies so many slots ahead.
///
/// # Safety
/// The verifier proved that this is a way through the program.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[inline(always)]
unsafe fn go(op: *const Op, slots: i64, r: &mut Regs) -> *const Op {
    // SAFETY: the caller's promise; there is one op for each slot.
    unsafe {
        let next = op.offset(slots as isize);
        ((*next).run)(next, r)
    }
}

/// Goes on behind `op` as its insn says.
///
/// # Safety
/// As [`go`].
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[inline(always)]
unsafe fn follow(op: *const Op, flow: Flow, r: &mut Regs) -> *const Op {
    // SAFETY: the caller's promise; no insn that is last in its function goes on behind.
    unsafe {
        match flow {
            Flow::Next => go(op, 1, r),
            Flow::Jump(off) => go(op, off.wrapping_add(1), r),
            Flow::Other => op,
        }
    }
}

/// Runs one insn.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
unsafe fn single<const CODE: u8>(op: *const Op, r: &mut Regs) -> *const Op {
    // SAFETY: an op of a verified program, in its place.
    unsafe { follow(op, step(CODE, Fields::new(&*op, CODE), r), r) }
}

/// Runs a copy that extends a sign.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
unsafe fn extend(op: *const Op, r: &mut Regs) -> *const Op {
    // SAFETY: an op of a verified program, in its place.
    unsafe {
        let fields = Fields { is_plain: false, ..Fields::new(&*op, code::alu64_reg::Mov) };
        follow(op, step(code::alu64_reg::Mov, fields, r), r)
    }
}

/// Runs the load of a wide number.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
unsafe fn wide(op: *const Op, r: &mut Regs) -> *const Op {
    // SAFETY: an op of a verified program, in its place; the second slot follows.
    unsafe {
        let (low, high) = ((*op).imm.cast_unsigned(), (*op.add(1)).imm.cast_unsigned());
        if let Some(dst) = r.get_mut((*op).dst.index()) {
            *dst = u64::from(high) << 32 | u64::from(low);
        }
        go(op, 2, r)
    }
}

/// Calls a helper that needs nothing but registers and what they point to.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
unsafe fn helper<const INDEX: usize>(op: *const Op, r: &mut Regs) -> *const Op {
    #[allow(clippy::indexing_slicing, reason = "looked up by the compiler")]
    let (_, compute) = const { ARITHMETIC[INDEX] };
    r[0] = compute(r);
    // SAFETY: an op of a verified program, in its place; no call is last in its function.
    unsafe { go(op, 1, r) }
}

/// The function for a call, if it is not for the engine.
fn call(slot: RawInsn) -> Option<Run> {
    let functions: [Run; ARITHMETIC.len()] = [helper::<0>, helper::<1>, helper::<2>, helper::<3>];
    let mut known = ARITHMETIC.iter().zip(functions);
    known.find(|((helper, _), _)| slot.src() == 0 && helper.id() == slot.imm).map(|(_, run)| run)
}

/// The functions of single insns by code, those for the engine among them.
static SINGLES: [[Run; 16]; 16] = {
    macro_rules! singles {
        ($($high:literal)*) => { [$(singles!(@ $high: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),)*] };
        (@ $high:literal: $($low:literal)*) => { [$(single::<{ $high * 16 + $low }>,)*] };
    }
    singles!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
};

/// The function for a slot and the one behind it.
fn function(slot: RawInsn, next: Option<&RawInsn>) -> Run {
    let single = SINGLES.get(usize::from(slot.code >> 4));
    let single = single.and_then(|row| row.get(usize::from(slot.code & 0xf))).copied();
    let single = match slot.code {
        code::LOAD_WIDE if slot.src() == 0 => Some(wide as Run),
        code::alu64_reg::Mov if slot.off != 0 => Some(extend as Run),
        code::CALL => call(slot).or(single),
        _ => single,
    };
    next.and_then(|next| pairs::fused(slot, *next)).or(single).unwrap_or(stop)
}

impl<'p> VerifiedProgram<'p> {
    /// The same program as threaded code in `ops`, of which it takes one for each slot.
    ///
    /// It runs several times faster. With fewer ops, or for a program of more than
    /// [`SLOTS_MAX`] slots, it is as before.
    #[must_use]
    pub fn threaded<'o>(self, ops: &'o mut [Op]) -> VerifiedProgram<'o>
    where
        'p: 'o,
    {
        let program = self.program();
        let ops = if program.len() <= SLOTS_MAX { ops.get_mut(..program.len()) } else { None };
        let Some(ops) = ops else { return self };
        for (index, (op, &slot)) in ops.iter_mut().zip(program).enumerate() {
            // No way leads to the second slot of a wide load: what runs it does not matter.
            let run = function(slot, program.get(index.saturating_add(1)));
            let reg = |number| Reg::new(number).unwrap_or(Reg::R0);
            let (dst, src) = (reg(slot.dst()), reg(slot.src()));
            *op = Op { run, dst, src, off: slot.off, imm: slot.imm };
        }
        self.with_ops(ops)
    }
}
