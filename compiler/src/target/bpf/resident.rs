//! What lets a filter sweep by itself: a timer that ticks and work that it hands the sweep to.
//!
//! ```text
//! start_F --arms--> timer: tick_F --queues--> work: work_F, the sweep
//!                     ^----- again -----'
//! ```
//!
//! A timer's callback may not sleep and holds up a CPU's other timers, so it only queues
//! work and arms itself again; the sweep runs in a kernel worker, where it may sleep.
//!
//! **Invariant**: a tick is due a whole number of periods after the one before, however long
//! a sweep takes; what a late tick has missed is not made up for.

use std::mem::offset_of;

use kernel_vm::abi::{RESIDENT_STATS_BYTES, ResidentStats, SWEEP_END_BYTES};

use super::sweep::{self, Names};
use crate::asm::{AluOp, Asm, Cond, FP, JumpTooFar, R0, R1, R2, R3, R4, R6, R7, R8, R9, Size};
use crate::code::Code;
use crate::object::{
    DataType, Map, MapKind, Member, Program, ProgramSection, Scratch, StructType, Subprogram,
};
use crate::target::bpf::helper::{self, stack_address};

/// `BPF_RB_AVAIL_DATA` and `BPF_RB_RING_SIZE`
pub(super) const QUERY_USED: i64 = 0;
pub(super) const QUERY_SIZE: i64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const RINGBUF_WAKEUP: i64 = 2;
/// Bytes before each record in a ring buffer.
const RINGBUF_HEADER_BYTES: u32 = 8;
/// `CLOCK_BOOTTIME`, the clock of sweeps.
const CLOCK: i64 = 7;
/// `BPF_F_TIMER_ABS`
const ABSOLUTE: i64 = 1;
const ENOENT: i64 = 2;

/// Where the two stand in the map's value.
const TIMER: u32 = 0;
const WORK: i32 = 16;
const OPAQUE_BYTES: u32 = 16;

pub(super) const PERIOD: i16 = offset_of!(ResidentStats, period_ns) as i16;
pub(super) const TICKS: i16 = offset_of!(ResidentStats, ticks) as i16;
const SKIPPED: i16 = offset_of!(ResidentStats, skipped) as i16;
const EMITTED: i16 = offset_of!(ResidentStats, emitted) as i16;
const LOST: i16 = offset_of!(ResidentStats, lost) as i16;
const TOOK: i16 = offset_of!(ResidentStats, took_ns) as i16;
const DUE: i16 = offset_of!(ResidentStats, due_ns) as i16;
const ROOM: i16 = offset_of!(ResidentStats, room) as i16;
const BEFORE: i16 = offset_of!(ResidentStats, before) as i16;

/// What an object holds to let one filter be resident; loaders that do not need it leave it.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The programs that start and stop it.
    pub programs: Vec<Program>,
    /// What its timer and its work call.
    pub subprograms: Vec<Subprogram>,
}

/// Symbol of the program that starts the ticks.
#[must_use]
pub fn start_symbol(filter: &str) -> String {
    format!("start_{filter}")
}

/// Symbol of the program that stops them.
#[must_use]
pub fn stop_symbol(filter: &str) -> String {
    format!("stop_{filter}")
}

/// Name of the array that holds the timer and the work.
#[must_use]
pub fn timer_map(filter: &str) -> String {
    format!("timer_{filter}")
}

fn tick_symbol(filter: &str) -> String {
    format!("tick_{filter}")
}

fn work_symbol(filter: &str) -> String {
    format!("work_{filter}")
}

/// The programs and functions of `filter`, whose sweep is `work`.
pub(super) fn build(filter: &str, work: Code, names: &Names<'_>) -> Result<Resident, JumpTooFar> {
    let program = |name, code| Program { name, section: ProgramSection::Syscall, code };
    Ok(Resident {
        programs: vec![
            program(start_symbol(filter), start(filter, &work_symbol(filter), names)?),
            program(stop_symbol(filter), stop(filter, names)?),
        ],
        subprograms: vec![
            Subprogram { name: tick_symbol(filter), code: tick(names)? },
            Subprogram { name: work_symbol(filter), code: work },
        ],
    })
}

/// The map of the timer and the work.
pub(super) fn map(filter: &str) -> Map {
    let member = |name: &str, ty, offset| Member {
        name: name.to_owned(),
        offset,
        ty: DataType::Kernel(ty, OPAQUE_BYTES),
    };
    Map {
        name: timer_map(filter),
        kind: MapKind::Array,
        flags: 0,
        max_entries: 1,
        key: Some(DataType::I32),
        value: Some(DataType::Struct(StructType {
            name: format!("{filter}_timer"),
            size: 2 * OPAQUE_BYTES,
            members: vec![
                member("timer", "bpf_timer", TIMER),
                member("work", "bpf_wq", WORK.cast_unsigned()),
            ],
        })),
    }
}

/// The variable in `.bss` that holds [`ResidentStats`].
pub(super) fn variable(filter: &str, offset: u32) -> Scratch {
    const NAMES: [&str; RESIDENT_STATS_BYTES / 8] =
        ["period_ns", "ticks", "skipped", "emitted", "lost", "took_ns", "due_ns", "room", "before"];
    let members = NAMES
        .iter()
        .zip((0..).step_by(8))
        .map(|(&name, offset)| Member { name: name.to_owned(), offset, ty: DataType::U64 })
        .collect();
    let size = RESIDENT_STATS_BYTES as u32;
    let name = "resident_stats".to_owned();
    let ty = DataType::Struct(StructType { name, size, members });
    Scratch { name: format!("{filter}_resident"), offset, ty }
}

/// `r6 = ` the map's value, or returns that there is none.
fn find_value(asm: &mut Asm, filter: &str) {
    let found = asm.label();
    asm.store_imm(Size::W, FP, -4, 0);
    asm.load_map(R1, &timer_map(filter));
    stack_address(asm, R2, -4);
    asm.call_helper(helper::MAP_LOOKUP);
    asm.jump_if_imm(Cond::Ne, R0, 0, found);
    asm.load_imm(R0, -ENOENT);
    asm.exit();
    asm.bind(found);
    asm.mov(R6, R0);
}

/// Arms the timer for the sweep `work`; its context says how often and when first.
pub(super) fn start(filter: &str, work: &str, names: &Names<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let failed = asm.label();
    asm.load(Size::Dw, R8, R1, 0);
    asm.load(Size::Dw, R9, R1, 8);
    find_value(&mut asm, filter);
    asm.mov(R1, R6);
    asm.load_map(R2, &timer_map(filter));
    asm.load_imm(R3, CLOCK);
    asm.call_helper(helper::TIMER_INIT);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    asm.mov(R1, R6);
    asm.load_subprog(R2, &tick_symbol(filter));
    asm.call_helper(helper::TIMER_SET_CALLBACK);
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    asm.mov(R1, R6);
    asm.alu_imm(AluOp::Add, R1, WORK);
    asm.load_map(R2, &timer_map(filter));
    asm.load_imm(R3, 0);
    asm.call_kfunc("bpf_wq_init");
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    asm.mov(R1, R6);
    asm.alu_imm(AluOp::Add, R1, WORK);
    asm.load_subprog(R2, work);
    asm.load_imm(R3, 0);
    asm.load_imm(R4, 0);
    asm.call_kfunc("bpf_wq_set_callback_impl");
    asm.jump_if_imm(Cond::Ne, R0, 0, failed);
    asm.load_data(R7, ".bss", names.resident);
    asm.store(Size::Dw, R7, PERIOD, R8);
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    asm.alu(AluOp::Add, R0, R9);
    asm.store(Size::Dw, R7, DUE, R0);
    asm.mov(R1, R6);
    asm.mov(R2, R0);
    asm.load_imm(R3, ABSOLUTE);
    asm.call_helper(helper::TIMER_START);
    asm.bind(failed);
    asm.exit();
    asm.finish()
}

/// Ends the ticks, and wakes who waits for records so that it sees the end.
fn stop(filter: &str, names: &Names<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    asm.load_data(R7, ".bss", names.resident);
    // First this: a tick that is running now does not arm the timer again, or did before.
    asm.store_imm(Size::Dw, R7, PERIOD, 0);
    find_value(&mut asm, filter);
    asm.mov(R1, R6);
    asm.call_helper(helper::TIMER_CANCEL);
    wake(&mut asm, names);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.finish()
}

/// The timer's callback: queues the sweep and arms the timer for the next tick.
fn tick(names: &Names<'_>) -> Result<Code, JumpTooFar> {
    let mut asm = Asm::new();
    let (stopped, in_time) = (asm.label(), asm.label());
    asm.mov(R6, R3);
    asm.load_data(R7, ".bss", names.resident);
    asm.load(Size::Dw, R8, R7, PERIOD);
    asm.jump_if_imm(Cond::Eq, R8, 0, stopped);
    asm.mov(R1, R6);
    asm.alu_imm(AluOp::Add, R1, WORK);
    asm.load_imm(R2, 0);
    asm.call_kfunc("bpf_wq_start");
    asm.call_helper(helper::KTIME_GET_BOOT_NS);
    asm.load(Size::Dw, R2, R7, DUE);
    asm.alu(AluOp::Add, R2, R8);
    asm.jump_if(Cond::Gt, R2, R0, in_time);
    asm.mov(R2, R0);
    asm.alu(AluOp::Add, R2, R8);
    asm.bind(in_time);
    asm.store(Size::Dw, R7, DUE, R2);
    asm.mov(R1, R6);
    asm.load_imm(R3, ABSOLUTE);
    asm.call_helper(helper::TIMER_START);
    asm.bind(stopped);
    asm.load_imm(R0, 0);
    asm.exit();
    asm.finish()
}

/// Notes how much room there is before the first record, less what the sweep's end takes:
/// that must always fit, as it wakes who reads.
pub(super) fn begin(asm: &mut Asm, names: &Names<'_>) {
    let kept = names.acting.map_or(0, |_| super::acting::RESERVE_BYTES);
    let taken = room_of(SWEEP_END_BYTES as u32) + kept;
    asm.load_data(R7, ".bss", names.resident);
    asm.load(Size::Dw, R0, R7, EMITTED);
    asm.store(Size::Dw, R7, BEFORE, R0);
    asm.load_map(R1, names.records);
    asm.load_imm(R2, QUERY_SIZE);
    asm.call_helper(helper::RINGBUF_QUERY);
    asm.mov(R8, R0);
    asm.load_map(R1, names.records);
    asm.load_imm(R2, QUERY_USED);
    asm.call_helper(helper::RINGBUF_QUERY);
    asm.alu(AluOp::Sub, R8, R0);
    asm.alu_imm(AluOp::Sub, R8, taken.cast_signed());
    asm.store(Size::Dw, R7, ROOM, R8);
}

/// Bytes of a ring buffer that a record of `size` bytes takes.
pub(super) const fn room_of(size: u32) -> u32 {
    RINGBUF_HEADER_BYTES + size.next_multiple_of(8)
}

/// Takes the room for a record of `size` bytes, or goes to `full`.
pub(super) fn take_room(asm: &mut Asm, names: &Names<'_>, size: u32, full: crate::asm::Label) {
    asm.load_data(R1, ".bss", names.resident);
    asm.load(Size::Dw, R0, R1, ROOM);
    asm.alu_imm(AluOp::Sub, R0, room_of(size).cast_signed());
    asm.jump_if_imm(Cond::Slt, R0, 0, full);
    asm.store(Size::Dw, R1, ROOM, R0);
}

/// Counts a record that went into the ring buffer.
pub(super) fn count_emitted(asm: &mut Asm, names: &Names<'_>) {
    sweep::count(asm, names.resident, EMITTED);
}

/// Counts a tick that found another sweep running.
pub(super) fn count_skipped(asm: &mut Asm, names: &Names<'_>) {
    sweep::count(asm, names.resident, SKIPPED);
}

/// Adds the sweep's counts up, its statistics at `r1`; if it has put records out, says that
/// it ends and wakes who reads.
pub(super) fn finish(asm: &mut Asm, names: &Names<'_>) {
    let silent = asm.label();
    asm.load_data(R7, ".bss", names.resident);
    for (from, to) in [(sweep::DROPPED, LOST), (sweep::TOOK, TOOK)] {
        asm.load(Size::Dw, R0, R1, from);
        asm.load(Size::Dw, R2, R7, to);
        asm.alu(AluOp::Add, R2, R0);
        asm.store(Size::Dw, R7, to, R2);
    }
    sweep::count(asm, names.resident, TICKS);
    asm.load(Size::Dw, R0, R7, EMITTED);
    asm.load(Size::Dw, R1, R7, BEFORE);
    asm.jump_if(Cond::Eq, R0, R1, silent);
    wake(asm, names);
    asm.bind(silent);
}

/// Ends the records of a sweep, which wakes who waits for them.
fn wake(asm: &mut Asm, names: &Names<'_>) {
    asm.load_map(R1, names.records);
    asm.load_data(R2, ".bss", names.stats);
    asm.load_imm(R3, SWEEP_END_BYTES as i64);
    asm.load_imm(R4, RINGBUF_WAKEUP);
    asm.call_helper(helper::RINGBUF_OUTPUT);
}
