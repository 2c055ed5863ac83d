//! Loads of kernel members, sized and signed as [`kernel_types`] says.

use super::kernel_types::{self, Kind};
use crate::asm::{AluOp, Asm, Reg, Size};
use crate::code::{FieldPath, RelocKind};

/// A path to a member: the struct and the members' names.
pub(in super::super) type Hop = (&'static str, &'static [&'static str]);

/// The path of `hop` for a reference.
pub(in super::super) fn path(hop: Hop) -> FieldPath {
    FieldPath { root: hop.0, path: hop.1.to_vec() }
}

/// `dst = base->hop`, extended to 64 bits as the member's kind says.
///
/// # Panics
/// When the table of kernel types lacks the member: our own bug.
pub(in super::super) fn load(asm: &mut Asm, dst: Reg, base: Reg, hop: Hop) {
    let path = path(hop);
    let kind = kernel_types::member(&path).expect("columns name members of the table");
    let bytes = kind.scalar_bytes().expect("columns end in a scalar");
    let size = Size::of(bytes as usize).expect("scalars have 1, 2, 4 or 8 bytes");
    asm.load_field(size, dst, base, path);
    if let Kind::Signed(bytes @ 1..8) = kind {
        asm.sign_extend(dst, bytes as u8 * 8);
    }
}

/// `dst =` whether the running kernel has the member.
pub(super) fn exists(asm: &mut Asm, dst: Reg, hop: Hop) {
    asm.load_core(dst, RelocKind::FieldExists(path(hop)));
}

/// `dst = base + ` the member's offset, for helpers that read memory.
pub(super) fn address(asm: &mut Asm, dst: Reg, base: Reg, hop: Hop) {
    asm.mov(dst, base);
    asm.add_field_offset(dst, path(hop));
}

/// `dst = dst` pages in bytes.
pub(super) fn pages_to_bytes(asm: &mut Asm, dst: Reg) {
    asm.alu_imm(AluOp::Lsh, dst, PAGE_SHIFT);
}

/// Pages are 4 KiB: x86-64 knows no other base size.
pub(super) const PAGE_SHIFT: i32 = 12;
