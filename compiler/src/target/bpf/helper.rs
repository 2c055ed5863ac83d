//! The kernel's helpers that programs call, and what their arguments take.
//!
//! The numbers are those of `enum bpf_func_id` in `include/uapi/linux/bpf.h`.

use crate::asm::{AluOp, Asm, FP, R1, R2, R3, R4, Reg};

/// `bpf_map_lookup_elem(map, key)`
pub(in crate::target::bpf) const MAP_LOOKUP: i32 = 1;
/// `bpf_map_update_elem(map, key, value, flags)`
pub(in crate::target::bpf) const MAP_UPDATE: i32 = 2;
/// `bpf_map_delete_elem(map, key)`
pub(in crate::target::bpf) const MAP_DELETE: i32 = 3;
/// `bpf_probe_read_kernel(to, bytes, from)`
pub(in crate::target::bpf) const PROBE_READ_KERNEL: i32 = 113;
/// `bpf_probe_read_kernel_str(to, bytes, from)`
pub(in crate::target::bpf) const PROBE_READ_KERNEL_STR: i32 = 115;
/// `bpf_ktime_get_boot_ns()`
pub(in crate::target::bpf) const KTIME_GET_BOOT_NS: i32 = 125;
/// `bpf_seq_write(file, data, bytes)`
pub(in crate::target::bpf) const SEQ_WRITE: i32 = 127;
/// `bpf_ringbuf_output(map, data, bytes, flags)`
pub(in crate::target::bpf) const RINGBUF_OUTPUT: i32 = 130;
/// `bpf_ringbuf_query(map, what)`
pub(in crate::target::bpf) const RINGBUF_QUERY: i32 = 134;
/// `bpf_task_storage_get(map, task, value, flags)`
pub(in crate::target::bpf) const TASK_STORAGE_GET: i32 = 156;
/// `bpf_get_current_task_btf()`
pub(in crate::target::bpf) const CURRENT_TASK: i32 = 158;
/// `bpf_for_each_map_elem(map, callback, context, flags)`
pub(in crate::target::bpf) const FOR_EACH_MAP_ELEM: i32 = 164;
/// `bpf_timer_init(timer, map, flags)`
pub(in crate::target::bpf) const TIMER_INIT: i32 = 169;
/// `bpf_timer_set_callback(timer, callback)`
pub(in crate::target::bpf) const TIMER_SET_CALLBACK: i32 = 170;
/// `bpf_timer_start(timer, nanoseconds, flags)`
pub(in crate::target::bpf) const TIMER_START: i32 = 171;
/// `bpf_timer_cancel(timer)`
pub(in crate::target::bpf) const TIMER_CANCEL: i32 = 172;
/// `bpf_task_pt_regs(task)`
pub(in crate::target::bpf) const TASK_PT_REGS: i32 = 175;
/// `bpf_loop(count, callback, context, flags)`
pub(in crate::target::bpf) const LOOP: i32 = 181;
/// `bpf_copy_from_user_task(to, bytes, from, task, flags)`
pub(in crate::target::bpf) const COPY_FROM_USER_TASK: i32 = 191;
/// `bpf_map_lookup_percpu_elem(map, key, cpu)`
pub(in crate::target::bpf) const MAP_LOOKUP_PERCPU: i32 = 195;
/// `BPF_NOEXIST`
pub(in crate::target::bpf) const UPDATE_IF_ABSENT: i64 = 1;

/// `dst =` the address `offset` bytes from the frame pointer.
pub(in crate::target::bpf) fn stack_address(asm: &mut Asm, dst: Reg, offset: impl Into<i32>) {
    asm.mov(dst, FP);
    asm.alu_imm(AluOp::Add, dst, offset.into());
}

/// Calls `callback(index)` for each index below `count`, until it returns 1.
pub(in crate::target::bpf) fn call_loop(asm: &mut Asm, count: i64, callback: &str) {
    asm.load_imm(R1, count);
    call_loop_of_r1(asm, callback);
}

/// Calls `callback(index)` for each index below `r1`, until it returns 1.
pub(in crate::target::bpf) fn call_loop_of_r1(asm: &mut Asm, callback: &str) {
    asm.load_subprog(R2, callback);
    asm.load_imm(R3, 0);
    asm.load_imm(R4, 0);
    asm.call_helper(LOOP);
}

/// `dst += 1`
pub(in crate::target::bpf) fn increment(asm: &mut Asm, dst: Reg) {
    asm.alu_imm(AluOp::Add, dst, 1);
}
