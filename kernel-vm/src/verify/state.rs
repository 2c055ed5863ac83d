//! Everything known at one place: registers and stack.

use super::STACK_BYTES;
use super::value::{Kind, Value};
use crate::isa::Reg;

const SLOTS: usize = STACK_BYTES / 8;
/// Most stack slots whose value is remembered.
pub(super) const SPILLS: usize = 12;
const REGS: usize = 11;

/// What is known before an insn.
#[derive(Clone, Debug)]
pub struct State {
    regs: [Value; REGS],
    /// When each register was written: equal times, but for 0, are equal values.
    times: [u32; REGS],
    /// Which bytes of each slot are initialised; none of a slot that holds a pointer.
    init: [u8; SLOTS],
    /// One more than the index of the value that a slot holds; 0 for none remembered.
    spilled: [u8; SLOTS],
    values: [Value; SPILLS],
    /// When each value was kept.
    value_times: [u32; SPILLS],
    used: u16,
    /// The lowest slot that was ever written: below it there is nothing to join.
    lowest: u8,
    /// Calls that lead here, this function included.
    pub(super) depth: u32,
    /// The time of the state that runs through the program; 0 in others, which have none.
    clock: u32,
    next_free: u32,
}

impl Default for State {
    fn default() -> Self {
        Self::function(1)
    }
}

impl State {
    /// The state of a function that has been given nothing: to fill memory with.
    pub const BLANK: Self = {
        let mut regs = [Value::UNSET; REGS];
        if let Some(fp) = regs.last_mut() {
            *fp = Value::pointer(Kind::Stack);
        }
        Self {
            regs,
            times: [0; REGS],
            init: [0; SLOTS],
            spilled: [0; SLOTS],
            values: [Value::UNSET; SPILLS],
            value_times: [0; SPILLS],
            used: 0,
            lowest: SLOTS as u8,
            depth: 1,
            clock: 0,
            next_free: 0,
        }
    };

    /// A function's empty state.
    pub(super) fn function(depth: u32) -> Self {
        let mut state = Self::BLANK;
        state.depth = depth;
        state
    }

    /// What the program starts with.
    pub(super) fn entry() -> Self {
        let mut state = Self::function(1);
        for (number, kind) in [(1, Kind::Row), (2, Kind::State), (3, Kind::Params)] {
            if let Some(reg) = state.regs.get_mut(number) {
                *reg = Value::pointer(kind);
            }
        }
        state.clock = 1;
        state.times = [1; REGS];
        state
    }

    /// What a register holds.
    #[must_use]
    pub fn reg(&self, reg: Reg) -> &Value {
        self.regs.get(reg.index()).unwrap_or(&Value::UNSET)
    }

    pub(super) fn set(&mut self, reg: Reg, value: Value) {
        let now = self.tick();
        let index = reg.index();
        if let (Some(slot), Some(time)) = (self.regs.get_mut(index), self.times.get_mut(index)) {
            *slot = value;
            *time = now;
        }
    }

    /// A time that no write has had.
    fn tick(&mut self) -> u32 {
        if self.clock != 0 {
            self.clock = self.clock.saturating_add(1);
        }
        self.clock
    }

    /// Becomes `other`. What no slot refers to is not copied: that is most of it.
    pub(super) fn copy(&mut self, other: &Self) {
        self.regs = other.regs;
        self.times = other.times;
        self.init = other.init;
        self.spilled = other.spilled;
        let used = (u16::BITS.wrapping_sub(other.used.leading_zeros())) as usize;
        for (mine, theirs) in self.values.iter_mut().zip(&other.values).take(used) {
            *mine = *theirs;
        }
        self.value_times = other.value_times;
        self.used = other.used;
        self.lowest = other.lowest;
        self.depth = other.depth;
    }

    /// Adds what another way here knows.
    pub(super) fn join(&mut self, other: &Self) {
        let now = self.tick();
        let values = self.regs.iter_mut().zip(&other.regs);
        for ((mine, theirs), (time, other)) in values.zip(self.times.iter_mut().zip(&other.times)) {
            if time != other || *time == 0 {
                *mine = mine.union(theirs);
                *time = now;
            }
        }
        self.depth = self.depth.max(other.depth);
        for slot in usize::from(self.lowest)..SLOTS {
            self.join_slot(slot, other, now);
        }
    }

    fn join_slot(&mut self, slot: usize, other: &Self, now: u32) {
        let (a, b) = (self.init_of(slot), other.init_of(slot));
        if a != b {
            self.set_init(slot, mutant!(JoinKeepsWritten, a & b, a | b));
        }
        let Some(index) = self.index_of(slot) else { return };
        let Some(theirs) = other.index_of(slot) else {
            return mutant!(JoinKeepsSpilled, self.forget(slot), ());
        };
        let (Some(mine), Some(time)) =
            (self.values.get_mut(index), self.value_times.get_mut(index))
        else {
            return;
        };
        if *time != 0 && other.value_times.get(theirs) == Some(time) {
            return;
        }
        let Some(theirs) = other.values.get(theirs) else { return };
        *mine = mine.union(theirs);
        *time = now;
        if mine.kind == Kind::Unset {
            self.forget(slot);
        }
    }

    /// Which values, of registers and remembered, are of one kind; a bit each.
    pub(super) fn all_of(&self, kind: Kind) -> u32 {
        let values = self.regs.iter().chain(&self.values).rev();
        values.fold(0, |all, value| all << 1 | u32::from(value.kind == kind))
    }

    /// Makes these values `to`.
    pub(super) fn replace(&mut self, mut which: u32, to: &Value) {
        let now = self.tick();
        let values = self.regs.iter_mut().chain(&mut self.values);
        let times = self.times.iter_mut().chain(&mut self.value_times);
        for (value, time) in values.zip(times) {
            if which & 1 != 0 {
                (*value, *time) = (*to, now);
            }
            which >>= 1;
        }
    }

    pub(crate) fn init_of(&self, slot: usize) -> u8 {
        self.init.get(slot).copied().unwrap_or(0)
    }

    fn set_init(&mut self, slot: usize, mask: u8) {
        if let Some(init) = self.init.get_mut(slot) {
            *init = mask;
            self.lowest = self.lowest.min(slot as u8);
        }
    }

    /// Where the value of a slot is kept.
    fn index_of(&self, slot: usize) -> Option<usize> {
        self.spilled.get(slot)?.checked_sub(1).map(usize::from)
    }

    fn forget(&mut self, slot: usize) {
        let Some(spilled) = self.spilled.get_mut(slot) else { return };
        if let Some(index) = core::mem::take(spilled).checked_sub(1) {
            self.used &= !1u16.wrapping_shl(u32::from(index));
        }
    }

    /// Keeps a whole value in a slot; `false` when it is a pointer and there is no room.
    pub(super) fn spill(&mut self, slot: usize, value: Value) -> bool {
        self.forget(slot);
        let free = self.used.trailing_ones();
        let index = usize::try_from(free).unwrap_or(SPILLS);
        let (Some(kept), Some(spilled)) = (self.values.get_mut(index), self.spilled.get_mut(slot))
        else {
            self.set_init(slot, 0xff);
            return !value.kind.is_pointer();
        };
        *kept = value;
        *spilled = (free as u8).wrapping_add(1);
        let now = self.tick();
        if let Some(time) = self.value_times.get_mut(index) {
            *time = now;
        }
        self.used |= 1u16.wrapping_shl(free);
        self.set_init(slot, if value.kind.is_pointer() { 0 } else { 0xff });
        true
    }

    /// Marks bytes as holding some numbers.
    pub(super) fn write_bytes(&mut self, from: usize, length: usize) {
        for byte in from..from.saturating_add(length) {
            let (slot, bit) = (byte / 8, 1u8.wrapping_shl((byte % 8) as u32));
            // The rest of a pointer is nothing that may be read: its mask was empty.
            mutant!(PartialStoreKeepsValue, self.forget(slot), ());
            let mask = self.init_of(slot) | bit;
            self.set_init(slot, mask);
        }
    }

    /// Whether bytes are all initialised and no part of a pointer.
    #[must_use]
    pub(super) fn is_readable(&self, from: usize, length: usize) -> bool {
        (from..from.saturating_add(length))
            .all(|byte| self.init_of(byte / 8) & 1u8.wrapping_shl((byte % 8) as u32) != 0)
    }

    /// How many bytes from `from` on are readable without a gap.
    pub(super) fn readable_from(&self, from: usize) -> usize {
        (from..STACK_BYTES).take_while(|&byte| self.is_readable(byte, 1)).count()
    }

    /// The whole value of a slot, when it is remembered.
    pub(crate) fn spilled(&self, slot: usize) -> Option<&Value> {
        self.values.get(self.index_of(slot)?)
    }
}

/// States of jump targets, in the caller's memory.
#[derive(Debug)]
pub(super) struct Pool<'s> {
    states: &'s mut [State],
    /// How many have ever been used.
    touched: usize,
    /// One more than the first of the freed ones.
    free: u32,
}

impl<'s> Pool<'s> {
    pub(super) fn new(states: &'s mut [State]) -> Self {
        Self { states, touched: 0, free: 0 }
    }

    pub(super) fn get(&self, index: u32) -> Option<&State> {
        self.states.get(usize::try_from(index).ok()?)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut State> {
        self.states.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn take(&mut self, content: &State) -> Option<u32> {
        let index = match self.free.checked_sub(1) {
            Some(index) => {
                self.free = self.get(index)?.next_free;
                index
            }
            None => {
                let index = u32::try_from(self.touched).ok()?;
                self.touched = self.touched.saturating_add(1);
                index
            }
        };
        self.get_mut(index)?.copy(content);
        Some(index)
    }

    pub(super) fn free(&mut self, index: u32) {
        let next = self.free;
        if let Some(state) = self.get_mut(index) {
            state.next_free = next;
            self.free = index.saturating_add(1);
        }
    }
}
