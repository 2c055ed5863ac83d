//! A row's body, the same in every program that has it: how it reads columns and ends.
//!
//! What stands around it, the walk and the start and end of a sweep, is [`sweep`](super::sweep)'s and
//! [`classic`](super::classic)'s.
//!
//! **Invariant**: registers are given out once; programs differ in what is asked of the hooks.

use kernel_vm::abi::Verdict;
use kernel_vm::schema::Table;

use super::columns::{Columns, TASK};
use super::sweep::{Names, count_verdict, emit, load_now};
use crate::asm::{Asm, Cond, FP, Label, R0, R1, R2, R3, R4, Reg, Size};
use crate::lir::{Function, Op};
use crate::lower::Body;
use crate::plan::Plan;
use crate::regalloc::{Allocation, allocate};
use crate::target::bpf::helper::{self, stack_address};
use crate::target::encode::{Hooks, encode, encode_first};

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`
const STORAGE_CREATE: i64 = 1;

/// What is run for each row, the same however a program is run.
pub(super) struct Row<'a> {
    pub(super) table: Table,
    pub(super) plan: &'a Plan,
    pub(super) body: &'a Body,
    pub(super) allocation: Allocation,
}

impl<'a> Row<'a> {
    pub(super) fn new(table: Table, plan: &'a Plan, body: &'a Body) -> Self {
        let allocation = allocate(&body.function, body.frame, |op| loses(table, op));
        Self { table, plan, body, allocation }
    }

    /// Bytes of stack that a program needs.
    pub(super) fn frame_bytes(&self) -> u32 {
        self.allocation.frame_bytes()
    }

    /// How its code reads columns and ends.
    pub(super) fn hooks<'b>(&'b self, columns: &'b Columns, names: &'b Names<'b>) -> BpfHooks<'b> {
        let (table, plan, record) = (self.table, self.plan, self.body.record);
        BpfHooks { table, plan, columns, names, record, next: None }
    }

    /// How many of its first operations can be [tried](Self::encode_first), if any.
    pub(super) fn deciding(&self) -> Option<usize> {
        deciding(&self.body.function)
    }

    /// The code of so many first operations, which look whether the row passes: goes to `passed`
    /// then, or else to `open`.
    pub(super) fn encode_first(
        &self,
        ops: usize,
        asm: &mut Asm,
        hooks: &mut BpfHooks<'_>,
        [passed, open]: [Label; 2],
    ) {
        let ways = [passed, open];
        encode_first(&self.body.function, ops, &self.allocation, asm, hooks, ways);
    }

    /// Its code.
    pub(super) fn encode(&self, asm: &mut Asm, hooks: &mut BpfHooks<'_>) {
        encode(&self.body.function, &self.allocation, asm, hooks);
    }
}

/// Most operations of a row that are encoded several times.
const TRIED_OPS_MAX: usize = 24;

/// How many of a row's first operations decide whether it passes, if these are few and do nothing
/// else: none if there is no such beginning.
fn deciding(function: &Function) -> Option<usize> {
    let passes = |op: &Op| match op.target() {
        Some(to) if matches!(op, Op::Branch { .. } | Op::Jump(_)) => {
            function.ends_at(to) == Some(Verdict::Pass)
        }
        Some(_) | None => false,
    };
    let ops = function.ops.iter().rposition(passes)? + 1;
    let only_looks = |op: &Op| {
        matches!(
            op,
            Op::Mark(_)
                | Op::Bind(_)
                | Op::Jump(_)
                | Op::Meet(_)
                | Op::Branch { .. }
                | Op::Const { .. }
                | Op::Mov { .. }
                | Op::Alu { .. }
                | Op::Neg { .. }
                | Op::Load { .. }
                | Op::Store { .. }
                | Op::Now { .. }
                | Op::Column { .. }
                | Op::Bytes { .. }
        )
    };
    let first = function.ops.get(..ops)?;
    (ops <= TRIED_OPS_MAX && first.iter().all(only_looks)).then_some(ops)
}

/// Whether the code of an operation loses registers.
fn loses(table: Table, op: &Op) -> bool {
    if let Op::Column { column, .. } = op {
        return Columns::clobbers(table, column.0);
    }
    matches!(op, Op::Bytes { .. } | Op::State { .. } | Op::Call { .. } | Op::Emit)
}

/// How the row body reads columns and ends.
#[derive(Clone)]
pub(super) struct BpfHooks<'a> {
    pub(super) table: Table,
    pub(super) plan: &'a Plan,
    pub(super) columns: &'a Columns,
    pub(super) names: &'a Names<'a>,
    pub(super) record: i32,
    /// Where the next row is; set once the row's code is inside its loop.
    pub(super) next: Option<Label>,
}

impl Hooks for BpfHooks<'_> {
    fn loses(&self, op: &Op) -> bool {
        loses(self.table, op)
    }

    fn special(&mut self, asm: &mut Asm, op: &Op, dst: Reg, to: Option<Label>) {
        let target = || to.expect("the operation has a target");
        match op {
            Op::Now { .. } => load_now(asm, self.names, dst),
            Op::Column { column, .. } => self.columns.load(asm, column.0, dst, to),
            Op::Bytes { column, frame, .. } => {
                stack_address(asm, R1, *frame);
                self.columns.load(asm, column.0, R1, to);
            }
            Op::State { .. } => {
                asm.load_map(R1, self.names.state);
                asm.load(Size::Dw, R2, FP, TASK);
                asm.load_imm(R3, 0);
                asm.load_imm(R4, STORAGE_CREATE);
                asm.call_helper(helper::TASK_STORAGE_GET);
                asm.jump_if_imm(Cond::Eq, R0, 0, target());
                asm.mov(dst, R0);
            }
            Op::Emit => match self.names.groups {
                Some(groups) => groups.merge(asm, self.record, self.names.stats),
                None => emit(asm, self.names, self.plan, self.record),
            },
            Op::Exit(verdict) => {
                // A row that takes part in a group does not match by itself.
                if *verdict != Verdict::Match || self.names.groups.is_none() {
                    count_verdict(asm, self.names.stats, *verdict);
                }
                asm.jump(self.next.expect("a row is inside the loop"));
            }
            Op::Mark(_)
            | Op::Bind(_)
            | Op::Jump(_)
            | Op::Meet(_)
            | Op::Branch { .. }
            | Op::Entry(_)
            | Op::Const { .. }
            | Op::Mov { .. }
            | Op::Alu { .. }
            | Op::Neg { .. }
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Call { .. }
            | Op::Return(_) => unreachable!("{op:?} is encoded for every target alike"),
        }
    }

    fn compares_copies(&self) -> bool {
        true
    }

    fn meets(&self) -> bool {
        true
    }

    fn scratch(&mut self, asm: &mut Asm, dst: Reg, offset: i32) {
        asm.load_data(dst, ".bss", self.names.scratch + offset as u32);
    }

    fn param(&mut self, asm: &mut Asm, dst: Reg, offset: i32) {
        let offset = self.names.params + offset as u32;
        asm.load_data(dst, ".rodata", offset);
        asm.load(Size::Dw, dst, dst, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::deciding;
    use crate::lir::Op;
    use crate::lower::{Host, Stage, lower};
    use crate::plan::Plan;

    /// How many columns decide; none if nothing does that can be tried.
    fn columns(rest: &str) -> Option<usize> {
        let source = format!("filter f on thread {{ {rest} emit tid, comm, policy }}");
        let analysis = crate::parse_and_check(&source);
        assert!(!analysis.has_errors(), "{:?}", analysis.diagnostics);
        let filter = crate::simplify::simplify(&analysis.filters[0]);
        let body = lower(&filter, &Plan::new(&filter), Host::Bpf, Stage::Rows, 0);
        let first = body.function.ops.get(..deciding(&body.function)?)?;
        Some(first.iter().filter(|op| matches!(op, Op::Column { .. } | Op::Bytes { .. })).count())
    }

    #[test]
    fn what_decides_is_tried_and_what_is_emitted_is_not() {
        assert_eq!(columns("where cpu_time > 1d"), Some(1));
        assert_eq!(columns("where nice < 0 and rt_priority > 5"), Some(2));
        assert_eq!(columns("where nice < 0 or (rt_priority > 5 and uid == 3)"), Some(3));
        assert_eq!(columns("where comm == \"x\""), Some(1));
    }

    #[test]
    fn nothing_is_tried_where_all_match_or_something_is_kept() {
        assert_eq!(columns(""), None);
        assert_eq!(columns("where rate(cpu_time) > 5%"), None);
    }
}
