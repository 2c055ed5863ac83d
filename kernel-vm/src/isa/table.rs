//! Tables from the operation's bits of an opcode to the operation, filled when compiled.
//!
//! **Invariant**: only the upper four bits tell operations apart.

/// Sets the entry of `code`.
#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, to which an index outside is an error"
)]
pub(super) const fn put<T: Copy>(table: &mut [Option<T>; 16], code: u8, entry: T) {
    table[(code >> 4) as usize] = Some(entry);
}

/// The entry of `code`.
pub(super) fn find<T: Copy>(table: &[Option<T>; 16], code: u8) -> Option<T> {
    if code & 0xf == 0 { table.get(usize::from(code >> 4)).copied().flatten() } else { None }
}
