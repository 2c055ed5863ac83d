//! What classic programs have to find out before the rows are read.
//!
//! Where a program cannot walk by itself, a column that takes more than its own row needs the
//! kernel to go over other rows first: the mappings of all processes before the rows that show
//! their sums, all threads before those that show who waits for whom. Each time is a pass, a
//! program of its own that leaves what it found in maps and in `.bss`.

use super::Columns;
use crate::asm::Asm;
use crate::object::ProgramSection;

/// A pass over what the kernel goes over when a file is read.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its program's name, before that of the filter.
    pub name: &'static str,
    /// Over what.
    pub section: ProgramSection,
    /// Where in `.bss` the number is that is 0 when it may be left out.
    pub needed: Option<u32>,
    /// Its code at each of the moments. It may use every register but `r6`; the context is on
    /// the stack at [`CONTEXT`](super::CONTEXT).
    pub code: fn(&Columns, &mut Asm, Moment),
}

/// When a pass's code is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first row.
    Begin,
    /// For each row, with its task in `r6`. Code that goes on behind ends the row.
    Row,
    /// When there are no more rows.
    End,
}
