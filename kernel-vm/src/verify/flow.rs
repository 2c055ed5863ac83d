//! Control flow: targets, functions, reachability. Nothing about values.
//!
//! Everything goes forward, so that when an insn is reached all that refers to it has been
//! seen. What is learned about an insn's ways is noted for the bound, which is found from the
//! end.
//!
//! **Invariant**: each insn is decoded once.

use super::{INSNS_MAX, Note, Refused, Rejection, RejectionKind, Scratch, Verifier};
use crate::helper::Helper;
use crate::isa::{Callee, Insn, RawInsn, Wide};

/// Marks of a slot.
pub(super) mod flags {
    /// A function starts here.
    pub(in crate::verify) const FUNCTION: u8 = 1;
    /// The second slot of an `lddw`.
    pub(in crate::verify) const SECOND: u8 = 2;
    /// Some way through the program leads here.
    pub(in crate::verify) const REACHED: u8 = 4;
    /// The insn after it may be next.
    pub(in crate::verify) const FALLS: u8 = 8;
    /// The target is another way, not a call.
    pub(in crate::verify) const JUMPS: u8 = 16;
    /// The target is called so many times, each of which costs one more.
    pub(in crate::verify) const LOOPS: u8 = 32;
}

/// How far the program has been followed.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The insn before this one may be followed by it.
    falls: bool,
    /// The farthest target of a jump so far.
    farthest: usize,
    /// The insn that jumps there.
    from: usize,
}

/// Where an insn leads.
struct Ways {
    /// [`flags::FALLS`], [`flags::JUMPS`].
    flags: u8,
    /// What it costs by itself.
    cost: u64,
    /// What it refers to, counted from the insn after it.
    off: Option<i32>,
}

fn ways(insn: &Insn) -> Ways {
    let (flags, off) = match *insn {
        Insn::Exit => (0, None),
        Insn::Jump { off, .. } => (flags::JUMPS, Some(off)),
        Insn::JumpIf { off, .. } => (flags::FALLS | flags::JUMPS, Some(i32::from(off))),
        // Counted from the second slot, as for the kernel's BPF_PSEUDO_FUNC.
        Insn::Call(Callee::Local(off)) | Insn::LoadWide { value: Wide::Function(off), .. } => {
            (flags::FALLS, Some(off))
        }
        Insn::Call(Callee::Helper(id)) => {
            let cost = Helper::from_id(id).map_or(0, Helper::cost).saturating_add(1);
            return Ways { flags: flags::FALLS, cost, off: None };
        }
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::End { .. }
        | Insn::LoadWide { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::Call(Callee::Kfunc { .. }) => (flags::FALLS, None),
    };
    Ways { flags, cost: 1, off }
}

/// Refuses programs that are too long, and memory that is too short for them.
pub(super) fn check_size(program: &[RawInsn], scratch: &Scratch<'_>) -> Result<(), Rejection> {
    let reject = |kind| Err(Rejection::at(0, kind));
    if program.is_empty() || program.len() > INSNS_MAX {
        return reject(RejectionKind::BadLength { slots: program.len() });
    }
    let needed = (Scratch::notes_needed(program.len()), Scratch::states_needed(program.len()));
    if scratch.notes.len() < needed.0 || scratch.states.len() < needed.1 {
        return reject(RejectionKind::ScratchTooSmall);
    }
    Ok(())
}

impl Verifier<'_, '_> {
    /// Checks where `insn` at `pc` stands and where it leads, whatever the values are; what
    /// the note says of the state that waits here.
    #[inline(always)]
    pub(super) fn follow(&mut self, insn: &Insn) -> Result<u32, Refused> {
        let pc = self.pc;
        let Ways { flags: ways, cost, off } = ways(insn);
        let Some(note) = self.notes.get_mut(pc) else { return Ok(0) };
        let (here, waiting) = (note.flags, note.state);
        note.flags |= ways;
        note.bound = cost;
        note.callee = 0;
        if here & flags::FUNCTION != 0 {
            self.begin_function(pc)?;
        } else if here & flags::REACHED == 0 {
            return Err(self.reject(RejectionKind::NeverReached));
        }
        let mut next = pc.wrapping_add(1);
        if let Insn::LoadWide { .. } = insn {
            if self.mark(next, flags::SECOND) & flags::REACHED != 0 {
                let from = self.notes.get(next).map_or(0, |note| note.callee);
                return Err(self.refuse(from as usize, RejectionKind::IntoSecondSlot));
            }
            next = next.wrapping_add(1);
        }
        if let Some(off) = off {
            // Before the program it wraps to far behind it.
            let target = (pc as i64).wrapping_add(1).wrapping_add(i64::from(off)) as usize;
            self.refer(target, ways & flags::JUMPS != 0)?;
            self.target = target;
            if let (Some(note), Insn::Call(_) | Insn::Jump { .. } | Insn::JumpIf { .. }) =
                (self.notes.get_mut(pc), insn)
            {
                note.callee = target as u32;
            }
        }
        self.flow.falls = ways & flags::FALLS != 0;
        if self.flow.falls {
            self.mark(next, flags::REACHED);
        }
        Ok(waiting)
    }

    /// Marks what the insn refers to.
    fn refer(&mut self, target: usize, jumps: bool) -> Result<(), Refused> {
        if target <= self.pc {
            return Err(self.reject(RejectionKind::Backward));
        }
        if target >= self.program.len() {
            let before = target > usize::MAX / 2;
            let kind = if before { RejectionKind::Backward } else { RejectionKind::JumpOutside };
            return Err(self.reject(kind));
        }
        let flag = if jumps { flags::REACHED } else { flags::FUNCTION | flags::REACHED };
        if self.mark(target, flag) & flags::SECOND != 0 {
            return Err(self.reject(RejectionKind::IntoSecondSlot));
        }
        if let Some(note) = self.notes.get_mut(target) {
            // Who it was, until the slot is reached and what it refers to takes the place.
            note.callee = self.pc as u32;
        }
        if jumps && target > self.flow.farthest {
            (self.flow.farthest, self.flow.from) = (target, self.pc);
        }
        Ok(())
    }

    /// Nothing of the function before may lead here.
    fn begin_function(&mut self, pc: usize) -> Result<(), Refused> {
        if self.flow.falls {
            return Err(self.refuse(pc.saturating_sub(1), RejectionKind::FallsOffEnd));
        }
        if self.flow.farthest >= pc && pc > 0 {
            return Err(self.refuse(self.flow.from, RejectionKind::OutOfFunction));
        }
        // Only calls lead here.
        self.alive = pc == 0;
        Ok(())
    }

    /// Behind the last insn.
    pub(super) fn end(&self) -> Result<(), Refused> {
        if self.flow.falls {
            let last = self.program.len().saturating_sub(1);
            return Err(self.refuse(last, RejectionKind::FallsOffEnd));
        }
        Ok(())
    }

    /// Adds flags to a slot; those that it had.
    fn mark(&mut self, pc: usize, flags: u8) -> u8 {
        let Some(note) = self.notes.get_mut(pc) else { return 0 };
        let had = note.flags;
        note.flags |= flags;
        had
    }
}

/// A slot that nothing is known of but that the program starts there.
pub(super) fn begin(notes: &mut [Note]) {
    notes.fill(Note::default());
    if let Some(first) = notes.first_mut() {
        first.flags = flags::FUNCTION | flags::REACHED;
    }
}
