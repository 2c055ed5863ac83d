//! What insns do that need no more than registers and memory: written once, for both
//! dispatches.
//!
//! The loop of [`super::engine`] calls [`step`] with the code of the slot at hand, which makes
//! it one large match; [`super::thread`] calls it with constants, which leaves one arm of it.
//!
//! **Invariant**: every arm is an expansion of the families of [`crate::isa`] and calls the
//! shared meaning in [`crate::isa::eval`].

use super::call::Regs;
use super::raw;
use crate::isa::{AluOp, ByteOrder, Cond, SOURCE_REG, Size, Width, code, eval, families};

const W32: Width = Width::W32;
const W64: Width = Width::W64;

/// An insn's operands, each taken only where it is needed.
pub(super) trait Operands: Copy {
    /// Number of the destination register.
    fn dst(self) -> usize;
    /// Number of the source register.
    fn src(self) -> usize;
    /// The offset field.
    fn off(self) -> i64;
    /// The immediate field.
    fn imm32(self) -> i32;

    /// The immediate field as a number of 64 bits.
    #[inline(always)]
    fn imm(self) -> u64 {
        i64::from(self.imm32()).cast_unsigned()
    }
}

/// How a run goes on.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    /// With the next slot.
    Next,
    /// So many slots behind the next.
    Jump(i64),
    /// The insn needs more than registers and memory, and was not run.
    Other,
}

#[inline(always)]
pub(super) const fn address(base: u64, off: i64) -> u64 {
    base.wrapping_add(off.cast_unsigned())
}

/// The bits that a `MOV` with this offset field takes.
const fn moved(off: i64) -> Size {
    match off {
        8 => Size::B,
        16 => Size::H,
        32 => Size::W,
        _ => Size::Dw,
    }
}

const fn swapped(imm: i32) -> Size {
    match imm {
        16 => Size::H,
        32 => Size::W,
        _ => Size::Dw,
    }
}

macro_rules! define_step {
    (
        alu { $($(#[$alu_doc:meta])* $alu:ident = $alu_code:literal $alu_sym:literal,)* }
        divisions { $($(#[$udiv_doc:meta])* $udiv:ident $(#[$sdiv_doc:meta])* $sdiv:ident = $div_code:literal $udiv_sym:literal $sdiv_sym:literal,)* }
        conditions { $($(#[$cond_doc:meta])* $cond:ident = $cond_code:literal $cond_sym:literal,)* }
        sizes { $($(#[$size_doc:meta])* $size:ident = $size_code:literal $size_bytes:literal $size_sym:literal $size_signed:literal,)* }
        atomics { $($atomics:tt)* }
    ) => {
        /// Runs an insn with this opcode.
        ///
        /// # Safety
        /// The insn is one of a verified program's, and the registers are what the run made
        /// them until here.
        #[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
        #[allow(
            clippy::indexing_slicing,
            reason = "a register's number always is an index of the sixteen registers"
        )]
        #[inline(always)]
        pub(super) unsafe fn step(code: u8, insn: impl Operands, r: &mut Regs) -> Flow {
            // Insns that are rare, slow or many share an arm for both kinds of second operand.
            let second = |r: &Regs| if code & SOURCE_REG == 0 { insn.imm() } else { r[insn.src()] };
            let jump = |taken| if taken { Flow::Jump(insn.off()) } else { Flow::Next };
            match code {
                $(
                    code::alu64_imm::$alu => r[insn.dst()] = eval::alu(W64, AluOp::$alu, r[insn.dst()], insn.imm()),
                    code::alu64_reg::$alu => r[insn.dst()] = eval::alu(W64, AluOp::$alu, r[insn.dst()], r[insn.src()]),
                    code::alu32_imm::$alu | code::alu32_reg::$alu => r[insn.dst()] = eval::alu(W32, AluOp::$alu, r[insn.dst()], second(r)),
                )*
                $(
                    code::alu64_imm::$udiv | code::alu64_reg::$udiv => r[insn.dst()] = divide(W64, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], second(r)),
                    code::alu32_imm::$udiv | code::alu32_reg::$udiv => r[insn.dst()] = divide(W32, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], second(r)),
                )*
                code::alu64_imm::Mov => r[insn.dst()] = insn.imm(),
                code::alu64_reg::Mov => r[insn.dst()] = match insn.off() {
                    0 => r[insn.src()],
                    off => eval::mov_sx(W64, moved(off), r[insn.src()]),
                },
                code::alu32_imm::Mov => r[insn.dst()] = eval::mov(W32, insn.imm()),
                code::alu32_reg::Mov => r[insn.dst()] = match insn.off() {
                    0 => eval::mov(W32, r[insn.src()]),
                    off => eval::mov_sx(W32, moved(off), r[insn.src()]),
                },
                code::NEG64 => r[insn.dst()] = eval::neg(W64, r[insn.dst()]),
                code::NEG32 => r[insn.dst()] = eval::neg(W32, r[insn.dst()]),
                code::LE => r[insn.dst()] = eval::byte_order(ByteOrder::Le, swapped(insn.imm32()), r[insn.dst()]),
                code::BE => r[insn.dst()] = eval::byte_order(ByteOrder::Be, swapped(insn.imm32()), r[insn.dst()]),
                code::SWAP => r[insn.dst()] = eval::byte_order(ByteOrder::Swap, swapped(insn.imm32()), r[insn.dst()]),
                $(
                    code::jump64_imm::$cond | code::jump64_reg::$cond => return jump(eval::condition(W64, Cond::$cond, r[insn.dst()], second(r))),
                    code::jump32_imm::$cond | code::jump32_reg::$cond => return jump(eval::condition(W32, Cond::$cond, r[insn.dst()], second(r))),
                )*
                $(
                    // SAFETY: the verifier proved the access in bounds of a region and
                    // its bytes initialised.
                    code::load::$size => r[insn.dst()] = unsafe {
                        raw::load(Size::$size, address(r[insn.src()], insn.off()))
                    },
                    // SAFETY: as for the load above.
                    code::load_signed::$size => r[insn.dst()] = unsafe {
                        raw::load_signed(Size::$size, address(r[insn.src()], insn.off()))
                    },
                    // SAFETY: the verifier proved the access in bounds of a region that
                    // may be written.
                    code::store_imm::$size => unsafe {
                        raw::store(Size::$size, address(r[insn.dst()], insn.off()), insn.imm());
                    },
                    // SAFETY: as for the store above.
                    code::store_reg::$size => unsafe {
                        raw::store(Size::$size, address(r[insn.dst()], insn.off()), r[insn.src()]);
                    },
                )*
                code::JUMP => return Flow::Jump(insn.off()),
                code::JUMP_LONG => return Flow::Jump(i64::from(insn.imm32())),
                _ => return Flow::Other,
            }
            Flow::Next
        }
    };
}
families!(define_step);

/// Unsigned or, with offset field 1, signed. Apart from the dispatch, as it is slow anyway.
#[inline(never)]
fn divide(width: Width, unsigned: AluOp, signed: AluOp, off: i64, dst: u64, src: u64) -> u64 {
    if off == 0 { eval::alu(width, unsigned, dst, src) } else { eval::alu(width, signed, dst, src) }
}
