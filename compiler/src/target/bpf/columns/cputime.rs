//! CPU time split in user and system.
//!
//! The kernel samples user and system time at ticks but knows the whole exactly, so it
//! scales the samples to the whole when it shows them (`cputime_adjust`). The same is done
//! here, so that the parts add up to `cpu_time` and agree with /proc.

use super::field;
use super::sums::Sum;
use crate::asm::{AluOp, Asm, Cond, R0, R1, R2, R3, R4, R5, R6, Reg};

/// A part of the CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    User,
    System,
}

/// `dst =` a part of the CPU time of the thread in `r6`.
pub(super) fn of_thread(asm: &mut Asm, dst: Reg, half: Half) {
    for (register, sum) in [(R1, Sum::User), (R2, Sum::System), (R3, Sum::Exec)] {
        field::load(asm, register, R6, sum.of_task());
    }
    split(asm, dst, half);
}

/// `dst =` a part of the CPU time `r3`, of which the samples say `r1` user and `r2` system.
/// Loses `r0` to `r5`.
pub(super) fn split(asm: &mut Asm, dst: Reg, half: Half) {
    let (no_system, no_user, end) = (asm.label(), asm.label(), asm.label());
    asm.jump_if_imm(Cond::Eq, R2, 0, no_system);
    asm.jump_if_imm(Cond::Eq, R1, 0, no_user);
    asm.mov(R4, R1);
    asm.alu(AluOp::Add, R4, R2);
    // Brings the samples below 2^31, so that the products below fit: 30 bits are left.
    for (above, shift) in [(47, 16), (39, 8), (35, 4), (33, 2), (32, 1), (31, 1)] {
        let small = asm.label();
        asm.mov(R0, R4);
        asm.alu_imm(AluOp::Rsh, R0, above);
        asm.jump_if_imm(Cond::Eq, R0, 0, small);
        asm.alu_imm(AluOp::Rsh, R4, shift);
        asm.alu_imm(AluOp::Rsh, R2, shift);
        asm.bind(small);
    }
    // r3 * r2 / r4, by quotient and remainder of r3 / r4.
    asm.mov(R0, R3);
    asm.alu(AluOp::Div, R0, R4);
    asm.alu(AluOp::Mul, R0, R2);
    asm.mov(R5, R3);
    asm.alu(AluOp::Mod, R5, R4);
    asm.alu(AluOp::Mul, R5, R2);
    asm.alu(AluOp::Div, R5, R4);
    asm.alu(AluOp::Add, R0, R5);
    asm.jump_if(Cond::Le, R0, R3, end);
    asm.bind(no_user);
    asm.mov(R0, R3);
    asm.jump(end);
    asm.bind(no_system);
    asm.load_imm(R0, 0);
    asm.bind(end);
    match half {
        Half::System => asm.mov(dst, R0),
        Half::User => {
            asm.alu(AluOp::Sub, R3, R0);
            asm.mov(dst, R3);
        }
    }
}
