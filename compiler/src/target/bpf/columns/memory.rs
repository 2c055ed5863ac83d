//! Columns of a task's address space.
//!
//! A task without one (kernel threads, zombies) has no memory: 0. The address space may be
//! freed while it is read; if the task still has the same one afterwards, it was not.
//!
//! Resident pages are counted for each CPU apart and folded into a common counter only in
//! batches, so the exact number is that counter and every CPU's difference. BPF offers no
//! load from another CPU's memory; where that memory lies is learnt from a map of our own
//! that has an element on each CPU.

use super::Columns;
use super::field::{self, Hop};
use super::group::{self, Group};
use super::paths::Adjust;
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R6, R7, R8, R9, Reg, Size,
};
use crate::object::{DataType, Map, MapKind, Subprogram};
use crate::target::bpf::helper::{
    MAP_LOOKUP_PERCPU, PROBE_READ_KERNEL, call_loop, call_loop_of_r1, stack_address,
};

/// `MM_FILEPAGES`
pub(super) const FILE: u32 = 0;
/// `MM_ANONPAGES`
pub(super) const ANON: u32 = 1;
/// `MM_SWAPENTS`
pub(super) const SWAP: u32 = 2;
/// `MM_SHMEMPAGES`
pub(super) const SHARED: u32 = 3;

const COUNTERS: u32 = 4;
/// A CPU's difference of one counter is an `s32`.
const DIFFERENCE_BYTES: i32 = 4;
/// CPUs whose differences are added; more than any machine of today has.
const CPUS_MAX: u32 = 1024;

// Words of the group's results, after the four counters.
const BASE: u32 = COUNTERS;
const HIGH_WATER: u32 = BASE + 1;
const CPUS: u32 = HIGH_WATER + 1;
const PER_CPU_ADDRESS: u32 = CPUS + 1;
const OFFSETS: u32 = PER_CPU_ADDRESS + 1;

/// Words of results that the group needs.
pub(super) const WORDS: u32 = OFFSETS + CPUS_MAX;

pub(super) const MM: Hop = ("task_struct", &["mm"]);
const COUNT: [Hop; COUNTERS as usize] = [
    ("mm_struct", &["rss_stat", "0", "count"]),
    ("mm_struct", &["rss_stat", "1", "count"]),
    ("mm_struct", &["rss_stat", "2", "count"]),
    ("mm_struct", &["rss_stat", "3", "count"]),
];
/// Before 6.2, one after another.
const OLD_COUNT: Hop = ("mm_struct___old", &["rss_stat", "count", "0", "counter"]);
const FIRST_PER_CPU: Hop = ("mm_struct", &["rss_stat", "0", "counters"]);
const LAST_PER_CPU: Hop = ("mm_struct", &["rss_stat", "3", "counters"]);

/// `dst =` a member of the task's address space. Loses `r0` to `r2`.
pub(super) fn member(asm: &mut Asm, dst: Reg, hop: Hop, adjust: Adjust, unreadable: Label) {
    let (none, end) = (asm.label(), asm.label());
    field::load(asm, R1, R6, MM);
    asm.jump_if_imm(Cond::Eq, R1, 0, none);
    field::load(asm, R2, R1, hop);
    field::load(asm, R0, R6, MM);
    asm.jump_if(Cond::Ne, R0, R1, unreadable);
    asm.mov(dst, R2);
    adjust.apply(asm, dst);
    asm.jump(end);
    asm.bind(none);
    asm.load_imm(dst, 0);
    asm.bind(end);
}

/// `dst =` the bytes of these counters, once the group is there. Loses `r0` to `r2`.
pub(super) fn resident(columns: &Columns, asm: &mut Asm, dst: Reg, counters: &[u32]) {
    pages(columns, asm, counters);
    asm.mov(dst, R0);
    field::pages_to_bytes(asm, dst);
}

/// `dst =` the bytes of the largest resident size. Loses `r0` to `r2`.
pub(super) fn peak(columns: &Columns, asm: &mut Asm, dst: Reg) {
    let end = asm.label();
    pages(columns, asm, &[FILE, ANON, SHARED]);
    asm.load(Size::Dw, R1, R2, group::result(HIGH_WATER));
    asm.jump_if(Cond::Ge, R0, R1, end);
    asm.mov(R0, R1);
    asm.bind(end);
    asm.mov(dst, R0);
    field::pages_to_bytes(asm, dst);
}

/// `r0 =` the sum of counters, `r2 =` where the group's results are. Loses `r1`.
fn pages(columns: &Columns, asm: &mut Asm, counters: &[u32]) {
    asm.load_data(R2, ".bss", columns.layout().group(Group::Memory));
    asm.load_imm(R0, 0);
    for &counter in counters {
        asm.load(Size::Dw, R1, R2, group::result(counter));
        asm.alu(AluOp::Add, R0, R1);
    }
}

/// An element on each CPU, for its address only.
pub(super) fn map(columns_filter: &str) -> Map {
    Map {
        name: format!("cpus_{columns_filter}"),
        kind: MapKind::PerCpuArray,
        flags: 0,
        max_entries: 1,
        key: Some(DataType::U32),
        value: Some(DataType::U64),
    }
}

/// Learns, in the first sweep, how far each CPU's memory is from the common address.
pub(super) fn sweep_start(columns: &Columns, asm: &mut Asm) {
    let known = asm.label();
    field::exists(asm, R0, COUNT[0]);
    asm.jump_if_imm(Cond::Eq, R0, 0, known);
    asm.load_data(R6, ".bss", columns.layout().group(Group::Memory));
    asm.load(Size::Dw, R0, R6, group::result(CPUS));
    asm.jump_if_imm(Cond::Ne, R0, 0, known);
    // The map's address as a number, by way of the stack.
    asm.load_map(R1, &columns.symbol("cpus"));
    asm.store(Size::Dw, FP, -8, R1);
    stack_address(asm, R1, -16);
    asm.load_imm(R2, 8);
    stack_address(asm, R3, -8);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.load(Size::Dw, R3, FP, -16);
    asm.add_field_offset(R3, field::path(("bpf_array", &["pptrs", "0"])));
    asm.mov(R1, R6);
    asm.alu_imm(AluOp::Add, R1, group::result(PER_CPU_ADDRESS).into());
    asm.load_imm(R2, 8);
    asm.call_helper(PROBE_READ_KERNEL);
    call_loop(asm, CPUS_MAX.into(), &columns.function("cpu_offset"));
    asm.bind(known);
}

/// The group's functions.
pub(super) fn subprograms(columns: &Columns) -> Result<Vec<Subprogram>, JumpTooFar> {
    Ok(vec![counters(columns)?, cpu_offset(columns)?, cpu_counters(columns)?])
}

/// `u64 memory()`: 0 when the counters stand in `.bss`.
fn counters(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let (none, old, clamp, done, gone) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    group::begin(columns, &mut asm, Group::Memory);
    field::load(&mut asm, R8, R6, MM);
    asm.jump_if_imm(Cond::Eq, R8, 0, none);
    field::load(&mut asm, R0, R8, ("mm_struct", &["hiwater_rss"]));
    asm.store(Size::Dw, R7, group::result(HIGH_WATER), R0);
    field::exists(&mut asm, R0, COUNT[0]);
    asm.jump_if_imm(Cond::Eq, R0, 0, old);
    for (counter, hop) in (0..).zip(COUNT) {
        field::load(&mut asm, R0, R8, hop);
        asm.store(Size::Dw, R7, group::result(counter), R0);
    }
    // The four differences of a CPU are read at once: kernels allocate them together.
    // Where they are apart the common counters have to do.
    for (hop, offset) in [(FIRST_PER_CPU, -8), (LAST_PER_CPU, -16)] {
        asm.store_imm(Size::Dw, FP, offset, 0);
        field::address(&mut asm, R3, R8, hop);
        stack_address(&mut asm, R1, offset);
        asm.load_imm(R2, 8);
        asm.call_helper(PROBE_READ_KERNEL);
    }
    asm.load(Size::Dw, R1, FP, -8);
    asm.load(Size::Dw, R2, FP, -16);
    asm.store(Size::Dw, R7, group::result(BASE), R1);
    asm.alu(AluOp::Sub, R2, R1);
    asm.jump_if_imm(Cond::Ne, R2, DIFFERENCE_BYTES * (COUNTERS as i32 - 1), clamp);
    asm.load(Size::Dw, R9, R7, group::result(CPUS));
    asm.mov(R1, R9);
    call_loop_of_r1(&mut asm, &columns.function("cpu_counters"));
    asm.jump(clamp);
    asm.bind(old);
    // The verifiers of those kernels do not follow a path into an array.
    asm.mov(R1, R7);
    asm.alu_imm(AluOp::Add, R1, group::result(0).into());
    asm.load_imm(R2, i64::from(COUNTERS) * 8);
    field::address(&mut asm, R3, R8, OLD_COUNT);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, gone);
    asm.bind(clamp);
    for counter in 0..COUNTERS {
        let positive = asm.label();
        asm.load(Size::Dw, R0, R7, group::result(counter));
        asm.jump_if_imm(Cond::Sge, R0, 0, positive);
        asm.store_imm(Size::Dw, R7, group::result(counter), 0);
        asm.bind(positive);
    }
    field::load(&mut asm, R0, R6, MM);
    asm.jump_if(Cond::Ne, R0, R8, gone);
    asm.jump(done);
    asm.bind(none);
    for word in (0..COUNTERS).chain([HIGH_WATER]) {
        asm.store_imm(Size::Dw, R7, group::result(word), 0);
    }
    asm.bind(done);
    group::finish(&mut asm, R7, gone);
    Ok(Subprogram { name: columns.function("memory"), code: asm.finish()? })
}

/// `u64 cpu_offset(cpu)`: the distance of one CPU's memory; 1 after the last CPU.
fn cpu_offset(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let last = asm.label();
    asm.mov32(R6, R1);
    asm.jump_if_imm(Cond::Ge, R6, CPUS_MAX.cast_signed(), last);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Memory));
    asm.store_imm(Size::W, FP, -4, 0);
    asm.load_map(R1, &columns.symbol("cpus"));
    stack_address(&mut asm, R2, -4);
    asm.mov(R3, R6);
    asm.call_helper(MAP_LOOKUP_PERCPU);
    asm.jump_if_imm(Cond::Eq, R0, 0, last);
    asm.store(Size::Dw, FP, -16, R0);
    stack_address(&mut asm, R1, -24);
    asm.load_imm(R2, 8);
    stack_address(&mut asm, R3, -16);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.load(Size::Dw, R0, FP, -24);
    asm.load(Size::Dw, R1, R7, group::result(PER_CPU_ADDRESS));
    asm.alu(AluOp::Sub, R0, R1);
    asm.mov(R1, R6);
    asm.alu_imm(AluOp::Add, R1, 1);
    asm.store(Size::Dw, R7, group::result(CPUS), R1);
    asm.alu_imm(AluOp::Lsh, R6, 3);
    asm.alu(AluOp::Add, R7, R6);
    asm.store(Size::Dw, R7, group::result(OFFSETS), R0);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(last);
    asm.load_imm(R0, 1);
    asm.exit();
    Ok(Subprogram { name: columns.function("cpu_offset"), code: asm.finish()? })
}

/// `u64 cpu_counters(cpu)`: adds one CPU's differences to the counters.
fn cpu_counters(columns: &Columns) -> Result<Subprogram, JumpTooFar> {
    let mut asm = Asm::new();
    let last = asm.label();
    asm.mov32(R1, R1);
    asm.jump_if_imm(Cond::Ge, R1, CPUS_MAX.cast_signed(), last);
    asm.load_data(R7, ".bss", columns.layout().group(Group::Memory));
    asm.alu_imm(AluOp::Lsh, R1, 3);
    asm.mov(R2, R7);
    asm.alu(AluOp::Add, R2, R1);
    asm.load(Size::Dw, R3, R2, group::result(OFFSETS));
    asm.load(Size::Dw, R2, R7, group::result(BASE));
    asm.alu(AluOp::Add, R3, R2);
    stack_address(&mut asm, R1, -16);
    asm.load_imm(R2, i64::from(DIFFERENCE_BYTES) * i64::from(COUNTERS));
    asm.call_helper(PROBE_READ_KERNEL);
    asm.jump_if_imm(Cond::Ne, R0, 0, last);
    for (counter, offset) in (0..COUNTERS).zip((-16i16..).step_by(DIFFERENCE_BYTES as usize)) {
        asm.load(Size::W, R1, FP, offset);
        asm.sign_extend(R1, 32);
        asm.load(Size::Dw, R2, R7, group::result(counter));
        asm.alu(AluOp::Add, R2, R1);
        asm.store(Size::Dw, R7, group::result(counter), R2);
    }
    asm.load_imm(R0, 0);
    asm.exit();
    asm.bind(last);
    asm.load_imm(R0, 1);
    asm.exit();
    Ok(Subprogram { name: columns.function("cpu_counters"), code: asm.finish()? })
}
