//! The first look: insns, targets, functions, reachability. Nothing about values.

use super::{INSNS_MAX, Note, Rejection, RejectionKind, Scratch};
use crate::isa::{Callee, Insn, RawInsn, Wide, decode};

/// Marks of a slot.
pub(super) mod flags {
    /// A function starts here.
    pub(in crate::verify) const FUNCTION: u8 = 1;
    /// The second slot of an `lddw`.
    pub(in crate::verify) const SECOND: u8 = 2;
    /// Some way through the program leads here.
    pub(in crate::verify) const REACHED: u8 = 4;
}

/// Where an insn that refers to another slot points to.
pub(super) fn target(pc: usize, insn: &Insn) -> Option<(usize, i64)> {
    let off = match *insn {
        Insn::Jump { off, .. } | Insn::Call(Callee::Local(off)) => i64::from(off),
        Insn::JumpIf { off, .. } => i64::from(off),
        // Counted from the second slot, as for the kernel's BPF_PSEUDO_FUNC.
        Insn::LoadWide { value: Wide::Function(off), .. } => i64::from(off),
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::End { .. }
        | Insn::LoadWide { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::Call(Callee::Helper(_) | Callee::Kfunc { .. })
        | Insn::Exit => return None,
    };
    let next = i64::try_from(pc).ok()?.checked_add(1)?;
    let target = next.checked_add(off)?;
    Some((usize::try_from(target).unwrap_or(usize::MAX), off))
}

fn is_function_reference(insn: &Insn) -> bool {
    matches!(insn, Insn::Call(Callee::Local(_)) | Insn::LoadWide { value: Wide::Function(_), .. })
}

/// Refuses programs that are too long, and memory that is too short for them.
pub(super) fn check_size(program: &[RawInsn], scratch: &Scratch<'_>) -> Result<(), Rejection> {
    let reject = |kind| Err(Rejection { pc: 0, kind });
    if program.is_empty() || program.len() > INSNS_MAX {
        return reject(RejectionKind::BadLength { slots: program.len() });
    }
    let needed = (Scratch::notes_needed(program.len()), Scratch::states_needed(program.len()));
    if scratch.notes.len() < needed.0 || scratch.states.len() < needed.1 {
        return reject(RejectionKind::ScratchTooSmall);
    }
    Ok(())
}

/// Fills the notes, one for each slot, and refuses what cannot be right whatever the values
/// are.
pub(super) fn scan(program: &[RawInsn], notes: &mut [Note]) -> Result<(), Rejection> {
    notes.fill(Note::default());
    mark(notes, 0, flags::FUNCTION | flags::REACHED);
    walk(program, |pc, insn| {
        if insn.slots().count() == 2 {
            mark(notes, pc.saturating_add(1), flags::SECOND);
        }
        if let Some((target, _)) = target(pc, insn) {
            if target <= pc {
                return Err(RejectionKind::Backward);
            }
            if target >= program.len() {
                return Err(RejectionKind::JumpOutside);
            }
            if is_function_reference(insn) {
                mark(notes, target, flags::FUNCTION);
            }
        }
        Ok(())
    })?;
    reach(program, notes)
}

/// Follows every edge once; all go forward, so one walk suffices.
fn reach(program: &[RawInsn], notes: &mut [Note]) -> Result<(), Rejection> {
    let mut function_end = 0;
    walk(program, |pc, insn| {
        let flags = notes.get(pc).map_or(0, |note| note.flags);
        if flags & flags::FUNCTION != 0 {
            let rest = notes.get(pc.saturating_add(1)..).unwrap_or(&[]);
            let length = rest.iter().take_while(|note| note.flags & flags::FUNCTION == 0).count();
            function_end = pc.saturating_add(1).saturating_add(length);
        }
        if flags & flags::REACHED == 0 {
            return Err(RejectionKind::NeverReached);
        }
        if let Some((target, _)) = target(pc, insn) {
            if notes.get(target).is_some_and(|note| note.flags & flags::SECOND != 0) {
                return Err(RejectionKind::IntoSecondSlot);
            }
            if !is_function_reference(insn) && target >= function_end {
                return Err(RejectionKind::OutOfFunction);
            }
            mark(notes, target, flags::REACHED);
        }
        if !matches!(insn, Insn::Exit | Insn::Jump { .. }) {
            let next = pc.saturating_add(insn.slots().count());
            if next >= function_end {
                return Err(RejectionKind::FallsOffEnd);
            }
            mark(notes, next, flags::REACHED);
        }
        Ok(())
    })
}

fn mark(notes: &mut [Note], pc: usize, flag: u8) {
    if let Some(note) = notes.get_mut(pc) {
        note.flags |= flag;
    }
}

/// Visits every insn in order.
fn walk(
    program: &[RawInsn],
    mut visit: impl FnMut(usize, &Insn) -> Result<(), RejectionKind>,
) -> Result<(), Rejection> {
    let mut pc = 0usize;
    while let Some(rest) = program.get(pc..).filter(|rest| !rest.is_empty()) {
        let insn =
            decode(rest).map_err(|error| Rejection { pc, kind: RejectionKind::Decode(error) })?;
        visit(pc, &insn).map_err(|kind| Rejection { pc, kind })?;
        pc = pc.saturating_add(insn.slots().count());
    }
    Ok(())
}
