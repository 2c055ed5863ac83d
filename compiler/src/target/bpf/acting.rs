//! What lets a filter that sweeps by itself send the signals of its `limit`, without user space.
//!
//! ```text
//! arm_F --arms--> timer: tick_F --queues--> work: act_F, the sweep
//!                                             | for each process that matches: its record, then
//!                                             v
//!                                           rungs_F: what is due, the rails, the evidence
//!                                             | asks for work of the process itself
//!                                             v
//!                                           signal_F, when the process next leaves the kernel
//! ```
//!
//! The kernel sends no signal from a kernel worker, where sweeps run: it asks for the memory map
//! of whom it interrupts. In the process's own context it does, and there is no pid to mistake.
//!
//! `term` and `kill` are done here; time passes the other rungs by. All of it is in programs and
//! maps that nothing else refers to: a filter that is not armed has none of it.
//!
//! Kernels that have no such functions take the programs all the same, and would do nothing: a
//! loader asks before.
//!
//! **Invariant**: nothing is asked for before its evidence is in the ring buffer, and the signal
//! is sent only while the last sweep found the process and the filter is still loaded. What is
//! asked is granted by the budget, whatever the number of processes.

mod steps;
#[cfg(test)]
mod tests;

use std::mem::offset_of;

use kernel_vm::abi::{
    ABSENT_SWEEPS, ACT_MARK_BYTES, ACT_SLOT_BYTES, ACT_SLOTS, ActMark, ActOutcome, ActSlot,
    KERNEL_RAILS_BYTES, KernelRails, RAIL_NAME_BYTES, RAIL_NAMES, RAIL_PIDS, RailName,
    ResidentStats, SweepStats,
};
use kernel_vm::object::{ActingMeta, LimitAction};
use kernel_vm::schema::Table;

use super::columns::TASK;
use super::resident::{self, PERIOD, TICKS};
use super::sweep::Names;
use crate::asm::{
    AluOp, Asm, Cond, FP, JumpTooFar, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Size,
};
use crate::code::Code;
use crate::hir::Filter;
use crate::object::{
    DataType, Map, MapKind, Member, Program, ProgramSection, StructType, Subprogram,
};
use crate::target::bpf::helper::{self, stack_address};
use steps::{
    Ends, ask_budget, climb, count, differs, member, now, require, write_evidence, write_mark,
};

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`
const STORAGE_CREATE: i64 = 1;
/// `BPF_RB_NO_WAKEUP`: the end of the sweep wakes.
const RINGBUF_NO_WAKEUP: i64 = 1;
/// `BPF_F_NO_PREALLOC`, `BPF_F_RDONLY_PROG`
const NO_PREALLOC: u32 = 1;
const RDONLY_PROG: u32 = 1 << 7;
/// `PIDTYPE_TGID`: to the process, not to one of its threads.
const TO_PROCESS: i64 = 1;
const SIGKILL: i64 = 9;
const SIGTERM: i64 = 15;
/// Bytes of the ring buffer that records leave to the evidence of acts: when nobody reads, for
/// as long as the budget takes to use them up.
pub(super) const RESERVE_BYTES: u32 = 16 << 10;
/// Flags of a task that ends, and of one that runs in the kernel only.
const PF_EXITING: i32 = 0x4;
const PF_KTHREAD: i32 = 0x20_0000;
const ESRCH: i64 = 3;
const ENOSYS: i64 = 38;

/// What is kept of a process that has matched.
#[repr(C)]
struct Climb {
    /// When it became an offender, in nanoseconds since boot.
    entered_ns: u64,
    /// The rung that is next.
    next: u64,
    /// The tick that found it last, counted from 1.
    tick: u64,
    /// It was said that the budget is spent.
    said: u64,
}

const ENTERED: i16 = offset_of!(Climb, entered_ns) as i16;
const NEXT: i16 = offset_of!(Climb, next) as i16;
const TICK: i16 = offset_of!(Climb, tick) as i16;
const SAID: i16 = offset_of!(Climb, said) as i16;

const SIGNAL: i16 = offset_of!(ActSlot, signal) as i16;
const GRANTED: i16 = offset_of!(ActSlot, granted_ns) as i16;
const SENT: i16 = offset_of!(ActSlot, counts.sent) as i16;
const FAILED: i16 = offset_of!(ActSlot, counts.failed) as i16;
const WITHDRAWN: i16 = offset_of!(ActSlot, counts.withdrawn) as i16;
const REFUSED: i16 = offset_of!(ActSlot, counts.refused) as i16;
const SPENT: i16 = offset_of!(ActSlot, counts.spent) as i16;
const SILENT: i16 = offset_of!(ActSlot, counts.silent) as i16;
const _: () = assert!(offset_of!(ActSlot, work) == 0, "the slot is the address of its work");

const STARTED: i16 = offset_of!(SweepStats, started_ns) as i16;
const _: () = assert!(offset_of!(ResidentStats, ticks) == TICKS as usize);

/// The stack of `rungs_F`.
const KEY: i16 = -4;
const MARK: i16 = -16;
const RUNG: i16 = MARK + offset_of!(ActMark, rung) as i16;
const OUTCOME: i16 = MARK + offset_of!(ActMark, outcome) as i16;
const DETAIL: i16 = MARK + offset_of!(ActMark, detail) as i16;
const _: () = assert!(MARK + ACT_MARK_BYTES as i16 == KEY, "the mark ends where the key begins");
const NEWEST: i16 = -24;
const WANTED: i16 = -32;
const COMM: i16 = WANTED - RAIL_NAME_BYTES as i16;
const RECORD: i16 = COMM - 8;
const WROTE: i16 = RECORD - 8;

/// A rung that is done here.
struct Rung {
    index: i32,
    after_ns: i64,
    signal: i64,
}

/// The rungs of one filter that are done here.
pub(super) struct Acting {
    filter: String,
    rungs: Vec<Rung>,
    /// Most ticks between two that find it in which it stays an offender.
    gap: i32,
}

impl Acting {
    /// What `filter` has of it.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        let limit = filter.limit.as_ref().filter(|_| filter.table == Table::Process)?;
        let signal = |action| match action {
            LimitAction::Term => Some(SIGTERM),
            LimitAction::Kill => Some(SIGKILL),
            LimitAction::Notify
            | LimitAction::Nice(_)
            | LimitAction::CpuRatio(_)
            | LimitAction::MemoryBytes(_)
            | LimitAction::Files(_)
            | LimitAction::Freeze => None,
        };
        let rungs: Vec<Rung> = (0..)
            .zip(&limit.rungs)
            .filter_map(|(index, rung)| {
                Some(Rung { index, after_ns: rung.after_ns, signal: signal(rung.action)? })
            })
            .collect();
        // What releases is not known here: whoever is absent once may have met it.
        let gap = if limit.leave.is_some() { 1 } else { ABSENT_SWEEPS.cast_signed() };
        (!rungs.is_empty()).then(|| Self { filter: filter.name.clone(), rungs, gap })
    }

    /// What a loader must know of it.
    pub(super) fn meta(&self) -> ActingMeta {
        let (start, acts, rails) = (self.name("arm"), self.name("acts"), self.name("rails"));
        ActingMeta { start, acts, rails }
    }

    fn name(&self, what: &str) -> String {
        format!("{what}_{}", self.filter)
    }

    /// The program that starts the ticks, where `work` is the sweep.
    pub(super) fn program(&self, names: &Names<'_>) -> Result<Program, JumpTooFar> {
        let code = resident::start(&self.filter, &self.name("act"), names)?;
        Ok(Program { name: self.name("arm"), section: ProgramSection::Syscall, code })
    }

    /// The sweep, and what it calls.
    pub(super) fn subprograms(
        &self,
        work: Code,
        names: &Names<'_>,
        record_size: u32,
    ) -> Result<Vec<Subprogram>, JumpTooFar> {
        Ok(vec![
            Subprogram { name: self.name("act"), code: work },
            Subprogram { name: self.name("rungs"), code: self.rungs(names, record_size)? },
            Subprogram { name: self.name("signal"), code: self.signal(names)? },
        ])
    }

    /// The maps of its own.
    pub(super) fn maps(&self) -> Vec<Map> {
        let array = |name, flags, max_entries, value| Map {
            name,
            kind: MapKind::Array,
            flags,
            max_entries,
            key: Some(DataType::I32),
            value: Some(value),
        };
        let member = |name: &str, offset, ty| Member { name: name.to_owned(), offset, ty };
        let slot = StructType {
            name: self.name("slot"),
            size: ACT_SLOT_BYTES as u32,
            members: vec![
                member("work", 0, DataType::Kernel("bpf_task_work", 8)),
                member("rest", 8, DataType::words(ACT_SLOT_BYTES as u32 / 8 - 1)),
            ],
        };
        let rails = DataType::words(KERNEL_RAILS_BYTES as u32 / 8);
        vec![
            array(self.name("acts"), 0, ACT_SLOTS as u32, DataType::Struct(slot)),
            array(self.name("rails"), RDONLY_PROG, 1, rails),
            Map {
                name: self.name("climb"),
                kind: MapKind::TaskStorage,
                flags: NO_PREALLOC,
                max_entries: 0,
                key: Some(DataType::I32),
                value: Some(DataType::words(size_of::<Climb>() as u32 / 8)),
            },
        ]
    }

    /// In the sweep, for a process whose record is in the ring buffer or has found no room: then
    /// `r0` is not 0 if it is there now, as evidence.
    pub(super) fn call(&self, asm: &mut Asm, record: i32, is_recorded: bool) {
        asm.load(Size::Dw, R1, FP, TASK);
        asm.load_imm(R2, is_recorded.into());
        stack_address(asm, R3, record);
        asm.call_subprog(&self.name("rungs"));
    }

    /// What is due for the task in `r1`, whose record is at `r3`, and in the ring buffer if `r2` is
    /// not 0.
    fn rungs(&self, names: &Names<'_>, record_size: u32) -> Result<Code, JumpTooFar> {
        let mut asm = Asm::new();
        let asm = &mut asm;
        let ends = Ends::new(asm);
        asm.mov(R6, R1);
        asm.mov(R7, R2);
        asm.store(Size::Dw, FP, RECORD, R3);
        asm.store_imm(Size::Dw, FP, WROTE, 0);
        self.find_due(asm, names, &ends);
        self.find_slot(asm, &ends);
        ask_budget(asm, names, &ends);
        self.ask_rails(asm, &ends);
        write_evidence(asm, names, record_size, &ends);
        self.act(asm, names, &ends);
        ends.bind(asm, names);
        std::mem::take(asm).finish()
    }

    /// Goes on with the first rung that is due, its index in the mark and its signal in `WANTED`,
    /// and with what is kept of the process in `r8`.
    fn find_due(&self, asm: &mut Asm, names: &Names<'_>, ends: &Ends) {
        let (anew, known, due) = (asm.label(), asm.label(), asm.label());
        asm.load_map(R1, &self.name("climb"));
        asm.mov(R2, R6);
        asm.load_imm(R3, 0);
        asm.load_imm(R4, STORAGE_CREATE);
        asm.call_helper(helper::TASK_STORAGE_GET);
        asm.jump_if_imm(Cond::Eq, R0, 0, ends.out);
        asm.mov(R8, R0);
        now(asm, names, R2);
        asm.load_data(R3, ".bss", names.resident);
        asm.load(Size::Dw, R3, R3, TICKS);
        asm.alu_imm(AluOp::Add, R3, 1);
        asm.load(Size::Dw, R4, R8, TICK);
        asm.store(Size::Dw, R8, TICK, R3);
        asm.jump_if_imm(Cond::Eq, R4, 0, anew);
        asm.alu(AluOp::Sub, R3, R4);
        asm.jump_if_imm(Cond::Le, R3, self.gap, known);
        asm.bind(anew);
        asm.store(Size::Dw, R8, ENTERED, R2);
        asm.store_imm(Size::Dw, R8, NEXT, 0);
        asm.store_imm(Size::Dw, R8, SAID, 0);
        asm.bind(known);
        asm.load(Size::Dw, R3, R8, ENTERED);
        asm.alu(AluOp::Sub, R2, R3);
        asm.load(Size::Dw, R3, R8, NEXT);
        for rung in &self.rungs {
            let later = asm.label();
            asm.jump_if_imm(Cond::Gt, R3, rung.index, later);
            asm.load_imm(R4, rung.after_ns);
            asm.jump_if(Cond::Slt, R2, R4, ends.out);
            asm.store_imm(Size::W, FP, RUNG, rung.index);
            asm.store_imm(Size::Dw, FP, WANTED, rung.signal as i32);
            asm.jump(due);
            asm.bind(later);
        }
        asm.jump(ends.out);
        asm.bind(due);
    }

    /// `r9 =` the slot of the oldest act, the time of the newest in `NEWEST`.
    fn find_slot(&self, asm: &mut Asm, ends: &Ends) {
        for slot in 0..ACT_SLOTS as i32 {
            let (younger, older) = (asm.label(), asm.label());
            self.look_up(asm, "acts", slot, ends.out);
            asm.load(Size::Dw, R1, R0, GRANTED);
            if slot == 0 {
                asm.mov(R9, R0);
                asm.store(Size::Dw, FP, NEWEST, R1);
                continue;
            }
            asm.load(Size::Dw, R2, R9, GRANTED);
            asm.jump_if(Cond::Ge, R1, R2, younger);
            asm.mov(R9, R0);
            asm.bind(younger);
            asm.load(Size::Dw, R2, FP, NEWEST);
            asm.jump_if(Cond::Le, R1, R2, older);
            asm.store(Size::Dw, FP, NEWEST, R1);
            asm.bind(older);
        }
    }

    /// `r0 =` the element `key` of one of the arrays.
    fn look_up(&self, asm: &mut Asm, map: &str, key: i32, missing: Label) {
        asm.store_imm(Size::W, FP, KEY, key);
        asm.load_map(R1, &self.name(map));
        stack_address(asm, R2, KEY);
        asm.call_helper(helper::MAP_LOOKUP);
        asm.jump_if_imm(Cond::Eq, R0, 0, missing);
    }

    /// Goes on if no rail forbids an act on the task.
    fn ask_rails(&self, asm: &mut Asm, ends: &Ends) {
        stack_address(asm, R1, COMM);
        asm.load_imm(R2, RAIL_NAME_BYTES as i64);
        asm.mov(R3, R6);
        asm.add_field_offset(R3, member("comm"));
        asm.call_helper(helper::PROBE_READ_KERNEL);
        asm.jump_if_imm(Cond::Ne, R0, 0, ends.out);
        self.look_up(asm, "rails", 0, ends.out);
        asm.load_field(Size::W, R1, R6, member("flags"));
        asm.mov(R2, R1);
        asm.alu_imm(AluOp::And, R2, PF_EXITING);
        asm.jump_if_imm(Cond::Ne, R2, 0, ends.out);
        asm.store_imm(Size::W, FP, DETAIL, 0);
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::KernelThread as i32);
        asm.alu_imm(AluOp::And, R1, PF_KTHREAD);
        asm.jump_if_imm(Cond::Ne, R1, 0, ends.refused);
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Init as i32);
        asm.load_field(Size::W, R1, R6, member("tgid"));
        asm.jump_if_imm(Cond::Le, R1, 1, ends.refused);
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Own as i32);
        for pid in 0..RAIL_PIDS {
            let at = offset_of!(KernelRails, pids) + pid * size_of::<u32>();
            asm.load(Size::W, R2, R0, at as i16);
            asm.jump_if(Cond::Eq, R1, R2, ends.refused);
        }
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Protected as i32);
        for name in 0..RAIL_NAMES {
            asm.store_imm(Size::W, FP, DETAIL, name as i32);
            let at = offset_of!(KernelRails, names) + name * size_of::<RailName>();
            differs(asm, at);
            asm.jump_if_imm(Cond::Eq, R1, 0, ends.refused);
        }
        asm.store_imm(Size::W, FP, DETAIL, 0);
    }

    /// Notes the act and asks the kernel for it.
    fn act(&self, asm: &mut Asm, names: &Names<'_>, ends: &Ends) {
        let failed = asm.label();
        climb(asm);
        now(asm, names, R1);
        asm.store(Size::Dw, R9, GRANTED, R1);
        asm.load(Size::Dw, R1, FP, WANTED);
        asm.store(Size::Dw, R9, SIGNAL, R1);
        asm.load_imm(R0, -ENOSYS);
        require(asm, failed);
        asm.mov(R1, R6);
        asm.call_kfunc("bpf_task_acquire");
        asm.mov(R7, R0);
        asm.load_imm(R0, -ESRCH);
        asm.jump_if_imm(Cond::Eq, R7, 0, failed);
        asm.mov(R1, R7);
        asm.mov(R2, R9);
        asm.load_map(R3, &self.name("acts"));
        asm.load_subprog(R4, &self.name("signal"));
        asm.load_imm(R5, 0);
        asm.call_kfunc("bpf_task_work_schedule_signal_impl");
        asm.store(Size::Dw, FP, NEWEST, R0);
        asm.mov(R1, R7);
        asm.call_kfunc("bpf_task_release");
        asm.load(Size::Dw, R0, FP, NEWEST);
        asm.jump_if_imm(Cond::Eq, R0, 0, ends.out);
        asm.bind(failed);
        asm.store_imm(Size::W, FP, OUTCOME, ActOutcome::Failed as i32);
        asm.store(Size::W, FP, DETAIL, R0);
        count(asm, R9, FAILED);
        resident::take_room(asm, names, ACT_MARK_BYTES as u32, ends.out);
        write_mark(asm, names);
        asm.jump(ends.out);
    }

    /// In the process, on its way out of the kernel: the signal of the slot in `r3`.
    fn signal(&self, names: &Names<'_>) -> Result<Code, JumpTooFar> {
        let mut asm = Asm::new();
        let (withdrawn, failed, out) = (asm.label(), asm.label(), asm.label());
        asm.mov(R6, R3);
        asm.load_data(R7, ".bss", names.resident);
        asm.load(Size::Dw, R1, R7, PERIOD);
        asm.jump_if_imm(Cond::Eq, R1, 0, withdrawn);
        asm.call_helper(helper::CURRENT_TASK);
        asm.mov(R8, R0);
        asm.load_map(R1, &self.name("climb"));
        asm.mov(R2, R8);
        asm.load_imm(R3, 0);
        asm.load_imm(R4, 0);
        asm.call_helper(helper::TASK_STORAGE_GET);
        asm.jump_if_imm(Cond::Eq, R0, 0, withdrawn);
        asm.load(Size::Dw, R1, R0, TICK);
        asm.load(Size::Dw, R2, R7, TICKS);
        asm.jump_if(Cond::Lt, R1, R2, withdrawn);
        require(&mut asm, failed);
        asm.mov(R1, R8);
        asm.load(Size::Dw, R2, R6, SIGNAL);
        asm.load_imm(R3, TO_PROCESS);
        asm.load_imm(R4, 0);
        asm.call_kfunc("bpf_send_signal_task");
        asm.jump_if_imm(Cond::Ne, R0, 0, failed);
        count(&mut asm, R6, SENT);
        asm.jump(out);
        asm.bind(failed);
        count(&mut asm, R6, FAILED);
        asm.jump(out);
        asm.bind(withdrawn);
        count(&mut asm, R6, WITHDRAWN);
        asm.bind(out);
        asm.load_imm(R0, 0);
        asm.exit();
        asm.finish()
    }
}
