//! What a walk through the kernel's lists keeps from one time to the next, in a map of its own that
//! only resident filters have.
//!
//! ```text
//! words | entries: a process and where its threads are noted | notes of threads
//! words | notes of processes
//! ```
//!
//! **Invariant**: an entry says the truth about the notes that it names: they are the first threads
//! of the process with that list that was born then, as long as its sequence has not changed. An
//! entry that is used stands behind all that this walk has written, and those that the last walk
//! has not written end at one that names no list.

use std::mem::offset_of;

use super::super::ahead::{self, BATCH, NOTE_BYTES, Notes, PROCESSES, Sights, TASKS, subprogram};
use crate::asm::JumpTooFar;
use crate::object::{DataType, Map, MapKind, Subprogram};
use crate::target::bpf::columns::Columns;

/// Words before the entries, behind the two of [`ahead`]: how far the notes from the present place on
/// may be looked at; the present process, where the list of its threads ends, and where that of
/// processes does.
pub(super) const LIMIT: i16 = 16;
pub(super) const PROCESS: i16 = 24;
pub(super) const END: i16 = 32;
pub(super) const FIRST: i16 = 40;
/// The thread from which the list is to be followed, none in a process of one thread.
pub(super) const LINK: i16 = 48;
/// Which entry is to be compared next, and where the next one is to be written, in bytes.
pub(super) const GROUPS: i16 = 56;
pub(super) const KEPT: i16 = 64;
/// How many threads there were, and how many bytes between the notes are unused.
pub(super) const COUNT: i16 = 72;
pub(super) const GAPS: i16 = 80;
/// The sequence and the birth of the present process, and where its threads are noted.
pub(super) const SEQUENCE: i16 = 88;
pub(super) const BORN: i16 = 96;
pub(super) const START: i16 = 104;
/// Which place for a process is next.
pub(super) const NEXT: i16 = 112;
const ENTRIES_AT: i16 = 120;

/// What is kept of a process.
#[repr(C)]
pub(super) struct Entry {
    end: u64,
    born: u64,
    sequence: u64,
    start: u64,
    limit: u64,
}

impl Entry {
    /// Where the list of its threads ends, which is in what they share. From the words on, as the
    /// others.
    pub(super) const END: i16 = ENTRIES_AT + offset_of!(Self, end) as i16;
    /// When it was born: another process may have its list in the same place later.
    pub(super) const BORN: i16 = ENTRIES_AT + offset_of!(Self, born) as i16;
    /// The sequence of what its threads share, even.
    pub(super) const SEQUENCE: i16 = ENTRIES_AT + offset_of!(Self, sequence) as i16;
    /// The place of its first thread.
    pub(super) const START: i16 = ENTRIES_AT + offset_of!(Self, start) as i16;
    /// The place behind the last.
    pub(super) const LIMIT: i16 = ENTRIES_AT + offset_of!(Self, limit) as i16;
}

pub(super) const ENTRY_BYTES: i32 = size_of::<Entry>() as i32;
pub(super) const ENTRIES: i32 = 256;
/// Threads of a process that is worth an entry.
pub(super) const THREADS_MIN: u32 = 16;
pub(super) const NOTES: i16 = ENTRIES_AT + (ENTRIES * ENTRY_BYTES) as i16;
/// Where threads are noted for which there is no room; nothing is kept of these.
pub(super) const LAST_PLACE: i32 = ((TASKS - 1) * NOTE_BYTES).cast_signed();
/// Room between the notes that is left alone: a quarter of all.
pub(super) const GAPS_BYTES_MAX: i32 = (TASKS * NOTE_BYTES / 4).cast_signed();
/// How processes are noted.
pub(super) const PROCESSES_NOTED: Size = Size { tasks: 1 << 13, batch: 16 };
const PROCESS_BLOCK: u32 = NOTES as u32 + ahead::room(TASKS, BATCH) * 8;
const PROCESS_WORDS: i16 = 16;
/// Where, from the first word on.
pub(super) const PROCESS_NOTES: i32 = PROCESS_BLOCK.cast_signed() + PROCESS_WORDS as i32;
const BYTES: u32 =
    PROCESS_NOTES.cast_unsigned() + ahead::room(PROCESSES_NOTED.tasks, PROCESSES_NOTED.batch) * 8;

/// How many are noted, and how many of those are looked at side by side.
pub(super) struct Size {
    pub(super) tasks: u32,
    pub(super) batch: u32,
}

/// The names of what a walk through the lists needs.
pub(in super::super) struct Lists {
    pub(super) map: String,
    pub(super) ahead: String,
    pub(super) processes: String,
    /// Whether something is read of each thread that stands behind a pointer.
    pub(super) looks_behind: bool,
}

impl Lists {
    pub(in super::super) fn new(columns: &Columns, sights: &Sights) -> Self {
        Self {
            map: columns.noted_map(),
            ahead: columns.looks_ahead(),
            processes: columns.looks_at_processes(),
            looks_behind: sights.stages() > 1,
        }
    }

    /// The functions that look ahead, and at which notes.
    pub(super) fn looks(&self) -> [(&str, Notes); 2] {
        let notes = |block, first, tasks, batch| {
            let map = Some(self.map.clone());
            Notes { map, block, first, tasks, batch }
        };
        let Size { tasks, batch } = PROCESSES_NOTED;
        [
            (&self.processes, notes(PROCESS_BLOCK, PROCESS_WORDS, tasks, batch)),
            (&self.ahead, notes(0, NOTES, TASKS, BATCH)),
        ]
    }

    /// Their code, for what is looked at of each thread.
    pub(in super::super) fn subprograms(
        &self,
        sights: &Sights,
    ) -> Result<Vec<Subprogram>, JumpTooFar> {
        let mut of_process = sights.clone();
        of_process.task.insert(0, PROCESSES);
        let [processes, threads] = self.looks();
        [(processes, &of_process), (threads, sights)]
            .into_iter()
            .map(|((name, notes), sights)| subprogram(name.to_owned(), &notes, sights))
            .collect()
    }

    /// The map.
    pub(in super::super) fn map(&self) -> Map {
        Map {
            name: self.map.clone(),
            kind: MapKind::Array,
            flags: 0,
            max_entries: 1,
            key: Some(DataType::I32),
            value: Some(DataType::words(BYTES / 8)),
        }
    }
}
