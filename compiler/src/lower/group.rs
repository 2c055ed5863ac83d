//! The body that finishes a group: `having`, then the record.

use std::collections::HashMap;

use kernel_vm::abi::Verdict;

use super::{Lower, Stage, Unknown};
use crate::hir::ExprId;
use crate::lir::Op;
use crate::plan::Plan;

/// Where the value of an expression stands in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// Bytes from the group's start.
    pub(super) offset: u32,
    /// Its bit in the bitmap of missing cells; a key is never missing.
    pub(super) bit: Option<u32>,
}

/// The expressions whose values stand in what a body runs on.
pub(super) fn leaves(plan: &Plan, stage: Stage) -> HashMap<ExprId, Leaf> {
    let mut leaves = HashMap::new();
    if let (Stage::Groups, Some(group)) = (stage, &plan.group) {
        for key in &group.keys {
            leaves.insert(key.expr, Leaf { offset: key.offset, bit: None });
        }
        for (cell, bit) in group.cells.iter().zip(0..) {
            leaves.insert(cell.leaf, Leaf { offset: cell.offset, bit: Some(bit) });
        }
    }
    leaves
}

impl Lower<'_> {
    /// The body that is run on each group.
    pub(super) fn group(&mut self) {
        self.entry();
        let [pass, unreadable, matched] = [self.f.place(), self.f.place(), self.f.place()];
        let unknown = Unknown { unreadable, warming: unreadable };
        if let Some(having) = self.filter.group.as_ref().and_then(|group| group.having) {
            self.cond(having, true, matched, pass, unknown);
        }
        self.bind(matched);
        self.reorders = false;
        self.emit(unknown);
        self.f.push(Op::Exit(Verdict::Match));
        for (place, verdict) in [(pass, Verdict::Pass), (unreadable, Verdict::Unreadable)] {
            self.f.bind(place);
            self.f.push(Op::Exit(verdict));
        }
    }
}
