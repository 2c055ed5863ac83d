//! Calls of helpers and what their arguments take.

use crate::asm::{AluOp, Asm, FP, R1, R2, R3, R4, Reg};

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
pub(super) const LOOP: i32 = 181;
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

/// `dst += 1`
pub(super) fn increment(asm: &mut Asm, dst: Reg) {
    asm.alu_imm(AluOp::Add, dst, 1);
}
