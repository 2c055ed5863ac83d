//! Two insns in one function: which kinds are fused, and what is known of their registers.
//!
//! Where the second insn works on what the first has left in its destination, the function
//! knows that the two are one register, and its value never leaves the processor between
//! them.
//!
//! **Invariant**: a fused pair does what its insns do one after the other; a jump to the
//! second finds that one's own op.

use super::{Fields, Op, Run, follow};
use crate::isa::{RawInsn, SOURCE_REG, class, code, op};
use crate::run::call::Regs;
use crate::run::step::{Flow, step};

/// Kinds of insns that are fused. The first [`FIRST`] of them only go to the next slot.
pub(in crate::run) const KINDS: [u8; 37] = [
    code::load::B,
    code::load::H,
    code::load::W,
    code::load::Dw,
    code::store_reg::B,
    code::store_reg::H,
    code::store_reg::W,
    code::store_reg::Dw,
    code::alu64_imm::Add,
    code::alu64_imm::Mul,
    code::alu64_imm::And,
    code::alu64_imm::Or,
    code::alu64_imm::Xor,
    code::alu64_imm::Lsh,
    code::alu64_imm::Rsh,
    code::alu64_imm::Arsh,
    code::alu64_imm::Mov,
    code::alu64_reg::Add,
    code::alu64_reg::Sub,
    code::alu64_reg::Mul,
    code::alu64_reg::And,
    code::alu64_reg::Or,
    code::alu64_reg::Xor,
    code::alu64_reg::Mov,
    code::jump64_imm::Eq,
    code::jump64_imm::Ne,
    code::jump64_imm::Gt,
    code::jump64_imm::Ge,
    code::jump64_imm::Lt,
    code::jump64_imm::Le,
    code::jump64_imm::Set,
    code::jump64_imm::Sgt,
    code::jump64_imm::Sge,
    code::jump64_imm::Slt,
    code::jump64_imm::Sle,
    code::JUMP,
    code::EXIT,
];
pub(in crate::run) const FIRST: usize = 24;

#[allow(clippy::indexing_slicing, reason = "only called by the compiler")]
const fn kind(index: usize) -> u8 {
    KINDS[index]
}

/// The registers of the second insn are its own.
const APART: u8 = 0;
/// Its destination is that of the first.
const SAME_DST: u8 = 1;
/// Its source is the destination of the first.
const SRC_IS_DST: u8 = 2;

/// What an insn of a kind does with its registers.
const fn is_store(code: u8) -> bool {
    code & class::MASK == class::STX
}

const fn reads_src(code: u8) -> bool {
    is_store(code) || (code & class::MASK == class::ALU64 && code & SOURCE_REG != 0)
}

const fn reads_dst(code: u8) -> bool {
    let moves = code & op::MASK == op::MOV;
    match code & class::MASK {
        class::ALU64 => !moves,
        class::JMP => code != code::JUMP && code != code::EXIT,
        _ => false,
    }
}

/// Whether a form says something about two kinds.
const fn applies(form: u8, first: u8, second: u8) -> bool {
    match form {
        SAME_DST => !is_store(first) && reads_dst(second),
        SRC_IS_DST => !is_store(first) && reads_src(second),
        _ => true,
    }
}

/// Runs two insns.
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
unsafe fn pair<const FORM: u8, const A: usize, const B: usize>(
    op: *const Op,
    r: &mut Regs,
) -> *const Op {
    // SAFETY: an op of a verified program, in its place, and the next, as the first insn only
    // goes there.
    unsafe {
        let (first, next) = (Fields::new(&*op, const { kind(A) }), op.add(1));
        let mut second = Fields::new(&*next, const { kind(B) });
        match FORM {
            SAME_DST => second.dst = first.dst,
            SRC_IS_DST => second.src = first.dst,
            _ => {}
        }
        let _: Flow = step(const { kind(A) }, first, r);
        follow(next, step(const { kind(B) }, second, r), r)
    }
}

const fn cell<const FORM: u8, const A: usize, const B: usize>() -> Option<Run> {
    if applies(FORM, kind(A), kind(B)) { Some(pair::<FORM, A, B>) } else { None }
}

macro_rules! row {
    ($form:ident $first:tt: $($second:tt)*) => { [$(cell::<$form, $first, $second>(),)*] };
}

macro_rules! grid {
    ($form:ident: $($first:tt)*) => {
        [$(row!($form $first: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24
            25 26 27 28 29 30 31 32 33 34 35 36),)*]
    };
    ($form:ident) => {
        grid!($form: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23)
    };
}

/// The functions of fused pairs by form, first and second kind.
static PAIRS: [[[Option<Run>; KINDS.len()]; FIRST]; 3] =
    [grid!(APART), grid!(SAME_DST), grid!(SRC_IS_DST)];

/// The function for two insns, when both are of common kinds.
pub(in crate::run) fn fused(slot: RawInsn, next: RawInsn) -> Option<Run> {
    let kind = |slot: RawInsn| {
        let extends = slot.code == code::alu64_reg::Mov && slot.off != 0;
        if extends { None } else { KINDS.iter().position(|&known| known == slot.code) }
    };
    let (first, second) = (kind(slot)?, kind(next)?);
    let of = |form: u8| *PAIRS.get(usize::from(form))?.get(first)?.get(second)?;
    let same = if next.dst() == slot.dst() { of(SAME_DST) } else { None };
    let source = if next.src() == slot.dst() { of(SRC_IS_DST) } else { None };
    same.or(source).or_else(|| of(APART))
}
