//! `group by` in the kernel: a hash map of groups, filled row by row, read at the end.
//!
//! The map's value is the group as `plan` lays it out. A second function, called for each
//! entry once all rows are in, tests `having`, hands the record over and removes the entry.
//!
//! **Invariant**: the maps are empty between sweeps; what finds no room in them is counted.

use kernel_vm::abi::{ROW_HEADER_BYTES, ROW_MISSING_OFFSET};
use kernel_vm::object::{GROUPS_MAX, Merge};

use super::sweep::{self, Names, Way};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, Reg, Size};
use crate::lir::Op;
use crate::lower::Body;
use crate::object::{DataType, Map, MapKind, Subprogram};
use crate::plan::{Cell, GroupPlan, Plan};
use crate::regalloc::allocate;
use crate::target::bpf::helper::{self, stack_address};
use crate::target::encode::{Hooks, encode};

/// `BPF_NOEXIST`
const IF_NEW: i64 = 1;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
const EEXIST: i32 = 17;
/// Where the function of a group keeps the buffer of the file that is read: above its frame.
pub(super) const RESERVED: i16 = -8;
const MISSING: i16 = ROW_MISSING_OFFSET as i16;
const KEY: i32 = ROW_HEADER_BYTES as i32;

/// The maps and functions of a filter that groups.
#[derive(Clone, Debug)]
pub(super) struct Groups<'a> {
    plan: &'a GroupPlan,
    filter: &'a str,
    /// Where the keys of distinct values are put together, from the frame pointer.
    buffer: i32,
}

impl<'a> Groups<'a> {
    /// Its buffer takes [`Groups::buffer_bytes`] below `top`.
    pub(super) fn new(filter: &'a str, plan: &'a GroupPlan, top: i32) -> Self {
        Self { plan, filter, buffer: top - Self::buffer_bytes(plan) }
    }

    /// Bytes of stack that merging needs.
    pub(super) fn buffer_bytes(plan: &GroupPlan) -> i32 {
        let largest = distinct(plan).map(|(_, cell)| cell.ty.size()).max();
        largest.map_or(0, |bytes| plan.key_size as i32 + bytes as i32)
    }

    fn groups_map(&self) -> String {
        format!("groups_{}", self.filter)
    }

    fn distinct_map(&self, bit: usize) -> String {
        format!("distinct{bit}_{}", self.filter)
    }

    /// Each way hands records over in its own way.
    fn finish_symbol(&self, way: Way) -> String {
        let what = match way {
            Way::Call | Way::Classic => "finish",
            Way::Read | Way::ClassicRead => "present",
            Way::Tick => "conclude",
        };
        format!("{what}_{}", self.filter)
    }

    fn forget_symbol(&self, bit: usize) -> String {
        format!("forget{bit}_{}", self.filter)
    }

    pub(super) fn maps(&self) -> Vec<Map> {
        let hash = |name, key_bytes: u32, value_bytes: u32| Map {
            name,
            kind: MapKind::Hash,
            flags: NO_PREALLOC,
            max_entries: GROUPS_MAX,
            key: Some(DataType::words(key_bytes / 8)),
            value: Some(DataType::words(value_bytes / 8)),
        };
        let mut maps = vec![hash(self.groups_map(), self.plan.key_size, self.plan.size)];
        for (bit, cell) in distinct(self.plan) {
            let key_bytes = self.plan.key_size + cell.ty.size() as u32;
            maps.push(hash(self.distinct_map(bit), key_bytes, 8));
        }
        maps
    }

    /// Code that adds the group of one at `row` on the stack to its group.
    pub(super) fn merge(&self, asm: &mut Asm, row: i32, stats: u32) {
        for (bit, cell) in distinct(self.plan) {
            self.count_distinct(asm, bit, cell, row, stats);
        }
        let (known, done) = (asm.label(), asm.label());
        asm.load_map(R1, &self.groups_map());
        stack_address(asm, R2, row + KEY);
        asm.call_helper(helper::MAP_LOOKUP);
        asm.jump_if_imm(Cond::Ne, R0, 0, known);
        asm.load_map(R1, &self.groups_map());
        stack_address(asm, R2, row + KEY);
        stack_address(asm, R3, row);
        asm.load_imm(R4, IF_NEW);
        asm.call_helper(helper::MAP_UPDATE);
        asm.jump_if_imm(Cond::Eq, R0, 0, done);
        sweep::count_dropped(asm, stats);
        asm.jump(done);
        asm.bind(known);
        for (bit, cell) in self.plan.cells.iter().enumerate() {
            merge_cell(asm, bit, cell, row);
        }
        asm.bind(done);
    }

    /// The cell of a value that its group has not had becomes 1, that of another 0.
    fn count_distinct(&self, asm: &mut Asm, bit: usize, cell: &Cell, row: i32, stats: u32) {
        let (at, words) = (row + cell.offset as i32, cell.ty.size() as i32 / 8);
        let key_words = self.plan.key_size as i32 / 8;
        for word in 0..key_words + words {
            let from =
                if word < key_words { row + KEY + 8 * word } else { at + 8 * (word - key_words) };
            asm.load(Size::Dw, R1, FP, from as i16);
            asm.store(Size::Dw, FP, (self.buffer + 8 * word) as i16, R1);
        }
        let (new, known) = (asm.label(), asm.label());
        asm.load_map(R1, &self.distinct_map(bit));
        stack_address(asm, R2, self.buffer);
        asm.mov(R3, R2);
        asm.load_imm(R4, IF_NEW);
        asm.call_helper(helper::MAP_UPDATE);
        asm.store_imm(Size::Dw, FP, at as i16, 1);
        asm.jump_if_imm(Cond::Eq, R0, 0, new);
        asm.store_imm(Size::Dw, FP, at as i16, 0);
        asm.jump_if_imm(Cond::Eq, R0, -EEXIST, known);
        sweep::count_dropped(asm, stats);
        asm.bind(new);
        asm.bind(known);
    }

    /// Code for the end of a sweep: each group becomes a record or nothing.
    pub(super) fn finish(&self, asm: &mut Asm, names: &Names<'_>) {
        // The function that reads hands records to the file's buffer, which it finds there.
        let reads = matches!(names.way, Way::Read | Way::ClassicRead);
        let context = reads.then_some(names.output);
        for_each(asm, &self.groups_map(), &self.finish_symbol(names.way), context);
        for (bit, _) in distinct(self.plan) {
            for_each(asm, &self.distinct_map(bit), &self.forget_symbol(bit), None);
        }
    }

    /// The function that [`Groups::finish`] has called for each group, and the bytes of
    /// stack that it needs.
    pub(super) fn finisher(
        &self,
        plan: &Plan,
        body: &Body,
        names: &Names<'_>,
    ) -> Result<(Subprogram, u32), JumpTooFar> {
        let mut hooks = GroupHooks { groups: self, plan, names, record: body.record };
        let allocation = allocate(&body.function, body.frame, |op| hooks.loses(op));
        let mut asm = Asm::new();
        if allocation.fits() {
            asm.mov(R6, R3);
            if names.way == Way::Read {
                asm.load(Size::Dw, R1, R4, 0);
                asm.store(Size::Dw, FP, names.output, R1);
            }
            encode(&body.function, &allocation, &mut asm, &mut hooks);
        }
        let function = Subprogram { name: self.finish_symbol(names.way), code: asm.finish()? };
        Ok((function, allocation.frame_bytes()))
    }

    /// The functions that it has called for each distinct value.
    pub(super) fn forgetters(&self) -> Result<Vec<Subprogram>, JumpTooFar> {
        let mut all = Vec::new();
        for (bit, _) in distinct(self.plan) {
            let mut asm = Asm::new();
            asm.load_map(R1, &self.distinct_map(bit));
            asm.call_helper(helper::MAP_DELETE);
            asm.load_imm(R0, 0);
            asm.exit();
            all.push(Subprogram { name: self.forget_symbol(bit), code: asm.finish()? });
        }
        Ok(all)
    }
}

fn distinct(plan: &GroupPlan) -> impl Iterator<Item = (usize, &Cell)> {
    plan.cells.iter().enumerate().filter(|(_, cell)| cell.merge == Merge::Distinct)
}

/// Calls `function` for each entry, with the address of what is kept on the stack at `context`.
fn for_each(asm: &mut Asm, map: &str, function: &str, context: Option<i16>) {
    asm.load_map(R1, map);
    asm.load_subprog(R2, function);
    match context {
        Some(offset) => stack_address(asm, R3, offset),
        None => asm.load_imm(R3, 0),
    }
    asm.load_imm(R4, 0);
    asm.call_helper(helper::FOR_EACH_MAP_ELEM);
}

/// Adds the cell of the row on the stack to that of the group at `r0`.
fn merge_cell(asm: &mut Asm, bit: usize, cell: &Cell, row: i32) {
    let from = (row + cell.offset as i32) as i16;
    let to = cell.offset as i16;
    let done = asm.label();
    // r1: whether the row's is missing, r2: the group's bitmap.
    asm.load(Size::Dw, R1, FP, row as i16 + MISSING);
    asm.load(Size::Dw, R2, R0, MISSING);
    if bit > 0 {
        asm.alu_imm(AluOp::Rsh, R1, bit as i32);
    }
    asm.alu_imm(AluOp::And, R1, 1);
    if cell.merge == Merge::First {
        return first(asm, bit, cell, row, done);
    }
    if bit > 0 {
        asm.alu_imm(AluOp::Lsh, R1, bit as i32);
    }
    asm.alu(AluOp::Or, R2, R1);
    asm.store(Size::Dw, R0, MISSING, R2);
    asm.load(Size::Dw, R1, FP, from);
    asm.load(Size::Dw, R2, R0, to);
    match cell.merge {
        Merge::Max => asm.jump_if(Cond::Sle, R1, R2, done),
        Merge::Min => asm.jump_if(Cond::Sge, R1, R2, done),
        Merge::Sum | Merge::Distinct => saturating_add(asm),
        Merge::First => {}
    }
    asm.store(Size::Dw, R0, to, R1);
    asm.bind(done);
}

/// `r1 += r2`, saturating.
fn saturating_add(asm: &mut Asm) {
    let fine = asm.label();
    asm.mov(R3, R1);
    asm.alu(AluOp::Add, R3, R2);
    asm.mov(R4, R3);
    asm.alu(AluOp::Xor, R4, R1);
    asm.mov(R5, R3);
    asm.alu(AluOp::Xor, R5, R2);
    asm.alu(AluOp::And, R4, R5);
    asm.jump_if_imm(Cond::Sge, R4, 0, fine);
    asm.mov(R3, R1);
    asm.alu_imm(AluOp::Arsh, R3, 63);
    asm.load_imm(R4, i64::MAX);
    asm.alu(AluOp::Xor, R3, R4);
    asm.bind(fine);
    asm.mov(R1, R3);
}

/// Takes the row's value if the group has none yet; `r1` and `r2` as [`merge_cell`] left
/// them.
fn first(asm: &mut Asm, bit: usize, cell: &Cell, row: i32, done: Label) {
    asm.jump_if_imm(Cond::Ne, R1, 0, done);
    asm.load_imm(R3, (1_u64 << bit) as i64);
    asm.mov(R4, R2);
    asm.alu(AluOp::And, R4, R3);
    asm.jump_if_imm(Cond::Eq, R4, 0, done);
    asm.alu(AluOp::Xor, R2, R3);
    asm.store(Size::Dw, R0, MISSING, R2);
    for word in 0..cell.ty.size() as i32 / 8 {
        let offset = cell.offset as i32 + 8 * word;
        asm.load(Size::Dw, R1, FP, (row + offset) as i16);
        asm.store(Size::Dw, R0, offset as i16, R1);
    }
    asm.bind(done);
}

struct GroupHooks<'a> {
    groups: &'a Groups<'a>,
    plan: &'a Plan,
    names: &'a Names<'a>,
    record: i32,
}

impl Hooks for GroupHooks<'_> {
    fn loses(&self, op: &Op) -> bool {
        matches!(op, Op::Call { .. } | Op::Emit)
    }

    fn special(&mut self, asm: &mut Asm, op: &Op, dst: Reg, _to: Option<Label>) {
        if let Op::Now { .. } = op {
            return sweep::load_now(asm, self.names, dst);
        }
        if *op == Op::Emit {
            return sweep::emit(asm, self.names, self.plan, self.record);
        }
        let Op::Exit(verdict) = op else { unreachable!("a group has no {op:?}") };
        sweep::count_verdict(asm, self.names.stats, *verdict);
        asm.load_map(R1, &self.groups.groups_map());
        asm.mov(R2, R6);
        asm.alu_imm(AluOp::Add, R2, KEY);
        asm.call_helper(helper::MAP_DELETE);
        asm.load_imm(R0, 0);
        asm.exit();
    }

    fn compares_copies(&self) -> bool {
        true
    }

    fn scratch(&mut self, asm: &mut Asm, dst: Reg, offset: i32) {
        asm.load_data(dst, ".bss", self.names.scratch + offset as u32);
    }

    fn param(&mut self, asm: &mut Asm, dst: Reg, offset: i32) {
        asm.load_data(dst, ".rodata", self.names.params + offset as u32);
        asm.load(Size::Dw, dst, dst, 0);
    }
}
