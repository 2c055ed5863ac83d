//! Calls of the checked engine: every argument is looked at.

use super::memory::Region;
use super::{FaultKind, Machine, Step};
use crate::arith::{history, mul_div};
use crate::helper::Helper;
use crate::isa::Reg;
use crate::run::Host;
use crate::verify::{STACK_BYTES, Spec};

/// What a function's exit goes back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    back: usize,
    saved: [Option<u64>; 4],
    rounds: Option<Rounds>,
}

/// A loop that is under way.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    done: u64,
    count: u64,
    body: usize,
    context: u64,
}

impl Frame {
    pub(super) const EMPTY: Self = Self { back: 0, saved: [None; 4], rounds: None };
}

const SAVED: [Reg; 4] = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
const ARGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

impl<H: Host> Machine<'_, '_, '_, H> {
    fn stack_bottom(&self) -> usize {
        self.depth.saturating_mul(STACK_BYTES)
    }

    /// The address just above the running function's stack.
    #[must_use]
    pub fn frame_top(&self) -> u64 {
        let top = self.stack_bottom().saturating_add(STACK_BYTES);
        Region::Stack.base().wrapping_add(top as u64)
    }

    pub(super) fn set_frame_pointer(&mut self) {
        let top = self.frame_top();
        if let Some(fp) = self.regs.last_mut() {
            *fp = Some(top);
        }
    }

    fn unset(&mut self, regs: &[Reg]) {
        for reg in regs {
            if let Some(reg) = self.regs.get_mut(reg.index()) {
                *reg = None;
            }
        }
    }

    fn push(&mut self, back: usize, rounds: Option<Rounds>) -> Step<()> {
        let saved = SAVED.map(|reg| self.reg(reg));
        let deepest = self.frames.len().saturating_sub(1);
        if self.depth >= deepest {
            return Err(FaultKind::TooDeep);
        }
        *self.frames.get_mut(self.depth).ok_or(FaultKind::TooDeep)? = Frame { back, saved, rounds };
        self.depth = self.depth.saturating_add(1);
        self.begin();
        Ok(())
    }

    /// A function begins: it sees its arguments and nothing else.
    fn begin(&mut self) {
        self.unset(&SAVED);
        self.unset(&[Reg::R0]);
        self.memory.new_frame(self.stack_bottom());
        self.set_frame_pointer();
    }

    pub(super) fn enter(&mut self, back: usize, function: usize) -> Step<usize> {
        self.push(back, None)?;
        Ok(function)
    }

    /// Leaves a function: the next insn, or `None` at the end of the program.
    pub(super) fn leave(&mut self) -> Step<Option<usize>> {
        let mut result = self.get(Reg::R0)?;
        let Some(depth) = self.depth.checked_sub(1) else { return Ok(None) };
        let frame = *self.frames.get(depth).ok_or(FaultKind::TooDeep)?;
        if let Some(mut rounds) = frame.rounds {
            rounds.done = rounds.done.saturating_add(1);
            if result == 0 && rounds.done < rounds.count {
                if let Some(frame) = self.frames.get_mut(depth) {
                    frame.rounds = Some(rounds);
                }
                self.round(rounds)?;
                return Ok(Some(rounds.body));
            }
            result = rounds.done;
        }
        self.depth = depth;
        self.unset(&ARGS);
        for (reg, saved) in SAVED.iter().zip(frame.saved) {
            if let Some(reg) = self.regs.get_mut(reg.index()) {
                *reg = saved;
            }
        }
        self.set_frame_pointer();
        self.set(Reg::R0, result)?;
        Ok(Some(frame.back))
    }

    fn round(&mut self, rounds: Rounds) -> Step<()> {
        self.begin();
        self.unset(&ARGS);
        self.set(Reg::R1, rounds.done)?;
        self.set(Reg::R2, rounds.context)
    }

    /// Calls a helper: the next insn.
    pub(super) fn helper(&mut self, id: i32, next: usize, spec: &Spec<'_>) -> Step<usize> {
        let result = match Helper::from_id(id).ok_or(FaultKind::Unknown)? {
            Helper::Loop => {
                self.zero(Reg::R4)?;
                let count = self.get(Reg::R1)?;
                let body = match Region::of(self.get(Reg::R2)?) {
                    Some((Region::Function, body)) => body,
                    _ => return Err(FaultKind::BadArgument { reg: Reg::R2 }),
                };
                let context = self.get(Reg::R3)?;
                if count != 0 {
                    let rounds = Rounds { done: 0, count, body, context };
                    self.push(next, Some(rounds))?;
                    self.round(rounds)?;
                    return Ok(body);
                }
                0
            }
            Helper::Emit => {
                let size = usize::try_from(spec.record_size).unwrap_or(usize::MAX);
                if usize::try_from(self.get(Reg::R2)?) != Ok(size) {
                    return Err(FaultKind::BadArgument { reg: Reg::R2 });
                }
                let address = self.get(Reg::R1)?;
                // The host has its own borrow of the environment: it gets a copy.
                let mut record = [0; STACK_BYTES];
                let bytes = self.memory.read(address, size)?;
                let record = record.get_mut(..size);
                let record = record.ok_or(FaultKind::BadArgument { reg: Reg::R2 })?;
                record.copy_from_slice(bytes);
                if self.memory.env.host.emit(record) { 0 } else { failure(28) }
            }
            Helper::BootTime => self.memory.env.host.boot_ns(),
            Helper::WaitsFor => {
                let tid = self.get(Reg::R1)?;
                self.memory.env.host.waits_for(tid)
            }
            Helper::MulDiv => {
                let [a, b, c] = [self.get(Reg::R1)?, self.get(Reg::R2)?, self.get(Reg::R3)?];
                mul_div(a.cast_signed(), b.cast_signed(), c.cast_signed()).cast_unsigned()
            }
            Helper::Average => {
                let numbers = [self.get(Reg::R2)?, self.get(Reg::R3)?, self.get(Reg::R4)?];
                history::average(self.words()?, &numbers)
            }
            Helper::Spread => {
                let numbers = [self.get(Reg::R2)?, self.get(Reg::R3)?];
                history::spread(self.words()?, &numbers)
            }
            Helper::Root => {
                let [low, high] = [self.get(Reg::R1)?, self.get(Reg::R2)?].map(u128::from);
                history::root(high << 64 | low)
            }
            Helper::MapLookup => {
                let (index, key, length) = self.map_key()?;
                let map = self.memory.map(index).ok_or(FaultKind::Unknown)?;
                let key = key.get(..length).unwrap_or(&[]);
                map.find(key).map_or(0, |place| value_address(index, map.value_offset(place)))
            }
            Helper::MapUpdate => self.map_update()?,
            Helper::MapDelete => {
                let (index, key, length) = self.map_key()?;
                let map = self.memory.env.maps.get_mut(index).ok_or(FaultKind::Unknown)?;
                if map.remove(key.get(..length).unwrap_or(&[])) { 0 } else { failure(2) }
            }
        };
        self.unset(&ARGS);
        self.set(Reg::R0, result)?;
        Ok(next)
    }

    /// The two words that r1 points to, to read and to write.
    fn words(&mut self) -> Step<&mut [history::Word; 2]> {
        let address = self.get(Reg::R1)?;
        self.memory.read(address, 16)?;
        let (words, _) = self.memory.write(address, 16)?.as_chunks_mut();
        words.first_chunk_mut().ok_or(FaultKind::BadArgument { reg: Reg::R1 })
    }

    fn zero(&self, reg: Reg) -> Step<()> {
        if self.get(reg)? == 0 { Ok(()) } else { Err(FaultKind::BadArgument { reg }) }
    }

    /// The map in r1 and a copy of the key that r2 points to.
    fn map_key(&self) -> Step<(usize, [u8; KEY_MAX], usize)> {
        let index = match Region::of(self.get(Reg::R1)?) {
            Some((Region::Map(index), 0)) => index,
            _ => return Err(FaultKind::BadArgument { reg: Reg::R1 }),
        };
        let length = self.memory.map(index).ok_or(FaultKind::Unknown)?.key_size();
        let mut key = [0; KEY_MAX];
        let bytes = self.memory.read(self.get(Reg::R2)?, length)?;
        let copy = key.get_mut(..length).ok_or(FaultKind::BadArgument { reg: Reg::R2 })?;
        copy.copy_from_slice(bytes);
        Ok((index, key, length))
    }

    fn map_update(&mut self) -> Step<u64> {
        self.zero(Reg::R4)?;
        let (index, key, length) = self.map_key()?;
        let from = self.get(Reg::R3)?;
        let map = self.memory.map(index).ok_or(FaultKind::Unknown)?;
        let size = map.value_size();
        self.memory.read(from, size)?;
        let map = self.memory.env.maps.get_mut(index).ok_or(FaultKind::Unknown)?;
        let Some(place) = map.insert(key.get(..length).unwrap_or(&[])) else {
            return Ok(failure(7));
        };
        let to = value_address(index, map.value_offset(place));
        // As memmove: the value may lie in the map and overlap its new place.
        let upwards = from < to;
        for step in 0..size {
            let at = if upwards { size.saturating_sub(step).saturating_sub(1) } else { step };
            let at = at as u64;
            let byte = self.memory.read(from.wrapping_add(at), 1)?.first().copied().unwrap_or(0);
            if let Some(to) = self.memory.write(to.wrapping_add(at), 1)?.first_mut() {
                *to = byte;
            }
        }
        Ok(0)
    }
}

/// Longest key of a map that the checked engine serves.
const KEY_MAX: usize = STACK_BYTES;

fn value_address(map: usize, offset: usize) -> u64 {
    Region::MapValues(map).base().wrapping_add(offset as u64)
}

const fn failure(code: i64) -> u64 {
    code.wrapping_neg().cast_unsigned()
}
