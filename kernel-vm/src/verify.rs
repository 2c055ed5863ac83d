//! The verifier: a program becomes a [`VerifiedProgram`] here or not at all.
//!
//! One pass in the order of the program. Every jump and every call goes forward, so when an
//! insn is reached, all that can lead to it has been seen: its state is the join of what
//! came in, and the pass is linear. Functions are entered with the join of all their calls.
//! Repetition exists only as the `loop` helper, whose body is proven once for any state
//! that it can be entered with: its counter's range, and scalars of any value in the window
//! of the stack that it is handed.
//!
//! Proven: every access in bounds, aligned to nothing and of initialised bytes; records and
//! params never written; no pointer stored where a consumer could read it; helpers called
//! with what they expect; a bound on the insns of a run.
//!
//! **Invariant**: nothing is accepted that the engine could not run without a check.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is accepted is named, all else is refused: the safe default for a new kind"
)]

mod bound;
#[cfg(feature = "text")]
mod buffer;
mod call;
mod flow;
mod memory;
mod reject;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod value;

#[cfg(feature = "text")]
pub use buffer::ScratchBuffer;
pub use reject::{Rejection, RejectionKind};
pub use state::State;
pub use value::{Kind, Value};

use core::cell::Cell;

use crate::isa::{DecodeError, RawInsn, Reg, decode_insn};
use flow::Flow;

/// Most slots of a program.
pub const INSNS_MAX: usize = 1 << 20;
/// Deepest chain of calls and callbacks, the program itself included.
pub const DEPTH_MAX: u32 = 8;
/// Bytes of one function's stack.
pub const STACK_BYTES: usize = 512;
/// Most repetitions of one `loop`.
pub const LOOP_MAX: u64 = 1 << 23;
/// Largest bound on the insns of a run.
pub const RUN_INSNS_MAX: u64 = 1 << 40;

/// What a program may rely on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec<'a> {
    /// Bytes at r1, read only.
    pub row_size: u32,
    /// Bytes at r2.
    pub state_size: u32,
    /// Bytes at r3, read only.
    pub params_size: u32,
    /// Bytes of a record: what `emit` takes, exactly.
    pub record_size: u32,
    /// The maps, by index.
    pub maps: &'a [MapSpec],
}

/// One map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Its single value can be addressed directly: it is an array.
    pub direct: bool,
}

/// Memory that the verifier works in, given by the caller.
///
/// For a program of `n` slots it takes [`Scratch::notes_needed`] notes of 24 bytes and
/// [`Scratch::states_needed`] states of 2,264 bytes each.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// One for each slot.
    pub notes: &'a mut [Note],
    /// States of jump targets that have not been reached yet.
    pub states: &'a mut [State],
}

impl Scratch<'_> {
    /// Notes for a program of `slots` slots.
    #[must_use]
    pub const fn notes_needed(slots: usize) -> usize {
        slots
    }

    /// States for any program of `slots` slots that the verifier accepts: at most so many
    /// jump targets may be open at once.
    #[must_use]
    pub const fn states_needed(slots: usize) -> usize {
        let open = (slots / 2).saturating_add(1);
        if open < 512 { open } else { 512 }
    }
}

impl Note {
    /// A note of nothing, to fill memory with.
    pub const BLANK: Self = Self { bound: 0, count: 0, callee: 0, state: 0, flags: 0 };
}

/// What is kept about one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Most insns from here to the function's exit.
    bound: u64,
    /// Upper bound of the count of a `loop` called here.
    count: u32,
    /// Index of the callback called here, or of the function.
    callee: u32,
    /// One more than the index of the pending state; 0 for none.
    state: u32,
    flags: u8,
}

/// A program that has been proven safe; there is no other way to get one.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedProgram<'p> {
    program: &'p [RawInsn],
    spec: Spec<'p>,
    max_insns: u64,
    #[cfg(feature = "threaded")]
    ops: &'p [crate::run::Op],
}

impl<'p> VerifiedProgram<'p> {
    /// The slots.
    #[must_use]
    pub const fn program(&self) -> &'p [RawInsn] {
        self.program
    }

    /// What it relies on.
    #[must_use]
    pub const fn spec(&self) -> &Spec<'p> {
        &self.spec
    }

    #[cfg(feature = "threaded")]
    pub(crate) const fn ops(&self) -> &'p [crate::run::Op] {
        self.ops
    }

    #[cfg(feature = "threaded")]
    pub(crate) const fn with_ops<'o>(self, ops: &'o [crate::run::Op]) -> VerifiedProgram<'o>
    where
        'p: 'o,
    {
        VerifiedProgram { ops, ..self }
    }

    /// The proven upper bound on insns of one run, helpers counted by their cost.
    #[must_use]
    pub const fn max_insns(&self) -> u64 {
        self.max_insns
    }
}

/// Sees the state before each insn, for tests that compare it with what really happens.
pub trait Observer {
    /// The state with which `pc` is reached.
    fn before(&mut self, pc: usize, state: &State);
}

impl Observer for () {
    #[inline(always)]
    fn before(&mut self, _: usize, _: &State) {}
}

/// Proves `program` safe under `spec`.
///
/// # Errors
/// A [`Rejection`] that names the insn, what was known there and what would be acceptable.
pub fn verify<'p>(
    program: &'p [RawInsn],
    spec: Spec<'p>,
    scratch: &mut Scratch<'_>,
) -> Result<VerifiedProgram<'p>, Rejection> {
    verify_observed(program, spec, scratch, &mut ())
}

/// As [`verify`], and shows every state to `observer`.
///
/// # Errors
/// As [`verify`].
pub fn verify_observed<'p>(
    program: &'p [RawInsn],
    spec: Spec<'p>,
    scratch: &mut Scratch<'_>,
    observer: &mut impl Observer,
) -> Result<VerifiedProgram<'p>, Rejection> {
    flow::check_size(program, scratch)?;
    // A buffer may be longer than this program needs; what lies behind is no part of it.
    let notes = scratch.notes.get_mut(..program.len()).unwrap_or(&mut []);
    flow::begin(notes);
    let mut verifier = Verifier {
        program,
        spec,
        notes: &mut *notes,
        pool: state::Pool::new(scratch.states),
        current: State::entry(),
        alive: true,
        flow: Flow::default(),
        pc: 0,
        target: 0,
        rejection: Cell::new(None),
    };
    if let Err(Refused) = verifier.run(observer) {
        let unsaid = Rejection::at(verifier.pc, RejectionKind::NeverReached);
        return Err(verifier.rejection.take().unwrap_or(unsaid));
    }
    let max_insns = bound::bound(notes)?;
    Ok(VerifiedProgram {
        program,
        spec,
        max_insns,
        #[cfg(feature = "threaded")]
        ops: &[],
    })
}

struct Verifier<'p, 's> {
    program: &'p [RawInsn],
    spec: Spec<'p>,
    notes: &'s mut [Note],
    pool: state::Pool<'s>,
    /// The state before `pc`, when `alive`.
    current: State,
    alive: bool,
    flow: Flow,
    pc: usize,
    /// What the insn at `pc` refers to, if it refers to a slot.
    target: usize,
    /// Why it was refused: errors on their way out carry no more than that they are one.
    rejection: Cell<Option<Rejection>>,
}

/// The program is refused, and [`Verifier::rejection`] tells why.
struct Refused;

impl Verifier<'_, '_> {
    fn run(&mut self, observer: &mut impl Observer) -> Result<(), Refused> {
        while self.pc < self.program.len() {
            let rest = self.program.get(self.pc..).unwrap_or(&[]);
            let decoded = decode_insn(rest);
            let insn = match &decoded {
                Ok(insn) => insn,
                Err(kind) => {
                    let error = DecodeError::of(*kind, rest);
                    return Err(self.reject(RejectionKind::Decode(error)));
                }
            };
            let waiting = self.follow(insn)?;
            self.arrive(waiting);
            if self.alive {
                observer.before(self.pc, &self.current);
                self.alive = self.step(insn)?;
            }
            self.pc = self.pc.saturating_add(insn.slots().count());
        }
        self.end()
    }

    /// Joins what waits here into the current state.
    fn arrive(&mut self, waiting: u32) {
        let Some(index) = waiting.checked_sub(1) else { return };
        let Some(state) = self.pool.get(index) else { return };
        if self.alive {
            mutant!(ArrivalIsLost, self.current.join(state), ());
        } else {
            self.current.copy(state);
            self.alive = true;
        }
        self.pool.free(index);
    }

    /// Adds `state` to what reaches `target`.
    fn send(&mut self, target: usize, state: &State) -> Result<(), Refused> {
        let sent = deliver(self.notes, &mut self.pool, target, state);
        sent.map_err(|kind| self.reject(kind))
    }

    /// Adds the current state to what reaches the target of the insn.
    fn send_current(&mut self) -> Result<(), Refused> {
        let sent = deliver(self.notes, &mut self.pool, self.target, &self.current);
        sent.map_err(|kind| self.reject(kind))
    }

    #[inline(never)]
    #[cold]
    fn refuse(&self, pc: usize, kind: RejectionKind) -> Refused {
        self.rejection.set(Some(Rejection::at(pc, kind)));
        Refused
    }

    #[inline(never)]
    #[cold]
    fn reject_found(&self, kind: RejectionKind, found: &Value) -> Refused {
        self.rejection.set(Some(Rejection { pc: self.pc, kind, found: *found }));
        Refused
    }

    /// For what is in a register.
    #[inline(never)]
    #[cold]
    fn reject_held(&self, kind: RejectionKind, reg: Reg) -> Refused {
        self.reject_found(kind, self.current.reg(reg))
    }

    fn reject(&self, kind: RejectionKind) -> Refused {
        self.refuse(self.pc, kind)
    }
}

fn deliver(
    notes: &mut [Note],
    pool: &mut state::Pool<'_>,
    target: usize,
    state: &State,
) -> Result<(), RejectionKind> {
    let note = notes.get_mut(target).ok_or(RejectionKind::JumpOutside)?;
    match note.state.checked_sub(1) {
        Some(index) => {
            if let Some(pending) = pool.get_mut(index) {
                pending.join(state);
            }
        }
        None => {
            let index = pool.take(state).ok_or(RejectionKind::TooManyOpenJumps)?;
            note.state = index.saturating_add(1);
        }
    }
    Ok(())
}
