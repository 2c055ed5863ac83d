//! Removes code that nothing reaches, which the kernel refuses, and jumps that lead nowhere
//! else than where the code goes anyway.

use super::{CLASS_JMP, CLASS_JMP32, Label, OP_CALL, OP_EXIT, OP_JA, OP_LDDW};
use crate::code::Code;
use std::collections::HashMap;

/// `code` without what is not needed, labels and jumps moved along.
pub(super) fn prune(
    code: &mut Code,
    labels: &mut [Option<usize>],
    jumps: &mut Vec<(usize, Label)>,
) {
    thread(code, labels, jumps);
    let mut reached = reached(code, labels, jumps);
    drop_idle_jumps(code, labels, jumps, &mut reached);
    if reached.iter().all(|&reached| reached) {
        return;
    }
    // Where each slot goes: as many places on as slots before it stay.
    let mut places = Vec::with_capacity(reached.len() + 1);
    let mut place = 0;
    for &stays in &reached {
        places.push(place);
        place += usize::from(stays);
    }
    places.push(place);
    for label in labels.iter_mut().flatten() {
        *label = places[*label];
    }
    jumps.retain(|(pc, _)| reached[*pc]);
    jumps.iter_mut().for_each(|(pc, _)| *pc = places[*pc]);
    code.relocs.retain(|reloc| reached[reloc.pc]);
    code.relocs.iter_mut().for_each(|reloc| reloc.pc = places[reloc.pc]);
    code.lines.iter_mut().for_each(|mark| mark.pc = places[mark.pc]);
    // Marks of what is gone now stand where the next one does.
    code.lines.reverse();
    code.lines.dedup_by_key(|mark| mark.pc);
    code.lines.reverse();
    code.lines.retain(|mark| mark.pc < place);
    let mut stays = reached.iter();
    code.slots.retain(|_| stays.next().copied().unwrap_or(true));
}

/// Lets labels that stand at a jump stand where it leads.
fn thread(code: &Code, labels: &mut [Option<usize>], jumps: &[(usize, Label)]) {
    /// Longer chains are left as they are, and so is a loop of nothing.
    const HOPS_MAX: usize = 8;
    let onward: HashMap<usize, Label> =
        jumps.iter().filter(|(pc, _)| code.slots[*pc].code == OP_JA).copied().collect();
    for _ in 0..HOPS_MAX {
        let before = labels.to_vec();
        for label in labels.iter_mut() {
            if let Some(to) = label.and_then(|place| onward.get(&place)) {
                *label = before[to.0 as usize];
            }
        }
    }
}

/// Takes jumps to the next insn that stays from those that stay, the last of them first.
fn drop_idle_jumps(
    code: &Code,
    labels: &[Option<usize>],
    jumps: &[(usize, Label)],
    stays: &mut [bool],
) {
    let mut forward: Vec<(usize, usize)> = jumps
        .iter()
        .filter(|(pc, _)| code.slots[*pc].code == OP_JA)
        .filter_map(|(pc, label)| Some((*pc, labels[label.0 as usize].filter(|to| to > pc)?)))
        .collect();
    forward.sort_unstable();
    for (pc, to) in forward.into_iter().rev() {
        if !stays[pc + 1..to].contains(&true) {
            stays[pc] = false;
        }
    }
}

fn reached(code: &Code, labels: &[Option<usize>], jumps: &[(usize, Label)]) -> Vec<bool> {
    let mut target = vec![None; code.slots.len()];
    for (pc, label) in jumps {
        target[*pc] = labels[label.0 as usize];
    }
    let mut reached = vec![false; code.slots.len()];
    let mut work = vec![0];
    while let Some(mut pc) = work.pop() {
        while pc < reached.len() && !reached[pc] {
            reached[pc] = true;
            let opcode = code.slots[pc].code;
            let is_jump = matches!(opcode & 0x07, CLASS_JMP | CLASS_JMP32) && opcode != OP_CALL;
            if is_jump {
                work.extend(target[pc]);
            }
            if opcode == OP_JA || opcode == OP_EXIT {
                break;
            }
            if opcode == OP_LDDW {
                pc += 1;
                reached[pc] = true;
            }
            pc += 1;
        }
    }
    reached
}
