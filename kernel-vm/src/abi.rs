//! What a `vm` program and the host that runs it promise each other.
//!
//! A program is run once for each row. The host passes four pointers and reads a verdict:
//!
//! | register | at entry | access |
//! |---|---|---|
//! | `r1` | the row: [`ROW_HEADER_BYTES`] of header, then the columns in the order of the object's layout | read only |
//! | `r2` | the row's state, zeroed when the row is first seen; its size may be 0 | read and write |
//! | `r3` | the filter's block of `.rodata`: `system.*` values and parameters | read only |
//! | `r0` | at exit: a [`Verdict`] | |
//!
//! The row's header is `now_ns: u64` (CLOCK_BOOTTIME of the sweep) then `missing: u64`,
//! whose bit *i* says that the layout's column *i* could not be read. An integer column
//! takes 8 bytes, little endian, two's complement; a text column its capacity, padded with
//! zeros; an object 16 bytes (device, inode).
//!
//! A matching row is handed over by one call of the `emit` helper with a record on the
//! program's stack: a `missing: u64` bitmap of the record's fields, then the fields.
//!
//! **Invariant**: every host of one object lays out rows, parameters and records alike.

/// Bytes before the first column of a row: `now_ns` and the `missing` bitmap.
pub const ROW_HEADER_BYTES: usize = 16;
/// Offset of `now_ns` in a row.
pub const ROW_NOW_OFFSET: usize = 0;
/// Offset of the bitmap of unreadable columns in a row.
pub const ROW_MISSING_OFFSET: usize = 8;
/// Most columns that one filter may read: the bits of a row's `missing` bitmap.
pub const ROW_COLUMNS_MAX: usize = 64;

/// Bytes before the first field of a record: the `missing` bitmap.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Largest record, in bytes, header included. It is assembled on the 512-byte stack.
pub const RECORD_BYTES_MAX: usize = 320;
/// Most fields of a record: the bits of its `missing` bitmap.
pub const RECORD_FIELDS_MAX: usize = 64;

/// What a run over one row decided: the program's `r0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Verdict {
    /// The row does not match.
    Pass = 0,
    /// The row matches and was handed to `emit`.
    Match = 1,
    /// The row does not match, and a column that the verdict consulted was unreadable.
    Unreadable = 2,
    /// The row does not match yet: a history function has not seen enough of it.
    Warming = 3,
}

impl Verdict {
    /// The verdict that `r0` names; `None` for a value that no verified filter returns.
    #[must_use]
    pub const fn from_r0(r0: u64) -> Option<Self> {
        match r0 {
            0 => Some(Self::Pass),
            1 => Some(Self::Match),
            2 => Some(Self::Unreadable),
            3 => Some(Self::Warming),
            _ => None,
        }
    }
}

/// A sweep's counters: the layout of each filter's block in `.bss`, nine `u64`.
///
/// Zeroed by the program at the start of a sweep, but for `sweeps` and `busy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SweepStats {
    /// Sweeps completed since the program was loaded.
    pub sweeps: u64,
    /// Rows looked at.
    pub visited: u64,
    /// Rows that matched.
    pub matched: u64,
    /// Rows that did not match and had an unreadable column that was consulted.
    pub unreadable: u64,
    /// Rows that did not match because a history was too short.
    pub warming: u64,
    /// Records, groups or candidates that matched but found no room.
    pub dropped: u64,
    /// CLOCK_BOOTTIME when the sweep began, in nanoseconds.
    pub started_ns: u64,
    /// How long the sweep took, in nanoseconds.
    pub took_ns: u64,
    /// 1 while a sweep runs: a second one at the same time is refused, as both would
    /// write the same history.
    pub busy: u64,
}

/// Bytes of [`SweepStats`].
pub const SWEEP_STATS_BYTES: usize = core::mem::size_of::<SweepStats>();

/// What a resident filter keeps in `.bss` beside its [`SweepStats`]: it sweeps by itself,
/// so what one sweep counts is added up here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ResidentStats {
    /// The time from one tick to the next, in nanoseconds; 0 when it does not tick.
    pub period_ns: u64,
    /// Sweeps that ticks made.
    pub ticks: u64,
    /// Ticks that made none, as another sweep was running.
    pub skipped: u64,
    /// Records that went into the ring buffer.
    pub emitted: u64,
    /// Records that found no room, because nobody read those before them.
    pub lost: u64,
    /// How long all these sweeps took, in nanoseconds.
    pub took_ns: u64,
    /// CLOCK_BOOTTIME of the next tick.
    pub due_ns: u64,
    /// Bytes of the ring buffer that the running sweep may still fill.
    pub room: u64,
    /// `emitted` when the running sweep began.
    pub before: u64,
}

/// Bytes of [`ResidentStats`].
pub const RESIDENT_STATS_BYTES: usize = core::mem::size_of::<ResidentStats>();

/// Bytes of what ends each sweep that put records into a resident filter's ring buffer, and
/// of what ends the records that are read from a filter's file: the first bytes of the
/// sweep's [`SweepStats`]. No record has this size, as theirs are multiples of 8.
pub const SWEEP_END_BYTES: usize = 68;
const _: () = assert!(SWEEP_END_BYTES <= SWEEP_STATS_BYTES && !SWEEP_END_BYTES.is_multiple_of(8));

/// Most destructive acts on the processes that one filter finds: of each rule the window in
/// nanoseconds and the acts that are granted within it, the shorter one first.
pub const ACT_BUDGET: [(i64, usize); 2] = [(15 * NS_PER_SECOND, 1), (600 * NS_PER_SECOND, 3)];
/// Acts of a filter that the kernel keeps in mind: those of the longer window.
pub const ACT_SLOTS: usize = ACT_BUDGET[1].1;
/// Sweeps in a row that a process must be absent from to be no offender any more, unless
/// something else is asked for.
pub const ABSENT_SWEEPS: u32 = 3;

/// What a filter that acts from the kernel puts into its ring buffer behind the record of the
/// process that it is about, before it acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ActMark {
    /// Index of the rung in the filter's `limit`.
    pub rung: u32,
    /// An [`ActOutcome`].
    pub outcome: u32,
    /// What goes with it, else 0.
    pub detail: i32,
}

/// Bytes of [`ActMark`]. No record and no end of a sweep has this size.
pub const ACT_MARK_BYTES: usize = core::mem::size_of::<ActMark>();
const _: () = assert!(ACT_MARK_BYTES != SWEEP_END_BYTES && !ACT_MARK_BYTES.is_multiple_of(8));

/// What became of a rung that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ActOutcome {
    /// It is about to be done.
    Acts = 1,
    /// The budget is spent; it stays due.
    Spent = 2,
    /// It is pid 1.
    Init = 3,
    /// It is a kernel thread.
    KernelThread = 4,
    /// It loaded the filter, or is an ancestor of who did.
    Own = 5,
    /// Its name is protected; the detail is the index in the list.
    Protected = 6,
    /// The kernel did not take it; the detail is a negative errno.
    Failed = 7,
}

impl ActOutcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Acts,
        Self::Spent,
        Self::Init,
        Self::KernelThread,
        Self::Own,
        Self::Protected,
        Self::Failed,
    ];

    /// The outcome with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as u32 == number)
    }
}

/// What has become of the acts of a filter that acts from the kernel, and of those whose place it
/// took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ActCounts {
    /// Signals that were sent.
    pub sent: u64,
    /// Acts that the kernel did not take.
    pub failed: u64,
    /// Acts that were given up, as the process did not match any more when its turn came, or
    /// the filter was gone.
    pub withdrawn: u64,
    /// Rungs that a rail refused.
    pub refused: u64,
    /// Sweeps in which the budget held a rung back.
    pub spent: u64,
    /// Sweeps in which a rung was held back because its evidence found no room.
    pub silent: u64,
}

/// One of the last acts of a filter that acts from the kernel, and a share of its counters: an
/// element of the map that versions of the filter hand on, [`ACT_SLOTS`] of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ActSlot {
    /// The kernel's `struct bpf_task_work`.
    pub work: u64,
    /// The signal that is to be sent.
    pub signal: u64,
    /// CLOCK_BOOTTIME when the act was granted, in nanoseconds; 0 before the first.
    pub granted_ns: u64,
    /// Its share of the counters.
    pub counts: ActCounts,
}

/// Bytes of [`ActSlot`].
pub const ACT_SLOT_BYTES: usize = core::mem::size_of::<ActSlot>();

/// Most processes that are protected by their ids.
pub const RAIL_PIDS: usize = 32;
/// Most names that are protected.
pub const RAIL_NAMES: usize = 16;
/// Bytes of a name as the kernel keeps it, its terminating zero included.
pub const RAIL_NAME_BYTES: usize = 16;

/// Whom a filter that acts from the kernel never touches: the value of a frozen map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KernelRails {
    /// Process ids; 0 for none.
    pub pids: [u32; RAIL_PIDS],
    /// Names.
    pub names: [RailName; RAIL_NAMES],
}

/// A protected name: one whose bytes under the mask are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RailName {
    /// The bytes.
    pub bytes: [u8; RAIL_NAME_BYTES],
    /// 0xff for each byte that counts.
    pub mask: [u8; RAIL_NAME_BYTES],
}

impl RailName {
    /// The name of no process: a name ends with a zero.
    pub const NOBODY: Self = Self { bytes: [0xff; RAIL_NAME_BYTES], mask: [0xff; RAIL_NAME_BYTES] };
}

/// Bytes of [`KernelRails`].
pub const KERNEL_RAILS_BYTES: usize = core::mem::size_of::<KernelRails>();

/// One in the fixed-point form of ratios and per-second rates: a millionth is the unit.
pub const FIXED_ONE: i64 = 1_000_000;
/// Nanoseconds in a second.
pub const NS_PER_SECOND: i64 = 1_000_000_000;
/// Scale from `amount / nanoseconds` to millionths a second.
pub const PER_SECOND_SCALE: i64 = FIXED_ONE * NS_PER_SECOND;
