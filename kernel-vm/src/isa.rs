//! The instruction set of RFC 9669, written once.
//!
//! An opcode is a product: class × operation × source (or size × mode). The families of
//! operations are listed once, in the `families!` block below; enums, opcode bytes,
//! mnemonics, decoder, encoder, disassembler, assembler and the engines' dispatch are
//! expansions of those lists. Adding an operation to a list without saying what it
//! computes does not compile.
//!
//! Pipeline: [`RawInsn`] (8 bytes) → [`decode`] → [`Insn`] (closed, legal by construction)
//! → every later stage; [`encode`] goes back and [`eval`] says what arithmetic means.
//!
//! **Invariant**: only `decode`, `encode` and the engines' dispatch see opcode bytes, and
//! `encode(decode(x)) == x` for every `x` that decodes: no reserved field is ignored.

pub(crate) mod code;
mod decode;
mod encode;
pub mod eval;
mod table;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use crate::generate::scatter;
mod text;
mod types;

pub(crate) use decode::insn as decode_insn;
pub use decode::{DecodeError, DecodeErrorKind, decode};
pub use encode::encode;
pub use text::Disassembly;
pub use types::{Callee, Insn, Operand, RawInsn, Reg, Slots, Wide};

/// Bytes of a slot: an insn, or half of a 16-byte one.
pub const INSN_BYTES: usize = 8;

/// The insn classes: the low three bits of an opcode.
pub mod class {
    /// Load of a wide immediate (and of packets, which is refused).
    pub const LD: u8 = 0x00;
    /// Load into a register.
    pub const LDX: u8 = 0x01;
    /// Store of an immediate.
    pub const ST: u8 = 0x02;
    /// Store of a register.
    pub const STX: u8 = 0x03;
    /// Arithmetic in 32 bits.
    pub const ALU: u8 = 0x04;
    /// Jumps that compare 64 bits, calls and exit.
    pub const JMP: u8 = 0x05;
    /// Jumps that compare 32 bits, and the long jump.
    pub const JMP32: u8 = 0x06;
    /// Arithmetic in 64 bits.
    pub const ALU64: u8 = 0x07;
    /// The bits of the class in an opcode.
    pub const MASK: u8 = 0x07;
}

/// The source bit of an opcode: the second operand is a register.
pub const SOURCE_REG: u8 = 0x08;

/// The modes of loads and stores: the high three bits of their opcodes.
pub mod mode {
    /// 64-bit immediate.
    pub const IMM: u8 = 0x00;
    /// Packet access at a constant offset: obsolete, refused.
    pub const ABS: u8 = 0x20;
    /// Packet access at a register's offset: obsolete, refused.
    pub const IND: u8 = 0x40;
    /// Plain memory access, zeros extend.
    pub const MEM: u8 = 0x60;
    /// Load that extends the sign.
    pub const MEMSX: u8 = 0x80;
    /// Atomic read-modify-write.
    pub const ATOMIC: u8 = 0xc0;
    /// The bits of the mode in an opcode.
    pub const MASK: u8 = 0xe0;
}

/// The families. Each entry: `Name = code [, off] "symbol"` and what it is.
///
/// `$then!` receives all lists; the engines call this macro too, so that their dispatch has
/// one arm for each operation and lacks none.
macro_rules! families {
    ($then:ident) => {
        $then! {
            alu {
                /// Sum, wrapping.
                Add = 0x00 "+=",
                /// Difference, wrapping.
                Sub = 0x10 "-=",
                /// Product, wrapping.
                Mul = 0x20 "*=",
                /// Bitwise or.
                Or = 0x40 "|=",
                /// Bitwise and.
                And = 0x50 "&=",
                /// Shift left by the low bits of the operand.
                Lsh = 0x60 "<<=",
                /// Shift right, zeros in.
                Rsh = 0x70 ">>=",
                /// Bitwise exclusive or.
                Xor = 0xa0 "^=",
                /// Shift right, sign in.
                Arsh = 0xc0 "s>>=",
            }
            // Unsigned form (offset field 0) and signed form (offset field 1) share a code.
            divisions {
                /// Unsigned quotient; 0 when the divisor is 0.
                Div /// Signed quotient, toward zero; 0 when the divisor is 0.
                Sdiv = 0x30 "/=" "s/=",
                /// Unsigned remainder; the dividend when the divisor is 0.
                Mod /// Signed remainder, of the dividend's sign; the dividend when the divisor is 0.
                Smod = 0x90 "%=" "s%=",
            }
            conditions {
                /// Equal.
                Eq = 0x10 "==",
                /// Unsigned greater.
                Gt = 0x20 ">",
                /// Unsigned greater or equal.
                Ge = 0x30 ">=",
                /// Some bit in common.
                Set = 0x40 "&",
                /// Not equal.
                Ne = 0x50 "!=",
                /// Signed greater.
                Sgt = 0x60 "s>",
                /// Signed greater or equal.
                Sge = 0x70 "s>=",
                /// Unsigned less.
                Lt = 0xa0 "<",
                /// Unsigned less or equal.
                Le = 0xb0 "<=",
                /// Signed less.
                Slt = 0xc0 "s<",
                /// Signed less or equal.
                Sle = 0xd0 "s<=",
            }
            sizes {
                /// One byte.
                B = 0x10 1 "u8" "s8",
                /// Two bytes.
                H = 0x08 2 "u16" "s16",
                /// Four bytes.
                W = 0x00 4 "u32" "s32",
                /// Eight bytes.
                Dw = 0x18 8 "u64" "s64",
            }
            atomics {
                /// Memory += source.
                Add = 0x00 "add",
                /// Memory |= source.
                Or = 0x40 "or",
                /// Memory &= source.
                And = 0x50 "and",
                /// Memory ^= source.
                Xor = 0xa0 "xor",
            }
        }
    };
}

macro_rules! define_families {
    (
        alu { $($(#[$alu_doc:meta])* $alu:ident = $alu_code:literal $alu_sym:literal,)* }
        divisions { $($(#[$udiv_doc:meta])* $udiv:ident $(#[$sdiv_doc:meta])* $sdiv:ident = $div_code:literal $udiv_sym:literal $sdiv_sym:literal,)* }
        conditions { $($(#[$cond_doc:meta])* $cond:ident = $cond_code:literal $cond_sym:literal,)* }
        sizes { $($(#[$size_doc:meta])* $size:ident = $size_code:literal $size_bytes:literal $size_sym:literal $size_signed:literal,)* }
        atomics { $($(#[$atomic_doc:meta])* $atomic:ident = $atomic_code:literal $atomic_sym:literal,)* }
    ) => {
        /// Arithmetic of two operands. Moves, negation and byte swaps are insns of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AluOp {
            $($(#[$alu_doc])* $alu,)*
            $($(#[$udiv_doc])* $udiv, $(#[$sdiv_doc])* $sdiv,)*
        }

        impl AluOp {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$alu,)* $(Self::$udiv, Self::$sdiv,)*];

            /// The operation's bits in an opcode.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$alu => $alu_code,)*
                    $(Self::$udiv | Self::$sdiv => $div_code,)*
                }
            }

            /// What the offset field must hold: 1 for the signed divisions.
            #[must_use]
            pub const fn off(self) -> i16 {
                match self {
                    $(Self::$alu => 0,)*
                    $(Self::$udiv => 0, Self::$sdiv => 1,)*
                }
            }

            /// The operation with these bits and this offset field.
            #[must_use]
            pub fn from_code(code: u8, off: i16) -> Option<Self> {
                const TABLE: [[Option<AluOp>; 16]; 2] = {
                    let mut table = [[None; 16]; 2];
                    $(table::put(&mut table[0], $alu_code, AluOp::$alu);)*
                    $(table::put(&mut table[0], $div_code, AluOp::$udiv);)*
                    $(table::put(&mut table[1], $div_code, AluOp::$sdiv);)*
                    table
                };
                let row = TABLE.get(usize::try_from(off).ok()?)?;
                table::find(row, code)
            }

            /// The assignment that the kernel's log shows.
            #[must_use]
            pub const fn symbol(self) -> &'static str {
                match self {
                    $(Self::$alu => $alu_sym,)*
                    $(Self::$udiv => $udiv_sym, Self::$sdiv => $sdiv_sym,)*
                }
            }
        }

        /// The condition of a jump.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cond { $($(#[$cond_doc])* $cond,)* }

        impl Cond {
            /// Every condition.
            pub const ALL: &[Self] = &[$(Self::$cond,)*];

            /// The condition's bits in an opcode.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$cond => $cond_code,)* }
            }

            /// The condition with these bits.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                const TABLE: [Option<Cond>; 16] = {
                    let mut table = [None; 16];
                    $(table::put(&mut table, $cond_code, Cond::$cond);)*
                    table
                };
                table::find(&TABLE, code)
            }

            /// The comparison as the kernel's log shows it.
            #[must_use]
            pub const fn symbol(self) -> &'static str {
                match self { $(Self::$cond => $cond_sym,)* }
            }
        }

        /// How many bytes a load or a store moves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Size { $($(#[$size_doc])* $size,)* }

        impl Size {
            /// Every size.
            pub const ALL: &[Self] = &[$(Self::$size,)*];
            /// The bits of the size in an opcode.
            pub const MASK: u8 = 0x18;

            /// The size's bits in an opcode.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$size => $size_code,)* }
            }

            /// The size with these bits.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($size_code => Some(Self::$size),)* _ => None }
            }

            /// Bytes moved.
            #[must_use]
            pub const fn bytes(self) -> u32 {
                match self { $(Self::$size => $size_bytes,)* }
            }

            /// The C type as the kernel's log shows it.
            #[must_use]
            pub const fn symbol(self, signed: bool) -> &'static str {
                match self {
                    $(Self::$size => if signed { $size_signed } else { $size_sym },)*
                }
            }
        }

        /// What an atomic insn does to memory.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AtomicOp {
            $($(#[$atomic_doc])* $atomic {
                /// The source register receives the old value.
                fetch: bool,
            },)*
            /// Memory and source register change places.
            Xchg,
            /// When memory equals `r0` it becomes the source; `r0` receives the old value.
            Cmpxchg,
        }

        impl AtomicOp {
            /// Every operation.
            pub const ALL: &[Self] = &[
                $(Self::$atomic { fetch: false }, Self::$atomic { fetch: true },)*
                Self::Xchg,
                Self::Cmpxchg,
            ];
            /// The bit of the immediate that asks for the old value.
            pub const FETCH: i32 = 0x01;

            /// The immediate field that names the operation.
            #[must_use]
            pub const fn imm(self) -> i32 {
                match self {
                    $(Self::$atomic { fetch } => $atomic_code | fetch as i32,)*
                    Self::Xchg => 0xe1,
                    Self::Cmpxchg => 0xf1,
                }
            }

            /// The operation that an immediate field names.
            #[must_use]
            pub const fn from_imm(imm: i32) -> Option<Self> {
                match imm {
                    0xe1 => Some(Self::Xchg),
                    0xf1 => Some(Self::Cmpxchg),
                    $(_ if imm & !Self::FETCH == $atomic_code => {
                        Some(Self::$atomic { fetch: imm & Self::FETCH != 0 })
                    })*
                    _ => None,
                }
            }

            /// The name after `atomic_`.
            #[must_use]
            pub const fn mnemonic(self) -> &'static str {
                match self {
                    $(Self::$atomic { .. } => $atomic_sym,)*
                    Self::Xchg => "xchg",
                    Self::Cmpxchg => "cmpxchg",
                }
            }

            /// Whether a register receives the old value.
            #[must_use]
            pub const fn fetches(self) -> bool {
                self.imm() & Self::FETCH != 0
            }
        }
    };
}
families!(define_families);
pub(crate) use families;

/// Operation bits of the insns that are no family.
pub mod op {
    /// Move.
    pub const MOV: u8 = 0xb0;
    /// Negation.
    pub const NEG: u8 = 0x80;
    /// Byte order.
    pub const END: u8 = 0xd0;
    /// Jump always.
    pub const JA: u8 = 0x00;
    /// Call.
    pub const CALL: u8 = 0x80;
    /// Exit.
    pub const EXIT: u8 = 0x90;
    /// The bits of the operation in an opcode.
    pub const MASK: u8 = 0xf0;
}

/// How wide an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 32 bits; the upper half of the result is zero.
    W32,
    /// 64 bits.
    W64,
}

impl Width {
    /// Both widths.
    pub const ALL: &[Self] = &[Self::W32, Self::W64];

    /// The width in bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }
}

/// What an `END` insn does to the low bits of its register; the bits above become zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// To little endian.
    Le,
    /// To big endian.
    Be,
    /// The other way round, whatever the machine.
    Swap,
}

impl ByteOrder {
    /// Every conversion.
    pub const ALL: &[Self] = &[Self::Le, Self::Be, Self::Swap];

    /// The name before the number of bits.
    #[must_use]
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::Le => "le",
            Self::Be => "be",
            Self::Swap => "bswap",
        }
    }
}
