//! The bound on insns of a run: the longest way, found from the end.

use super::flow::flags;
use super::{Note, RUN_INSNS_MAX, Rejection, RejectionKind};

/// Most insns that a run executes, from what was noted of each insn.
pub(super) fn bound(notes: &mut [Note]) -> Result<u64, Rejection> {
    for pc in (0..notes.len()).rev() {
        let Some(note) = notes.get(pc).filter(|note| note.flags & flags::SECOND == 0) else {
            continue;
        };
        let bound = note.bound.saturating_add(rest(pc, note, notes));
        if bound > RUN_INSNS_MAX {
            return Err(Rejection::at(pc, RejectionKind::TooLong { insns: bound }));
        }
        if let Some(note) = notes.get_mut(pc) {
            note.bound = bound;
        }
    }
    Ok(notes.first().map_or(0, |note| note.bound))
}

/// Most insns that are executed because of the one at `pc`, and after it.
fn rest(pc: usize, note: &Note, notes: &[Note]) -> u64 {
    let at = |pc: usize| notes.get(pc).copied().unwrap_or_default();
    let mut next = Note::default();
    if note.flags & flags::FALLS != 0 {
        next = at(pc.wrapping_add(1));
        if next.flags & flags::SECOND != 0 {
            next = at(pc.wrapping_add(2));
        }
    }
    let (next, target) = (next.bound, at(note.callee as usize).bound);
    if note.flags & flags::JUMPS != 0 {
        return mutant!(BoundTakesShorter, next.max(target), next.min(target));
    }
    let called = if note.flags & flags::LOOPS != 0 {
        let once = target.saturating_add(1);
        mutant!(BoundForgetsRounds, u64::from(note.count).saturating_mul(once), once)
    } else if note.callee != 0 {
        mutant!(BoundForgetsCalls, target, 0)
    } else {
        0
    };
    next.saturating_add(called)
}
