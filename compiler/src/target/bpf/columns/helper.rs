//! Calls of helpers and what their arguments take.

use super::Columns;
use crate::asm::{AluOp, Asm, Cond, FP, Label, R0, R1, R2, R3, R4, Reg, Size};

/// `bpf_map_lookup_elem(map, key)`
pub(super) const MAP_LOOKUP: i32 = 1;
/// `bpf_map_delete_elem(map, key)`
pub(super) const MAP_DELETE: i32 = 3;
/// `bpf_map_update_elem(map, key, value, flags)`
pub(super) const MAP_UPDATE: i32 = 2;
/// `BPF_NOEXIST`
pub(super) const UPDATE_IF_ABSENT: i64 = 1;
/// `bpf_probe_read_kernel(to, bytes, from)`
pub(super) const PROBE_READ_KERNEL: i32 = 113;
/// `bpf_for_each_map_elem(map, callback, context, flags)`
pub(super) const FOR_EACH_MAP_ELEM: i32 = 164;
/// `bpf_loop(count, callback, context, flags)`
const LOOP: i32 = 181;
/// `bpf_map_lookup_percpu_elem(map, key, cpu)`
pub(super) const MAP_LOOKUP_PERCPU: i32 = 195;

/// `dst =` the address `offset` bytes from the frame pointer.
pub(super) fn stack_address(asm: &mut Asm, dst: Reg, offset: i16) {
    asm.mov(dst, FP);
    asm.alu_imm(AluOp::Add, dst, offset.into());
}

/// Calls `callback(index)` for each index below `count`, until it returns 1.
pub(super) fn call_loop(asm: &mut Asm, count: i64, callback: &str) {
    asm.load_imm(R1, count);
    call_loop_of_r1(asm, callback);
}

/// Calls `callback(index)` for each index below `r1`, until it returns 1.
pub(super) fn call_loop_of_r1(asm: &mut Asm, callback: &str) {
    asm.load_subprog(R2, callback);
    asm.load_imm(R3, 0);
    asm.load_imm(R4, 0);
    asm.call_helper(LOOP);
}

/// A loop over the numbers below a constant, by the kernel's iterator or, in classic programs,
/// by a number that its verifier follows: so the latter is for few and short rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    /// Where on the stack 8 bytes are left alone meanwhile.
    at: i16,
    count: i32,
    followed: bool,
}

impl Rounds {
    pub(super) fn new(columns: &Columns, at: i16, count: i32) -> Self {
        Self { at, count, followed: columns.is_classic() }
    }

    /// Begins. Loses `r0` to `r5`.
    pub(super) fn start(self, asm: &mut Asm) {
        if self.followed {
            // By way of a register: old verifiers do not know a number that is stored at once.
            asm.load_imm(R1, 0);
            return asm.store(Size::Dw, FP, self.at, R1);
        }
        stack_address(asm, R1, self.at);
        asm.load_imm(R2, 0);
        asm.load_imm(R3, self.count.into());
        asm.call_kfunc("bpf_iter_num_new");
    }

    /// `r1 =` the next number, or goes to `end`. Loses `r0` to `r5`.
    pub(super) fn next(self, asm: &mut Asm, end: Label) {
        if self.followed {
            asm.load(Size::Dw, R1, FP, self.at);
            asm.jump_if_imm(Cond::Ge, R1, self.count, end);
            asm.mov(R2, R1);
            increment(asm, R2);
            return asm.store(Size::Dw, FP, self.at, R2);
        }
        stack_address(asm, R1, self.at);
        asm.call_kfunc("bpf_iter_num_next");
        asm.jump_if_imm(Cond::Eq, R0, 0, end);
        asm.load(Size::W, R1, R0, 0);
    }

    /// Ends, in any case. Loses `r0` to `r5`.
    pub(super) fn end(self, asm: &mut Asm) {
        if !self.followed {
            stack_address(asm, R1, self.at);
            asm.call_kfunc("bpf_iter_num_destroy");
        }
    }
}

/// `dst += 1`
pub(super) fn increment(asm: &mut Asm, dst: Reg) {
    asm.alu_imm(AluOp::Add, dst, 1);
}
