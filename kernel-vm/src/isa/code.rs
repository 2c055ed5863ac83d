//! Opcode bytes as constants named by their operation, for the engines' dispatch.
//!
//! One module for each class and source; the names are those of the families.
//!
//! **Invariant**: derived from the families alone, so that an arm of a dispatch can neither
//! be forgotten nor have a wrong number.
#![allow(
    non_upper_case_globals,
    reason = "the constants carry the names of the variants that they belong to"
)]

use super::{SOURCE_REG, class, mode, op};

macro_rules! define_codes {
    (
        alu { $($(#[$alu_doc:meta])* $alu:ident = $alu_code:literal $alu_sym:literal,)* }
        divisions { $($(#[$udiv_doc:meta])* $udiv:ident $(#[$sdiv_doc:meta])* $sdiv:ident = $div_code:literal $udiv_sym:literal $sdiv_sym:literal,)* }
        conditions { $($(#[$cond_doc:meta])* $cond:ident = $cond_code:literal $cond_sym:literal,)* }
        sizes { $($(#[$size_doc:meta])* $size:ident = $size_code:literal $size_bytes:literal $size_sym:literal $size_signed:literal,)* }
        atomics { $($atomics:tt)* }
    ) => {
        define_codes!(@alu alu64_imm, class::ALU64, $($alu = $alu_code,)* $($udiv = $div_code,)*);
        define_codes!(@alu alu64_reg, class::ALU64 | SOURCE_REG, $($alu = $alu_code,)* $($udiv = $div_code,)*);
        define_codes!(@alu alu32_imm, class::ALU, $($alu = $alu_code,)* $($udiv = $div_code,)*);
        define_codes!(@alu alu32_reg, class::ALU | SOURCE_REG, $($alu = $alu_code,)* $($udiv = $div_code,)*);
        define_codes!(@list jump64_imm, class::JMP, $($cond = $cond_code,)*);
        define_codes!(@list jump64_reg, class::JMP | SOURCE_REG, $($cond = $cond_code,)*);
        define_codes!(@list jump32_imm, class::JMP32, $($cond = $cond_code,)*);
        define_codes!(@list jump32_reg, class::JMP32 | SOURCE_REG, $($cond = $cond_code,)*);
        define_codes!(@list load, class::LDX | mode::MEM, $($size = $size_code,)*);
        define_codes!(@list load_signed, class::LDX | mode::MEMSX, $($size = $size_code,)*);
        define_codes!(@list store_imm, class::ST | mode::MEM, $($size = $size_code,)*);
        define_codes!(@list store_reg, class::STX | mode::MEM, $($size = $size_code,)*);
    };
    (@alu $module:ident, $base:expr, $($name:ident = $code:literal,)*) => {
        define_codes!(@list $module, $base, $($name = $code,)* Mov = 0xb0,);
    };
    (@list $module:ident, $base:expr, $($name:ident = $code:literal,)*) => {
        pub(crate) mod $module {
            use super::*;
            $(pub(crate) const $name: u8 = $base | $code;)*
        }
    };
}
super::families!(define_codes);

pub(crate) const NEG64: u8 = class::ALU64 | op::NEG;
pub(crate) const NEG32: u8 = class::ALU | op::NEG;
pub(crate) const LE: u8 = class::ALU | op::END;
pub(crate) const BE: u8 = class::ALU | op::END | SOURCE_REG;
pub(crate) const SWAP: u8 = class::ALU64 | op::END;
pub(crate) const ATOMIC32: u8 = class::STX | mode::ATOMIC;
pub(crate) const ATOMIC64: u8 = class::STX | mode::ATOMIC | 0x18;
pub(crate) const LOAD_WIDE: u8 = class::LD | mode::IMM | 0x18;
pub(crate) const JUMP: u8 = class::JMP | op::JA;
pub(crate) const JUMP_LONG: u8 = class::JMP32 | op::JA;
pub(crate) const CALL: u8 = class::JMP | op::CALL;
pub(crate) const EXIT: u8 = class::JMP | op::EXIT;
