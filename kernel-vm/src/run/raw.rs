//! The only unsafe code of the machine: loads, stores and the fetch of insns.
//!
//! Everything here is sound because of what the verifier proved before; each function says
//! what that is. Measured against the checked engine this is what makes the interpreter
//! several times faster (`docs/performance.md`).
#![allow(unsafe_code, reason = "accesses were proven by the verifier; see each comment")]

use core::ptr::NonNull;

use crate::arith::history::Word;
use crate::isa::{RawInsn, Size, eval};
use crate::map::Map;

/// Memory as the program addresses it.
pub(super) fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

/// Memory as the program addresses it, for writing too.
pub(super) fn address_of_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

/// The address of a map's values.
pub(super) fn address_of_values(values: NonNull<u8>) -> u64 {
    values.as_ptr().expose_provenance() as u64
}

fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// The slot at `pc`.
///
/// # Safety
/// `pc` is below the program's length.
#[inline(always)]
pub(super) unsafe fn fetch(program: &[RawInsn], pc: usize) -> &RawInsn {
    debug_assert!(pc < program.len());
    // SAFETY: the caller's promise. The verifier proved that no insn but an exit or a jump
    // is last in its function and that every jump has a target.
    unsafe { program.get_unchecked(pc) }
}

/// How many items lie before `item` in `items`.
#[cfg(feature = "threaded")]
#[inline(always)]
pub(super) fn distance<T>(items: &[T], item: *const T) -> usize {
    let bytes = item.addr().wrapping_sub(items.as_ptr().addr());
    bytes.checked_div(size_of::<T>()).unwrap_or(0)
}

/// The `size` bytes at `address`, zeros above them.
///
/// # Safety
/// They lie in a region of the run and are initialised.
#[inline(always)]
pub(super) unsafe fn load(size: Size, address: u64) -> u64 {
    let from = pointer(address);
    // SAFETY: the caller's promise: the verifier proved bounds and initialisation of every
    // load. Regions were exposed when the run began; reads need no alignment.
    unsafe {
        match size {
            Size::B => u64::from(from.read()),
            Size::H => u64::from(from.cast::<u16>().read_unaligned()),
            Size::W => u64::from(from.cast::<u32>().read_unaligned()),
            Size::Dw => from.cast::<u64>().read_unaligned(),
        }
    }
}

/// Writes the low `size` bytes of `value` at `address`.
///
/// # Safety
/// They lie in a region of the run that may be written.
#[inline(always)]
pub(super) unsafe fn store(size: Size, address: u64, value: u64) {
    let to = pointer(address);
    // SAFETY: the caller's promise: the verifier proved bounds of every store and that its
    // region is not read only. Regions are borrowed exclusively for the run.
    unsafe {
        match size {
            Size::B => to.write(value as u8),
            Size::H => to.cast::<u16>().write_unaligned(value as u16),
            Size::W => to.cast::<u32>().write_unaligned(value as u32),
            Size::Dw => to.cast::<u64>().write_unaligned(value),
        }
    }
}

/// `length` bytes at `address`, to read.
///
/// # Safety
/// They lie in a region of the run, are initialised and are not written while the slice
/// lives.
pub(super) unsafe fn bytes<'r>(address: u64, length: usize) -> &'r [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise: the verifier proved it of every helper's argument.
    unsafe { core::slice::from_raw_parts(pointer(address), length) }
}

/// Two words at `address`, to read and to write.
///
/// # Safety
/// They lie in a region of the run that may be written, are initialised and are not accessed
/// otherwise while the reference lives.
pub(super) unsafe fn words<'r>(address: u64) -> &'r mut [Word; 2] {
    // SAFETY: the caller's promise: the verifier proved it of the helper's argument. Words are
    // bytes, which need no alignment.
    unsafe { &mut *pointer(address).cast() }
}

/// Copies `length` bytes, which may overlap.
///
/// # Safety
/// Both lie in regions of the run, the second in one that may be written.
pub(super) unsafe fn copy(from: u64, to: u64, length: usize) {
    // SAFETY: the caller's promise: the verifier proved it of the helper's arguments, and
    // the map's own place is within its values.
    unsafe { core::ptr::copy(pointer(from), pointer(to), length) }
}

impl Map<'_> {
    /// The values of all places, taken or not.
    #[must_use]
    pub fn all_values(&self) -> &[u8] {
        // SAFETY: `Map::new` took the pointer from a slice of this length that it borrows
        // for `'m`. No run is under way, which would borrow the map exclusively.
        unsafe { core::slice::from_raw_parts(self.values().as_ptr(), self.values_length()) }
    }

    /// The values of all places, to set.
    pub fn all_values_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.values().as_ptr(), self.values_length()) }
    }
}

/// What a signed load leaves in its register.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(super) unsafe fn load_signed(size: Size, address: u64) -> u64 {
    // SAFETY: the caller's promise.
    eval::sign_extend(size, unsafe { load(size, address) })
}
