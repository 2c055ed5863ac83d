//! The verifier's memory from the heap, for user space.

use std::vec;
use std::vec::Vec;

use super::{Note, Scratch, State};

/// Memory to verify programs in, to be used again and again.
#[derive(Debug, Default)]
pub struct ScratchBuffer {
    notes: Vec<Note>,
    states: Vec<State>,
}

impl ScratchBuffer {
    /// Memory for programs of up to `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            notes: vec![Note::default(); Scratch::notes_needed(slots)],
            states: vec![State::default(); Scratch::states_needed(slots)],
        }
    }

    /// The memory as [`super::verify`] takes it.
    pub fn scratch(&mut self) -> Scratch<'_> {
        Scratch { notes: &mut self.notes, states: &mut self.states }
    }
}
