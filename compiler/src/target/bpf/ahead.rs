//! A walk over threads that does not wait for each of them in turn.
//!
//! The kernel links its threads in a list, and where one stands is known only when the one before
//! has come from memory: a walk that finds them in no cache takes as long as that many fetches one
//! after the other. The order is much the same from one sweep to the next. So each sweep notes the
//! addresses, and looks at the thread some places further on, as the sweep before found it: these
//! fetches do not depend on each other and run beside the walk.
//!
//! **Invariant**: what was noted is a guess and nothing but a hint. It is only looked at, through a
//! pointer that may be stale without harm, and what is found there is used for nothing.

use super::columns::untrusted;
use crate::asm::{AluOp, Asm, R0, R1, R2, R3, Reg, Size};
use crate::code::FieldPath;
use crate::object::{DataType, Scratch};

/// Where the notes stand in `.bss` of each object: all of its filters share them.
const BASE: u32 = 0;
/// Threads that are noted; those beyond go where the first ones were, and are walked as ever.
const THREADS: u32 = 1 << 14;
/// How many places ahead is looked: enough for the fetches to be done by then, and few enough for
/// what they have fetched to be still there.
const DISTANCE: u32 = 16;
const WORDS: u32 = 1 + THREADS + DISTANCE;
/// Bytes of `.bss` that the notes take.
pub const BYTES: u32 = WORDS * 8;

/// Which list is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// That of processes.
    Processes,
    /// Those of the threads of each process.
    Threads,
}

/// The variable of the notes: which place is next, then the addresses.
pub fn variable() -> Scratch {
    Scratch { name: "threads_ahead".to_owned(), offset: BASE, ty: DataType::words(WORDS) }
}

/// A walk begins. Loses `r1`.
pub(super) fn start(asm: &mut Asm) {
    asm.load_data(R1, ".bss", BASE);
    asm.store_imm(Size::Dw, R1, 0, 0);
}

/// The walk has come to the task in `task`, a register that calls keep: looks ahead. Loses
/// `r0` to `r5`.
pub(super) fn step(asm: &mut Asm, task: Reg, walk: Walk) {
    asm.load_data(R1, ".bss", BASE);
    asm.load(Size::Dw, R2, R1, 0);
    asm.mov(R3, R2);
    asm.alu_imm(AluOp::Add, R3, 1);
    asm.store(Size::Dw, R1, 0, R3);
    asm.alu_imm(AluOp::And, R2, (THREADS - 1).cast_signed());
    asm.alu_imm(AluOp::Lsh, R2, 3);
    asm.alu(AluOp::Add, R1, R2);
    asm.store(Size::Dw, R1, 8, task);
    asm.load(Size::Dw, R1, R1, 8 + 8 * DISTANCE as i16);
    untrusted(asm, "task_struct");
    // The lines that the kernel's walk goes through.
    let links: &[&'static [&'static str]] = match walk {
        Walk::Processes => &[&["tasks", "next"]],
        Walk::Threads => &[&["thread_node", "next"], &["signal"]],
    };
    for link in links {
        let path = FieldPath { root: "task_struct", path: link.to_vec() };
        asm.load_field(Size::Dw, R1, R0, path);
    }
}
