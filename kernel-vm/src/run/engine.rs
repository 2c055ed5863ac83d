//! The dispatch: one arm for each opcode of the families.

use super::call::{Calls, Regs};
use super::raw;
use super::{Env, Host, RunError, Stack};
use crate::isa::{AluOp, AtomicOp, ByteOrder, Cond, RawInsn, Size, Width, code, eval, families};
use crate::verify::Spec;

const W32: Width = Width::W32;
const W64: Width = Width::W64;

/// Where a jump by `off` slots from the insn before `next` leads.
#[inline(always)]
const fn jump(next: usize, off: i64) -> usize {
    next.wrapping_add(off as usize)
}

/// A slot as one word, whose fields are taken where they are needed: taking all of them at
/// each fetch costs more than the operation itself.
#[derive(Clone, Copy)]
pub(super) struct Word(u64);

impl Word {
    #[inline(always)]
    const fn dst(self) -> usize {
        (self.0 >> 8 & 0xf) as usize
    }

    #[inline(always)]
    const fn src(self) -> usize {
        (self.0 >> 12 & 0xf) as usize
    }

    #[inline(always)]
    const fn off(self) -> i64 {
        (self.0 >> 16) as i16 as i64
    }

    #[inline(always)]
    const fn imm32(self) -> i32 {
        (self.0 >> 32) as i32
    }

    #[inline(always)]
    const fn imm(self) -> u64 {
        (self.0.cast_signed() >> 32).cast_unsigned()
    }
}

#[inline(always)]
const fn address(base: u64, off: i64) -> u64 {
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

macro_rules! define_execute {
    (
        alu { $($(#[$alu_doc:meta])* $alu:ident = $alu_code:literal $alu_sym:literal,)* }
        divisions { $($(#[$udiv_doc:meta])* $udiv:ident $(#[$sdiv_doc:meta])* $sdiv:ident = $div_code:literal $udiv_sym:literal $sdiv_sym:literal,)* }
        conditions { $($(#[$cond_doc:meta])* $cond:ident = $cond_code:literal $cond_sym:literal,)* }
        sizes { $($(#[$size_doc:meta])* $size:ident = $size_code:literal $size_bytes:literal $size_sym:literal $size_signed:literal,)* }
        atomics { $($atomics:tt)* }
    ) => {
        #[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
        #[allow(
            clippy::indexing_slicing,
            reason = "a four-bit number always is an index of the sixteen registers"
        )]
        pub(super) fn execute<H: Host>(
            program: &[RawInsn],
            spec: &Spec<'_>,
            env: &mut Env<'_, '_, H>,
            stack: &mut Stack,
        ) -> Result<u64, RunError> {
            let mut calls = Calls::new(stack);
            let mut r: Regs = [0; 16];
            r[1] = raw::address_of(env.row);
            r[2] = raw::address_of_mut(env.state);
            r[3] = raw::address_of(env.params);
            r[10] = calls.top();
            let mut pc = 0usize;
            loop {
                // SAFETY: `pc` is 0, the insn after one that is not last, or the target of
                // a jump or call, all of which the verifier proved to be insns.
                let insn = Word(unsafe { raw::fetch(program, pc) });
                pc = pc.wrapping_add(1);
                match insn.0 as u8 {
                    $(
                        code::alu64_imm::$alu => r[insn.dst()] = eval::alu(W64, AluOp::$alu, r[insn.dst()], insn.imm()),
                        code::alu64_reg::$alu => r[insn.dst()] = eval::alu(W64, AluOp::$alu, r[insn.dst()], r[insn.src()]),
                        code::alu32_imm::$alu => r[insn.dst()] = eval::alu(W32, AluOp::$alu, r[insn.dst()], insn.imm()),
                        code::alu32_reg::$alu => r[insn.dst()] = eval::alu(W32, AluOp::$alu, r[insn.dst()], r[insn.src()]),
                    )*
                    $(
                        code::alu64_imm::$udiv => r[insn.dst()] = divide(W64, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], insn.imm()),
                        code::alu64_reg::$udiv => r[insn.dst()] = divide(W64, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], r[insn.src()]),
                        code::alu32_imm::$udiv => r[insn.dst()] = divide(W32, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], insn.imm()),
                        code::alu32_reg::$udiv => r[insn.dst()] = divide(W32, AluOp::$udiv, AluOp::$sdiv, insn.off(), r[insn.dst()], r[insn.src()]),
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
                        code::jump64_imm::$cond => if eval::condition(W64, Cond::$cond, r[insn.dst()], insn.imm()) {
                            pc = jump(pc, insn.off());
                        },
                        code::jump64_reg::$cond => if eval::condition(W64, Cond::$cond, r[insn.dst()], r[insn.src()]) {
                            pc = jump(pc, insn.off());
                        },
                        code::jump32_imm::$cond => if eval::condition(W32, Cond::$cond, r[insn.dst()], insn.imm()) {
                            pc = jump(pc, insn.off());
                        },
                        code::jump32_reg::$cond => if eval::condition(W32, Cond::$cond, r[insn.dst()], r[insn.src()]) {
                            pc = jump(pc, insn.off());
                        },
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
                    code::ATOMIC32 => atomic(&mut r, insn, Size::W),
                    code::ATOMIC64 => atomic(&mut r, insn, Size::Dw),
                    code::LOAD_WIDE => {
                        // SAFETY: the verifier proved that the second slot is there.
                        let high = unsafe { raw::fetch(program, pc) } >> 32;
                        pc = pc.wrapping_add(1);
                        r[insn.dst()] = constant(insn, high, pc, env)?;
                    }
                    code::JUMP => pc = jump(pc, insn.off()),
                    code::JUMP_LONG => pc = jump(pc, i64::from(insn.imm32())),
                    code::CALL => {
                        pc = if insn.src() == 1 {
                            calls.enter(&mut r, &mut env.fuel, pc, jump(pc, i64::from(insn.imm32())))?
                        } else {
                            calls.helper(insn.imm32(), pc, &mut r, spec, env)?
                        };
                    }
                    code::EXIT => match calls.leave(&mut r, &mut env.fuel)? {
                        Some(back) => pc = back,
                        None => return Ok(r[0]),
                    },
                    _ => return Err(RunError::Corrupt),
                }
            }
        }
    };
}
families!(define_execute);

/// Unsigned or, with offset field 1, signed. Apart from the dispatch, as it is slow anyway.
#[inline(never)]
fn divide(width: Width, unsigned: AluOp, signed: AluOp, off: i64, dst: u64, src: u64) -> u64 {
    if off == 0 { eval::alu(width, unsigned, dst, src) } else { eval::alu(width, signed, dst, src) }
}

/// An atomic insn. The run borrows its memory exclusively, so nothing can come between.
#[inline(never)]
#[allow(unsafe_code, reason = "runs what the verifier proved, without checks")]
#[allow(
    clippy::indexing_slicing,
    reason = "a four-bit number always is an index of the sixteen registers"
)]
fn atomic(r: &mut Regs, insn: Word, size: Size) {
    let Some(op) = AtomicOp::from_imm(insn.imm32()) else { return };
    let (dst, src) = (insn.dst(), insn.src());
    let at = address(r[dst], insn.off());
    // SAFETY: the verifier proved the access in bounds and its bytes initialised.
    let old = unsafe { raw::load(size, at) };
    let operand = eval::zero_extend(size, r[src]);
    let new = eval::atomic(op, old, operand, eval::zero_extend(size, r[0]));
    // SAFETY: the verifier proved that the same bytes may be written.
    unsafe { raw::store(size, at, new) };
    if op == AtomicOp::Cmpxchg {
        r[0] = old;
    } else if op.fetches() {
        r[src] = old;
    }
}

/// What a 16-byte load puts into its register; `next` is the insn after it.
#[inline(never)]
fn constant<H: Host>(
    insn: Word,
    high: u64,
    next: usize,
    env: &Env<'_, '_, H>,
) -> Result<u64, RunError> {
    let low = insn.0 >> 32;
    Ok(match insn.src() {
        0 => high << 32 | low,
        // A map is known by its index.
        1 | 5 => low,
        2 | 6 => {
            let index = usize::try_from(low).map_err(|_| RunError::Corrupt)?;
            let map = env.maps.get(index).ok_or(RunError::Corrupt)?;
            raw::address_of_values(map.values()).wrapping_add(high)
        }
        // A function is known by its first insn, counted from the second slot.
        4 => jump(next.wrapping_sub(1), i64::from(insn.imm32())) as u64,
        _ => return Err(RunError::Corrupt),
    })
}
