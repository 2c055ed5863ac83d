//! The machine for kernels that are written in C: verify and run, with memory of the caller's.
//!
//! `include/kfilter_vm.h` is the other side and `docs/embedding.md` the guide. Nothing here
//! allocates, and nothing keeps a pointer but `kfilter_vm`, which keeps that of the program.
//!
//! **Invariant**: a `kfilter_vm` holds a program only after [`verify`] accepted it, else it
//! is empty and runs nothing; sizes and alignments that C gives are checked before use.
#![allow(unsafe_code, reason = "the border to C; each function says what it relies on")]

use core::ffi::c_void;
use core::mem::{MaybeUninit, align_of, size_of};

use crate::isa::RawInsn;
use crate::run::{Env, Host, RunError, Stack};
#[cfg(feature = "threaded")]
use crate::run::{Op, SLOTS_MAX};
use crate::verify::{
    INSNS_MAX, Note, Rejection, RejectionKind, Scratch, Spec, State, VerifiedProgram, verify,
};

/// Changes when a struct or a function here does.
pub const ABI: u32 = 1;
/// Bytes of the stack that a run needs, aligned to 16.
pub const STACK_BYTES: usize = 5120;
/// Alignment of the stack and of the verifier's memory.
pub const ALIGN: usize = 16;
/// Words of [`Vm`].
const VM_WORDS: usize = 16;

#[cfg(feature = "threaded")]
const _: () = assert!(align_of::<Op>() <= ALIGN);
const _: () = assert!(size_of::<Stack>() <= STACK_BYTES && align_of::<Stack>() <= ALIGN);
const _: () = assert!(size_of::<Option<VerifiedProgram<'static>>>() <= VM_WORDS * 8);
const _: () = assert!(align_of::<Note>() <= ALIGN && align_of::<State>() <= ALIGN);
const _: () = assert!(size_of::<Note>().is_multiple_of(align_of::<State>()));

/// What C calls got wrong, or what a program did: negative results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Error {
    /// The program is refused; see [`Why`].
    Rejected = -1,
    /// A pointer is null or badly aligned, or a length does not fit.
    BadArgument = -2,
    /// The `kfilter_vm` holds no program.
    Empty = -3,
    /// A region is shorter than the program was verified for.
    ShortRegion = -4,
    /// The fuel is used up.
    OutOfFuel = -5,
    /// An insn that verification excludes: a fault of the machine.
    Corrupt = -6,
}

/// `struct kfilter_vm_spec`: what a program may rely on, in bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct VmSpec {
    /// At r1, read only.
    pub row_size: u32,
    /// At r2.
    pub state_size: u32,
    /// At r3, read only.
    pub params_size: u32,
    /// What `emit` takes, exactly.
    pub record_size: u32,
}

/// `struct kfilter_vm_why`: why a program is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Why {
    /// Which slot.
    pub insn: u32,
    /// One of [`REASONS`].
    pub reason: u32,
}

/// `struct kfilter_vm`: a verified program, or none when it is all zeros.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Vm {
    words: [MaybeUninit<u64>; VM_WORDS],
}

/// `struct kfilter_vm_host`: the other side of the helpers. A callback that is null answers
/// 0, and `emit` "no room".
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Callbacks {
    /// Handed to each of them.
    pub context: *mut c_void,
    /// Takes a record; 0 when there is no room.
    pub emit: Option<extern "C" fn(*mut c_void, *const u8, usize) -> i32>,
    /// Nanoseconds since boot.
    pub boot_ns: Option<extern "C" fn(*mut c_void) -> u64>,
    /// The tid of the thread that a thread waits for.
    pub waits_for: Option<extern "C" fn(*mut c_void, u64) -> u64>,
}

/// `struct kfilter_vm_run`: what one run works on.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Run {
    /// What r1 points to.
    pub row: *const u8,
    /// Its bytes.
    pub row_size: usize,
    /// What r2 points to; may be null when it has no bytes.
    pub state: *mut u8,
    /// Its bytes.
    pub state_size: usize,
    /// What r3 points to; may be null when it has no bytes.
    pub params: *const u8,
    /// Its bytes.
    pub params_size: usize,
    /// [`STACK_BYTES`] aligned to [`ALIGN`], zeroed before their first use.
    pub stack: *mut c_void,
    /// The helpers.
    pub host: *const Callbacks,
    /// How many functions and rounds of loops may be entered.
    pub fuel: u64,
}

macro_rules! reasons {
    ($($number:literal $kind:ident)*) => {
        /// Numbers of the reasons for which programs are refused, with their names.
        pub const REASONS: &[(u32, &str)] = &[$(($number, stringify!($kind)),)*];

        const fn reason(kind: &RejectionKind) -> u32 {
            match kind { $(RejectionKind::$kind { .. } => $number,)* }
        }
    };
}

reasons! {
    1 BadLength 2 ScratchTooSmall 3 Decode 4 Backward 5 JumpOutside 6 OutOfFunction
    7 IntoSecondSlot 8 NeverReached 9 FallsOffEnd 10 TooManyOpenJumps 11 TooLong
    12 NotInitialised 13 NeedsNumber 14 PointerArithmetic 15 ComparesPointer 16 UnknownMap
    17 NotMemory 18 MayBeNull 19 OutOfBounds 20 VariableStack 21 StackNotInitialised
    22 ReadOnly 23 PointerEscapes 24 PartOfPointer 25 TooManySpills 26 AtomicOnPointer
    27 UnknownHelper 28 MustBeZero 29 WrongArgument 30 RecordSize 31 LoopTooLong 32 TooDeep
    33 WritesFramePointer 34 ShiftTooFar 35 DivisionByZero 36 KernelFunction
}

/// Bytes of memory, aligned to [`ALIGN`], that verifying `slots` slots takes; 0 when no
/// program has so many.
#[unsafe(no_mangle)]
pub extern "C" fn kfilter_vm_scratch_bytes(slots: usize) -> usize {
    if slots == 0 || slots > INSNS_MAX {
        return 0;
    }
    let notes = Scratch::notes_needed(slots).checked_mul(size_of::<Note>());
    let states = Scratch::states_needed(slots).checked_mul(size_of::<State>());
    notes.zip(states).and_then(|(notes, states)| notes.checked_add(states)).unwrap_or(0)
}

/// Verifies a program and puts it into `vm`: 0, or a negative [`Error`] with `vm` empty.
///
/// # Safety
/// `vm` and, unless null, `why` may be written; `program` has `bytes` bytes that stay as
/// they are until `vm` is used no more; `scratch` has `scratch_bytes` bytes that nothing
/// else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_vm_verify(
    vm: *mut Vm,
    program: *const c_void,
    bytes: usize,
    spec: *const VmSpec,
    scratch: *mut c_void,
    scratch_bytes: usize,
    why: *mut Why,
) -> i32 {
    if vm.is_null() || !vm.is_aligned() || spec.is_null() || !spec.is_aligned() {
        return Error::BadArgument as i32;
    }
    let place = vm.cast::<Option<VerifiedProgram<'static>>>();
    // SAFETY: `vm` may be written, is large enough and aligned: see the assertions above.
    unsafe { place.write(None) };
    let slots = bytes >> 3;
    let needed = kfilter_vm_scratch_bytes(slots);
    let is_whole = bytes & 7 == 0 && needed != 0;
    if program.is_null() || !is_whole || scratch.is_null() || scratch_bytes < needed {
        return Error::BadArgument as i32;
    }
    let program = program.cast::<RawInsn>();
    if !program.is_aligned() || scratch.addr() & ALIGN.wrapping_sub(1) != 0 {
        return Error::BadArgument as i32;
    }
    // SAFETY: `bytes` readable bytes are `slots` slots, any bytes are a slot, and they stay
    // as long as `vm` is used.
    let program: &'static [RawInsn] = unsafe { core::slice::from_raw_parts(program, slots) };
    // SAFETY: `spec` is readable by the caller's promise and aligned.
    let spec = unsafe { *spec };
    let spec = Spec {
        row_size: spec.row_size,
        state_size: spec.state_size,
        params_size: spec.params_size,
        record_size: spec.record_size,
        maps: &[],
    };
    // SAFETY: the memory is long enough, aligned, and nobody else's for this call.
    let mut scratch = unsafe { prepare(scratch, slots) };
    match verify(program, spec, &mut scratch) {
        Ok(verified) => {
            // SAFETY: as above.
            unsafe { place.write(Some(verified)) };
            0
        }
        Err(rejection) => {
            if !why.is_null() && why.is_aligned() {
                // SAFETY: `why` may be written, by the caller's promise.
                unsafe { why.write(Why::from(&rejection)) };
            }
            Error::Rejected as i32
        }
    }
}

/// The verifier's memory, blank.
///
/// # Safety
/// `memory` is aligned to [`ALIGN`] and has [`kfilter_vm_scratch_bytes`] bytes that nothing
/// else uses while the result lives.
#[inline(never)]
unsafe fn prepare<'s>(memory: *mut c_void, slots: usize) -> Scratch<'s> {
    let (notes, states) = (Scratch::notes_needed(slots), Scratch::states_needed(slots));
    let first_note = memory.cast::<Note>();
    // SAFETY: the notes come first; the states follow at an aligned place, as a note's size
    // is a multiple of a state's alignment. Both are written before they are borrowed.
    unsafe {
        let first_state = first_note.add(notes).cast::<State>();
        for index in 0..notes {
            first_note.add(index).write(Note::default());
        }
        for index in 0..states {
            first_state.add(index).write(State::default());
        }
        Scratch {
            notes: core::slice::from_raw_parts_mut(first_note, notes),
            states: core::slice::from_raw_parts_mut(first_state, states),
        }
    }
}

impl From<&Rejection> for Why {
    fn from(rejection: &Rejection) -> Self {
        Self {
            insn: u32::try_from(rejection.pc).unwrap_or(u32::MAX),
            reason: reason(&rejection.kind),
        }
    }
}

/// The program in `vm`.
///
/// # Safety
/// `vm` is null, all zeros, or was written by [`kfilter_vm_verify`].
unsafe fn verified<'v>(vm: *const Vm) -> Option<&'v VerifiedProgram<'static>> {
    if vm.is_null() || !vm.is_aligned() {
        return None;
    }
    // SAFETY: the caller's promise. No program's address is null, so that zeros are `None`,
    // which a test checks.
    unsafe { (*vm.cast::<Option<VerifiedProgram<'static>>>()).as_ref() }
}

/// Bytes of memory, aligned to [`ALIGN`], that threading a program of `slots` slots takes; 0
/// when this build has no threaded code, or the program is too long for it.
#[unsafe(no_mangle)]
pub extern "C" fn kfilter_vm_ops_bytes(slots: usize) -> usize {
    #[cfg(feature = "threaded")]
    if slots <= SLOTS_MAX {
        return slots.checked_mul(size_of::<Op>()).unwrap_or(0);
    }
    let _ = slots;
    0
}

/// Lets the program in `vm` run several times faster: 0, or a negative [`Error`] with `vm` as
/// it was.
///
/// # Safety
/// `vm` is null, all zeros, or was written by [`kfilter_vm_verify`]. `ops` has `bytes` bytes
/// that nothing else uses until `vm` is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_vm_thread(vm: *mut Vm, ops: *mut c_void, bytes: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    let Some(program) = (unsafe { verified(vm) }) else { return Error::Empty as i32 };
    let slots = program.program().len();
    let needed = kfilter_vm_ops_bytes(slots);
    let is_aligned = ops.addr() & ALIGN.wrapping_sub(1) == 0;
    if needed == 0 || bytes < needed || ops.is_null() || !is_aligned {
        return Error::BadArgument as i32;
    }
    #[cfg(feature = "threaded")]
    // SAFETY: the memory is long enough, aligned, nobody else's, and written before it is
    // borrowed; `vm` may be written by the caller's promise.
    unsafe {
        let first = ops.cast::<Op>();
        for index in 0..slots {
            first.add(index).write(Op::BLANK);
        }
        let ops: &'static mut [Op] = core::slice::from_raw_parts_mut(first, slots);
        let threaded = program.threaded(ops);
        vm.cast::<Option<VerifiedProgram<'static>>>().write(Some(threaded));
    }
    0
}

/// The proven bound on the insns of a run; 0 for an empty `vm`.
///
/// # Safety
/// `vm` is null, all zeros, or was written by [`kfilter_vm_verify`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_vm_max_insns(vm: *const Vm) -> u64 {
    // SAFETY: the caller's promise is the same.
    unsafe { verified(vm) }.map_or(0, VerifiedProgram::max_insns)
}

/// Runs the program in `vm` over one row: 0 and its verdict in `verdict`, or a negative
/// [`Error`].
///
/// # Safety
/// `vm` is null, all zeros, or was written by [`kfilter_vm_verify`], and its program is as
/// it was then. `run` points to a [`Run`] whose regions have the sizes that it says; state
/// and stack may be written and are nobody else's meanwhile. `verdict` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfilter_vm_run(vm: *const Vm, run: *const Run, verdict: *mut u64) -> i32 {
    // SAFETY: the caller's promise is the same.
    let Some(program) = (unsafe { verified(vm) }) else { return Error::Empty as i32 };
    if run.is_null() || !run.is_aligned() || verdict.is_null() || !verdict.is_aligned() {
        return Error::BadArgument as i32;
    }
    // SAFETY: `run` is readable by the caller's promise.
    let run = unsafe { &*run };
    let stack = run.stack.cast::<Stack>();
    if stack.is_null() || run.stack.addr() & ALIGN.wrapping_sub(1) != 0 || run.host.is_null() {
        return Error::BadArgument as i32;
    }
    // SAFETY: the regions are as long as the caller says, and a stack is made of integers,
    // for which any bytes will do. All are borrowed for this call only.
    let (row, state, params, stack, callbacks) = unsafe {
        (
            bytes(run.row, run.row_size),
            bytes_mut(run.state, run.state_size),
            bytes(run.params, run.params_size),
            &mut *stack,
            &*run.host,
        )
    };
    let mut host = callbacks;
    let mut env = Env { row, state, params, maps: &mut [], host: &mut host, fuel: run.fuel };
    match program.run(&mut env, stack) {
        Ok(r0) => {
            // SAFETY: `verdict` may be written, by the caller's promise.
            unsafe { verdict.write(r0) };
            0
        }
        Err(RunError::ShortRegion) => Error::ShortRegion as i32,
        Err(RunError::OutOfFuel) => Error::OutOfFuel as i32,
        Err(RunError::WrongMaps | RunError::Corrupt) => Error::Corrupt as i32,
    }
}

/// # Safety
/// `length` bytes at `start` are readable, unless it is null.
unsafe fn bytes<'r>(start: *const u8, length: usize) -> &'r [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// # Safety
/// `length` bytes at `start` may be written and are nobody else's, unless it is null.
unsafe fn bytes_mut<'r>(start: *mut u8, length: usize) -> &'r mut [u8] {
    if start.is_null() {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(start, length) }
}

impl Host for &Callbacks {
    fn emit(&mut self, record: &[u8]) -> bool {
        self.emit.is_some_and(|emit| emit(self.context, record.as_ptr(), record.len()) != 0)
    }

    fn boot_ns(&mut self) -> u64 {
        self.boot_ns.map_or(0, |boot_ns| boot_ns(self.context))
    }

    fn waits_for(&mut self, tid: u64) -> u64 {
        self.waits_for.map_or(0, |waits_for| waits_for(self.context, tid))
    }
}

#[cfg(test)]
mod tests;
