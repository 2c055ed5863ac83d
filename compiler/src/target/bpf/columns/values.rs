//! Columns of a row below a process, from what the walk and the object's function left in
//! `.bss`.

use super::Columns;
use super::group::{self, Group};
use super::mappings::{EXECUTE, MAY_SHARE, READ, WRITE};
use super::object;
use super::rows;
use crate::asm::{AluOp, Asm, Cond, R0, R1, R2, R3, Reg, Size};
use crate::target::bpf::helper::PROBE_READ_KERNEL;

/// What of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowValue {
    /// The descriptor's number, or the mapping's address.
    First,
    /// The mapping's length.
    Length,
    /// A bit of the mapping's flags.
    Flag(i32),
    /// The mapping's flags as a text.
    Permissions,
    /// One of the words of the object.
    Object(u32),
    /// The flags of open(2), with that of the descriptor.
    OpenFlags,
}

/// `O_CLOEXEC` is this bit.
const CLOSE_ON_EXEC_SHIFT: i32 = 19;

impl RowValue {
    /// Whether the walk has left the value, so that nothing else has to be run.
    pub(super) const fn is_of_walk(self) -> bool {
        match self {
            Self::First | Self::Length | Self::Flag(_) | Self::Permissions => true,
            Self::Object(_) | Self::OpenFlags => false,
        }
    }

    /// Code that leaves the value in `dst`, or in the buffer there. Loses `r0` to `r5`.
    pub(super) fn load(self, columns: &Columns, asm: &mut Asm, dst: Reg) {
        asm.load_data(R0, ".bss", columns.layout().group(Group::Row));
        match self {
            Self::First => asm.load(Size::Dw, dst, R0, group::result(rows::FIRST)),
            Self::Length => {
                asm.load(Size::Dw, dst, R0, group::result(rows::END));
                asm.load(Size::Dw, R0, R0, group::result(rows::FIRST));
                asm.alu(AluOp::Sub, dst, R0);
            }
            Self::Flag(mask) => {
                asm.load(Size::Dw, dst, R0, group::result(rows::FLAGS));
                asm.alu_imm(AluOp::And, dst, mask);
                asm.alu_imm(AluOp::Rsh, dst, mask.trailing_zeros().cast_signed());
            }
            Self::Permissions => permissions(asm, dst),
            Self::Object(index) => asm.load(Size::Dw, dst, R0, object::word(index)),
            Self::OpenFlags => open_flags(columns, asm, dst),
        }
    }
}

/// The four letters of /proc/PID/maps, in the low bytes of a word.
fn permissions(asm: &mut Asm, dst: Reg) {
    asm.load(Size::Dw, R0, R0, group::result(rows::FLAGS));
    asm.load_imm(R2, i64::from(u32::from_le_bytes(*b"---p")));
    for (mask, place, set, unset) in [
        (READ, 0, b'r', b'-'),
        (WRITE, 8, b'w', b'-'),
        (EXECUTE, 16, b'x', b'-'),
        (MAY_SHARE, 24, b's', b'p'),
    ] {
        let absent = asm.label();
        asm.mov(R3, R0);
        asm.alu_imm(AluOp::And, R3, mask);
        asm.jump_if_imm(Cond::Eq, R3, 0, absent);
        asm.alu_imm(AluOp::Add, R2, (i32::from(set) - i32::from(unset)) << place);
        asm.bind(absent);
    }
    asm.store(Size::Dw, dst, 0, R2);
}

/// The kernel keeps close-on-exec with the descriptor, not with the file, but shows it
/// among the file's flags. The bit's word is read to where a mapping would have its end.
fn open_flags(columns: &Columns, asm: &mut Asm, dst: Reg) {
    asm.store_imm(Size::Dw, R0, group::result(rows::END), 0);
    asm.mov(R1, R0);
    asm.alu_imm(AluOp::Add, R1, group::result(rows::END).into());
    asm.load(Size::Dw, R3, R0, group::result(rows::FIRST));
    asm.alu_imm(AluOp::Rsh, R3, 6);
    asm.alu_imm(AluOp::Lsh, R3, 3);
    asm.load(Size::Dw, R2, R0, group::result(rows::CLOSE_ON_EXEC));
    asm.alu(AluOp::Add, R3, R2);
    asm.load_imm(R2, 8);
    asm.call_helper(PROBE_READ_KERNEL);
    asm.load_data(R0, ".bss", columns.layout().group(Group::Row));
    asm.load(Size::Dw, R1, R0, group::result(rows::END));
    asm.load(Size::Dw, R2, R0, group::result(rows::FIRST));
    asm.alu_imm(AluOp::And, R2, 63);
    asm.alu(AluOp::Rsh, R1, R2);
    asm.alu_imm(AluOp::And, R1, 1);
    asm.alu_imm(AluOp::Lsh, R1, CLOSE_ON_EXEC_SHIFT);
    asm.load(Size::Dw, R0, R0, object::word(object::OPEN_FLAGS));
    asm.alu_imm(AluOp::And, R0, !(1 << CLOSE_ON_EXEC_SHIFT));
    asm.alu(AluOp::Or, R0, R1);
    asm.mov(dst, R0);
}
