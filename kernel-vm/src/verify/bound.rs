//! The bound on insns of a run: the longest way, found from the end.

use super::scan::{flags, target};
use super::{Note, RUN_INSNS_MAX, Rejection, RejectionKind};
use crate::helper::Helper;
use crate::isa::{Callee, Insn, RawInsn, decode};

/// Most insns that a run executes.
pub(super) fn bound(program: &[RawInsn], notes: &mut [Note]) -> Result<u64, Rejection> {
    for pc in (0..program.len()).rev() {
        if notes.get(pc).is_none_or(|note| note.flags & flags::SECOND != 0) {
            continue;
        }
        let Ok(insn) = decode(program.get(pc..).unwrap_or(&[])) else { continue };
        let bound = at(pc, &insn, notes);
        if bound > RUN_INSNS_MAX {
            return Err(Rejection { pc, kind: RejectionKind::TooLong { insns: bound } });
        }
        if let Some(note) = notes.get_mut(pc) {
            note.bound = bound;
        }
    }
    Ok(notes.first().map_or(0, |note| note.bound))
}

fn at(pc: usize, insn: &Insn, notes: &[Note]) -> u64 {
    let of = |pc: usize| notes.get(pc).map_or(0, |note| note.bound);
    let next = of(pc.saturating_add(insn.slots().count()));
    let target = target(pc, insn).map_or(0, |(target, _)| of(target));
    let rest = match insn {
        Insn::Exit => 0,
        Insn::Jump { .. } => target,
        Insn::JumpIf { .. } => mutant!(BoundTakesShorter, next.max(target), next.min(target)),
        Insn::Call(Callee::Local(_)) => {
            mutant!(BoundForgetsCalls, next.saturating_add(target), next)
        }
        Insn::Call(Callee::Helper(id)) => {
            let note = notes.get(pc).copied().unwrap_or_default();
            let once = usize::try_from(note.callee).map_or(0, of).saturating_add(1);
            let repeated = if note.callee == 0 {
                0
            } else {
                mutant!(BoundForgetsRounds, note.count.saturating_mul(once), once)
            };
            let cost = Helper::from_id(*id).map_or(0, Helper::cost);
            next.saturating_add(cost).saturating_add(repeated)
        }
        Insn::Call(Callee::Kfunc { .. })
        | Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::End { .. }
        | Insn::LoadWide { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. } => next,
    };
    rest.saturating_add(1)
}
