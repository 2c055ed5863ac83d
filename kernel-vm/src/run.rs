//! The interpreter: runs what the verifier proved, and checks nothing of it again.
//!
//! What an insn does to registers and memory is written once, in `run/step.rs`, as an
//! expansion of the families of [`crate::isa`] that calls the shared meaning in
//! [`crate::isa::eval`]. Two dispatches use it: a loop over the program's own 8-byte slots,
//! and, with the feature `threaded` and 16 bytes a slot from the caller, threaded code
//! ([`VerifiedProgram::threaded`]). Calls, helpers and atomics are in `run/engine.rs`.
//! Addresses are real ones. The checked engine ([`crate::checked`]) runs the same programs
//! without trusting the verifier.
//!
//! **Invariant**: only a [`VerifiedProgram`] is run, and only with regions at least as long
//! as its [`Spec`] says; that is all that the unsafe code here relies on.

mod call;
mod engine;
mod raw;
mod step;
#[cfg(test)]
mod tests;
#[cfg(feature = "threaded")]
mod thread;

use crate::map::Map;
use crate::verify::{DEPTH_MAX, STACK_BYTES, Spec, VerifiedProgram};

pub use call::Frame;
#[cfg(feature = "threaded")]
pub use thread::{Op, SLOTS_MAX};

/// What programs reach outside of themselves: the host's side of the helpers.
pub trait Host {
    /// Takes a record of [`Spec::record_size`] bytes; `false` when there is no room.
    fn emit(&mut self, record: &[u8]) -> bool;

    /// Nanoseconds since boot.
    fn boot_ns(&mut self) -> u64;

    /// The tid of the thread that thread `tid` waits for; 0 when it waits for none.
    fn waits_for(&mut self, tid: u64) -> u64;
}

/// What one run works on.
#[derive(Debug)]
pub struct Env<'e, 'm, H> {
    /// What `r1` points to.
    pub row: &'e [u8],
    /// What `r2` points to; kept from run to run.
    pub state: &'e mut [u8],
    /// What `r3` points to.
    pub params: &'e [u8],
    /// The maps, by index.
    pub maps: &'e mut [Map<'m>],
    /// The other side of the helpers.
    pub host: &'e mut H,
    /// How many functions may still be entered, calls and loop rounds; counted down. Between
    /// two of them insns only go forward, so this bounds the run even if the verifier's
    /// bound were wrong.
    pub fuel: u64,
}

/// Stack memory for one run, 4 KiB and a little. It may be used again at once: a verified
/// program reads no byte that it has not written.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Stack {
    bytes: [u8; STACK_TOTAL],
    frames: [Frame; FRAMES],
}

/// Bytes of all functions' stacks.
const STACK_TOTAL: usize = STACK_BYTES.saturating_mul(DEPTH_MAX as usize);
/// Frames of callers that wait; the program itself has none.
const FRAMES: usize = DEPTH_MAX as usize;

impl Stack {
    /// A blank stack.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; STACK_TOTAL], frames: [Frame::EMPTY; FRAMES] }
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a run did not come to its end. No fault of a verified program's: the host gave less
/// than the program was verified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// A region is shorter than its size in the [`Spec`].
    ShortRegion,
    /// The maps are not those of the [`Spec`].
    WrongMaps,
    /// [`Env::fuel`] is used up.
    OutOfFuel,
    /// An insn that verification excludes: a fault of the machine.
    Corrupt,
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ShortRegion => "a region is shorter than the program was verified for",
            Self::WrongMaps => "the maps are not those that the program was verified for",
            Self::OutOfFuel => "the fuel is used up",
            Self::Corrupt => "an insn that verification excludes",
        })
    }
}

impl core::error::Error for RunError {}

impl<H: Host> Env<'_, '_, H> {
    /// Whether the regions are what `spec` says.
    pub(crate) fn check(&self, spec: &Spec<'_>) -> Result<(), RunError> {
        let has = |length: usize, size: u32| usize::try_from(size).is_ok_and(|size| length >= size);
        if !(has(self.row.len(), spec.row_size)
            && has(self.state.len(), spec.state_size)
            && has(self.params.len(), spec.params_size))
        {
            return Err(RunError::ShortRegion);
        }
        let same = self.maps.len() == spec.maps.len()
            && self.maps.iter().zip(spec.maps).all(|(map, spec)| map.spec() == spec);
        if same { Ok(()) } else { Err(RunError::WrongMaps) }
    }
}

impl VerifiedProgram<'_> {
    /// Runs the program once: its `r0`.
    ///
    /// # Errors
    /// When `env` is not what the program was verified for, or its fuel is used up.
    pub fn run<H: Host>(
        &self,
        env: &mut Env<'_, '_, H>,
        stack: &mut Stack,
    ) -> Result<u64, RunError> {
        env.check(self.spec())?;
        engine::execute(self, env, stack)
    }
}
