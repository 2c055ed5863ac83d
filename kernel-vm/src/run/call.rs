//! Calls: frames, the loop helper, and the helpers that reach the host.

use super::raw;
use super::{Env, FRAMES, Host, RunError, Stack};
use crate::arith::{history, mul_div};
use crate::helper::Helper;
use crate::map::Map;
use crate::verify::{STACK_BYTES, Spec};

/// Registers of the machine, padded so that a four-bit number is always one of them.
pub(super) type Regs = [u64; 16];

/// What a function's exit goes back to.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The insn after the call.
    back: usize,
    /// The caller's r6 to r9.
    saved: [u64; 4],
    /// Rounds that a loop has still to go, this one included; 0 for a plain call.
    rounds: u64,
    /// Rounds that a loop has done.
    done: u64,
    /// The first insn of a loop's body.
    body: usize,
    /// What a loop's body gets in r2.
    context: u64,
}

impl Frame {
    pub(super) const EMPTY: Self =
        Self { back: 0, saved: [0; 4], rounds: 0, done: 0, body: 0, context: 0 };
}

/// Results of helpers that failed, as Linux numbers them.
const ENOENT: i64 = -2;
const E2BIG: i64 = -7;
const ENOSPC: i64 = -28;

/// The frames of one run.
pub(super) struct Calls<'s> {
    frames: &'s mut [Frame; FRAMES],
    depth: usize,
    /// Address just above the running function's stack.
    top: u64,
}

impl<'s> Calls<'s> {
    pub(super) fn new(stack: &'s mut Stack) -> Self {
        let bottom = raw::address_of_mut(&mut stack.bytes);
        let top = bottom.wrapping_add(STACK_BYTES as u64);
        Self { frames: &mut stack.frames, depth: 0, top }
    }

    pub(super) const fn top(&self) -> u64 {
        self.top
    }

    fn push(&mut self, regs: &mut Regs, mut frame: Frame) -> Result<(), RunError> {
        let [_, _, _, _, _, _, r6, r7, r8, r9, fp, ..] = regs;
        frame.saved = [*r6, *r7, *r8, *r9];
        *self.frames.get_mut(self.depth).ok_or(RunError::Corrupt)? = frame;
        self.depth = self.depth.wrapping_add(1);
        self.top = self.top.wrapping_add(STACK_BYTES as u64);
        *fp = self.top;
        Ok(())
    }

    /// Enters a function and says where it starts.
    pub(super) fn enter(
        &mut self,
        regs: &mut Regs,
        fuel: &mut u64,
        back: usize,
        function: usize,
    ) -> Result<usize, RunError> {
        *fuel = fuel.checked_sub(1).ok_or(RunError::OutOfFuel)?;
        self.push(regs, Frame { back, ..Frame::EMPTY })?;
        Ok(function)
    }

    /// Leaves a function: the insn to go on with, or `None` at the end of the program.
    #[inline(always)]
    pub(super) fn leave(
        &mut self,
        regs: &mut Regs,
        fuel: &mut u64,
    ) -> Result<Option<usize>, RunError> {
        let Some(depth) = self.depth.checked_sub(1) else { return Ok(None) };
        let frame = self.frames.get_mut(depth).ok_or(RunError::Corrupt)?;
        let [r0, r1, r2, _, _, _, r6, r7, r8, r9, fp, ..] = regs;
        if let Some(rounds) = frame.rounds.checked_sub(1) {
            frame.done = frame.done.wrapping_add(1);
            if *r0 == 0 && rounds != 0 {
                *fuel = fuel.checked_sub(1).ok_or(RunError::OutOfFuel)?;
                frame.rounds = rounds;
                (*r1, *r2) = (frame.done, frame.context);
                return Ok(Some(frame.body));
            }
            *r0 = frame.done;
        }
        [*r6, *r7, *r8, *r9] = frame.saved;
        self.depth = depth;
        self.top = self.top.wrapping_sub(STACK_BYTES as u64);
        *fp = self.top;
        Ok(Some(frame.back))
    }

    /// Calls a helper: the insn to go on with.
    #[inline(never)]
    pub(super) fn helper<H: Host>(
        &mut self,
        id: i32,
        next: usize,
        regs: &mut Regs,
        spec: &Spec<'_>,
        env: &mut Env<'_, '_, H>,
    ) -> Result<usize, RunError> {
        let helper = Helper::from_id(id).ok_or(RunError::Corrupt)?;
        let [_, r1, r2, r3, ..] = *regs;
        let result = match helper {
            Helper::Loop => {
                let (rounds, body, context) = (r1, r2, r3);
                if rounds != 0 {
                    env.fuel = env.fuel.checked_sub(1).ok_or(RunError::OutOfFuel)?;
                    let body = usize::try_from(body).map_err(|_| RunError::Corrupt)?;
                    let frame = Frame { back: next, rounds, body, context, ..Frame::EMPTY };
                    self.push(regs, frame)?;
                    let [_, index, argument, ..] = regs;
                    (*index, *argument) = (0, context);
                    return Ok(body);
                }
                0
            }
            Helper::Emit => {
                let length = usize::try_from(spec.record_size).map_err(|_| RunError::Corrupt)?;
                record(env, r1, length)
            }
            Helper::BootTime => env.host.boot_ns(),
            Helper::WaitsFor => env.host.waits_for(r1),
            Helper::MulDiv => product(regs),
            Helper::Average => average(regs),
            Helper::Spread => spread(regs),
            Helper::Root => root(regs),
            Helper::MapLookup => {
                let (map, key, values) = map_and_key(env, r1, r2)?;
                map.find(key).map_or(0, |place| values.wrapping_add(offset(map, place)))
            }
            Helper::MapUpdate => {
                let (map, key, values) = map_and_key(env, r1, r2)?;
                match map.insert(key) {
                    Some(place) => {
                        let to = values.wrapping_add(offset(map, place));
                        set_value(r3, to, map.value_size());
                        0
                    }
                    None => code(E2BIG),
                }
            }
            Helper::MapDelete => {
                let (map, key, _) = map_and_key(env, r1, r2)?;
                if map.remove(key) { 0 } else { code(ENOENT) }
            }
        };
        if let Some(r0) = regs.first_mut() {
            *r0 = result;
        }
        Ok(next)
    }
}

/// A result of a helper in a register.
const fn code(number: i64) -> u64 {
    number.cast_unsigned()
}

/// Computes a helper that needs nothing but registers and what they point to.
#[cfg(feature = "threaded")]
type Compute = fn(&Regs) -> u64;

/// Those helpers, with what computes them.
#[cfg(feature = "threaded")]
pub(super) const ARITHMETIC: [(Helper, Compute); 4] = [
    (Helper::MulDiv, product),
    (Helper::Average, average),
    (Helper::Spread, spread),
    (Helper::Root, root),
];

#[inline(always)]
fn product(&[_, a, b, c, ..]: &Regs) -> u64 {
    mul_div(a.cast_signed(), b.cast_signed(), c.cast_signed()).cast_unsigned()
}

#[inline(always)]
fn root(&[_, low, high, ..]: &Regs) -> u64 {
    history::root(u128::from(high) << 64 | u128::from(low))
}

#[allow(unsafe_code, reason = "reads and writes the words that the verifier proved")]
#[inline(always)]
fn average([_, address, numbers @ ..]: &Regs) -> u64 {
    // SAFETY: the verifier proved that two words are in a region that may be written, and
    // initialised; nothing else has them while the helper runs.
    let words = unsafe { raw::words(*address) };
    numbers.first_chunk().map_or(0, |numbers| history::average(words, numbers))
}

#[allow(unsafe_code, reason = "reads and writes the words that the verifier proved")]
#[inline(always)]
fn spread([_, address, numbers @ ..]: &Regs) -> u64 {
    // SAFETY: as above.
    let words = unsafe { raw::words(*address) };
    numbers.first_chunk().map_or(0, |numbers| history::spread(words, numbers))
}

#[allow(unsafe_code, reason = "reads the record that the verifier proved")]
fn record<H: Host>(env: &mut Env<'_, '_, H>, address: u64, length: usize) -> u64 {
    // SAFETY: the verifier proved that the record's bytes are in a region and initialised;
    // the host cannot reach the program's memory while it reads them.
    let record = unsafe { raw::bytes(address, length) };
    if env.host.emit(record) { 0 } else { code(ENOSPC) }
}

/// The map, the key that `key` points to, and the address of the values.
#[allow(unsafe_code, reason = "reads the key that the verifier proved")]
fn map_and_key<'r, 'm, H: Host>(
    env: &'r mut Env<'_, 'm, H>,
    map: u64,
    key: u64,
) -> Result<(&'r mut Map<'m>, &'r [u8], u64), RunError> {
    let index = usize::try_from(map).map_err(|_| RunError::Corrupt)?;
    let map = env.maps.get_mut(index).ok_or(RunError::Corrupt)?;
    // SAFETY: the verifier proved that the key is readable. It may lie in a map's values or
    // in the stack, but never in the marks and keys that the map changes.
    let key = unsafe { raw::bytes(key, map.key_size()) };
    let values = raw::address_of_values(map.values());
    Ok((map, key, values))
}

fn offset(map: &Map<'_>, place: usize) -> u64 {
    map.value_offset(place) as u64
}

#[allow(unsafe_code, reason = "copies the value that the verifier proved")]
fn set_value(from: u64, to: u64, length: usize) {
    // SAFETY: the verifier proved that the value's bytes are readable, and `to` is a place
    // of the map's.
    unsafe { raw::copy(from, to, length) }
}
