//! From a simplified filter to the LIR of its row body.
//!
//! Demand-driven: a value is computed where the verdict first needs it and kept for every
//! place that this dominates. Histories advance first, as they must see every row; a
//! condition on columns that never change is tested even before them.
//!
//! **Invariant**: an unknown operand makes a comparison false in either polarity, so that
//! the order in which the parts of `where` are tested never changes which rows match.

mod avail;
mod cond;
mod cost;
mod group;
mod history;
mod kept;
mod measure;
mod passed;
mod record;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test singles out what it is about")]
mod tests;
mod text;
mod value;

use std::collections::HashMap;

use kernel_vm::abi::Verdict;

use self::avail::{Avail, Key};
use self::group::Leaf;
use self::history::Past;
use self::record::Output;
use crate::arith::{Range, Val};
use crate::hir::{ExprId, ExprKind, Filter};
use crate::lir::{Base, Cond, Function, Op, Operand, Place, VReg};
use crate::plan::Plan;

/// The target that code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The Linux kernel.
    Bpf,
    /// kernel-vm over rows.
    Vm,
}

/// What code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A row, which becomes a record, or a group of one if the filter groups.
    Rows,
    /// A finished group, which becomes a record if `having` holds.
    Groups,
}

/// The row body of a filter and where its frame ends.
#[derive(Clone, Debug)]
pub struct Body {
    /// The operations.
    pub function: Function,
    /// Where what is handed over stands, from the frame pointer.
    pub record: i32,
    /// Its size in bytes.
    pub record_size: u32,
    /// The lowest offset from the frame pointer in use.
    pub frame: i32,
    /// Bytes of `.bss` that values pass through (`bpf`).
    pub scratch: u32,
}

/// Where to go when a value turns out to be unknown.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    /// As a column or a value of the system could not be read.
    unreadable: Place,
    /// As a history has just begun.
    warming: Place,
}

struct Lower<'a> {
    filter: &'a Filter,
    plan: &'a Plan,
    host: Host,
    f: Function,
    avail: Avail,
    /// How costly each expression is, by id.
    costs: Vec<u32>,
    /// Texts on the frame, by column number.
    buffers: HashMap<u16, i32>,
    past: Past,
    /// Whether the parts of a condition may be tested in another order than written: only
    /// where an unknown part and a false one come to the same.
    reorders: bool,
    params: Option<VReg>,
    record: i32,
    output: Output,
    /// Expressions whose values stand in the row, not those of columns: a group's.
    leaves: HashMap<ExprId, Leaf>,
    frame: i32,
    scratch: u32,
}

/// The body of `filter` for `host`; the frame below `reserved` (negative or 0) is its.
#[must_use]
pub fn lower(filter: &Filter, plan: &Plan, host: Host, stage: Stage, reserved: i32) -> Body {
    let output = Output::new(plan, stage);
    let record_size = output.size;
    let record = reserved - record_size as i32;
    let mut lower = Lower {
        filter,
        plan,
        host,
        f: Function::default(),
        avail: Avail::default(),
        costs: cost::costs(filter),
        buffers: HashMap::new(),
        past: Past::default(),
        reorders: true,
        params: None,
        record,
        leaves: group::leaves(plan, stage),
        output,
        frame: record,
        scratch: 0,
    };
    match stage {
        Stage::Rows => lower.row(),
        Stage::Groups => lower.group(),
    }
    lower.f.tidy();
    Body { function: lower.f, record, record_size, frame: lower.frame, scratch: lower.scratch }
}

impl Lower<'_> {
    fn row(&mut self) {
        let state = self.entry();
        let [pass, unreadable, warming] = [self.f.place(), self.f.place(), self.f.place()];
        let unknown = Unknown { unreadable, warming };
        let conjuncts = self.conjuncts();
        let (fixed, mut rest): (Vec<_>, Vec<_>) =
            conjuncts.into_iter().partition(|&(id, _)| self.plan.state_size > 0 && self.fixed(id));
        let doubtful = self.f.place();
        let stopped = Unknown { unreadable: doubtful, warming: doubtful };
        for (id, positive) in fixed {
            let next = self.f.place();
            self.cond(id, positive, next, pass, stopped);
            self.bind(next);
        }
        if self.plan.state_size > 0 {
            let state = state.unwrap_or_else(|| self.state(unreadable));
            self.past.state = Some(state);
            self.advance();
        }
        rest.sort_by_key(|&(id, _)| self.costs[id.0 as usize]);
        let matched = self.f.place();
        match self.filter.condition.map(|id| (id, &self.filter.expr(id).kind)) {
            Some((id, ExprKind::Held(_, hold))) => {
                self.mark(id);
                self.held(&rest, *hold, matched, pass, unknown);
            }
            Some(_) | None => {
                self.all(&rest, matched, pass, unknown);
            }
        }
        self.bind(matched);
        self.reorders = false;
        self.emit(unknown);
        self.f.push(Op::Exit(Verdict::Match));
        // Of a row whose fixed columns cannot be read, `for` must not go on counting.
        self.bind(doubtful);
        if let Some(held) = self.plan.held {
            let state = state.unwrap_or_else(|| self.state(unreadable));
            self.f.store(Base::Reg(state), held as i32, 0);
        }
        self.jump(unreadable);
        for (place, verdict) in
            [(pass, Verdict::Pass), (unreadable, Verdict::Unreadable), (warming, Verdict::Warming)]
        {
            self.f.bind(place);
            self.f.push(Op::Exit(verdict));
        }
    }

    /// The registers that the function is called with; the state's, if it is one of them.
    fn entry(&mut self) -> Option<VReg> {
        match self.host {
            Host::Bpf => None,
            Host::Vm => {
                let [_row, state, params] = self.f.entry();
                self.params = Some(params);
                Some(state)
            }
        }
    }

    /// The address of the row's state; goes to `unavailable` if there is no room for it.
    fn state(&mut self, unavailable: Place) -> VReg {
        let dst = self.f.reg();
        self.avail.note(unavailable);
        self.f.push(Op::State { dst, unavailable });
        dst
    }

    /// The condition as a list of which all must hold, each with its polarity.
    fn conjuncts(&self) -> Vec<(ExprId, bool)> {
        let mut found = Vec::new();
        if let Some(root) = self.filter.condition {
            let held = &self.filter.expr(root).kind;
            let inner = if let ExprKind::Held(inner, _) = held { *inner } else { root };
            self.collect(inner, true, true, &mut found);
        }
        found
    }

    /// Whether an expression depends only on what never changes while the row lives.
    fn fixed(&self, id: ExprId) -> bool {
        let kind = &self.filter.expr(id).kind;
        if let ExprKind::Column(column) = kind {
            return column.0.immutable;
        }
        let mut all = !matches!(
            kind,
            ExprKind::History(_)
                | ExprKind::Held(..)
                | ExprKind::Aggregate(..)
                | ExprKind::CountRows
        );
        crate::plan::operands(kind, |operand| all = all && self.fixed(operand));
        all
    }

    fn mark(&mut self, id: ExprId) {
        self.f.push(Op::Mark(self.filter.expr(id).span));
    }

    // The wrappers below keep track of which values are known at each place.

    fn jump(&mut self, to: Place) {
        self.avail.note(to);
        self.avail.unreachable();
        self.f.jump(to);
    }

    fn branch(&mut self, cond: Cond, lhs: VReg, rhs: impl Into<Operand>, to: Place) {
        self.avail.note(to);
        self.f.branch(cond, lhs, rhs, to);
    }

    fn bind(&mut self, place: Place) {
        self.avail.arrive(place);
        self.f.bind(place);
    }

    /// The time of the sweep.
    fn now(&mut self) -> VReg {
        if let Some(val) = self.avail.get(Key::Now) {
            return val.in_reg(&mut self.f);
        }
        let dst = match self.host {
            Host::Bpf => {
                let dst = self.f.reg();
                self.f.push(Op::Now { dst });
                dst
            }
            Host::Vm => self.f.load(Base::Row, kernel_vm::abi::ROW_NOW_OFFSET as i32),
        };
        self.avail.set(Key::Now, Val::reg(dst, Range::NATURAL));
        dst
    }

    /// The 8 bytes at `offset` in the filter's parameters.
    fn param_word(&mut self, offset: u32) -> VReg {
        let base = self.params.map_or(Base::Params, Base::Reg);
        self.f.load(base, offset as i32)
    }
}
