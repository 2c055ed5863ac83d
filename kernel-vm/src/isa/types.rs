//! The two forms of an insn: the 8-byte slot and the closed variant.

use super::{AluOp, AtomicOp, ByteOrder, Cond, INSN_BYTES, Size, Width};

/// One slot as programs are stored: 8 bytes, little endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RawInsn {
    /// The opcode.
    pub code: u8,
    /// `src << 4 | dst`.
    pub regs: u8,
    /// The offset field.
    pub off: i16,
    /// The immediate field.
    pub imm: i32,
}

impl RawInsn {
    /// A slot by its fields; only the low four bits of the registers count.
    #[must_use]
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self { code, regs: (src & 0xf) << 4 | dst & 0xf, off, imm }
    }

    /// The slot in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; INSN_BYTES]) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = bytes;
        Self {
            code,
            regs,
            off: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// The slot's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; INSN_BYTES] {
        let [o0, o1] = self.off.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [self.code, self.regs, o0, o1, i0, i1, i2, i3]
    }

    /// The number of the destination register.
    #[must_use]
    pub const fn dst(self) -> u8 {
        self.regs & 0xf
    }

    /// The number of the source register, or what its place means in a call or wide load.
    #[must_use]
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }
}

macro_rules! registers {
    ($($name:ident = $number:literal $text:literal $doc:literal,)*) => {
        /// A register.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reg { $(#[doc = $doc] $name = $number,)* }

        impl Reg {
            /// Every register.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The register with this number.
            #[must_use]
            pub const fn new(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
registers! {
    R0 = 0 "r0" "Result of calls and of the program.",
    R1 = 1 "r1" "First argument; lost in calls.",
    R2 = 2 "r2" "Second argument; lost in calls.",
    R3 = 3 "r3" "Third argument; lost in calls.",
    R4 = 4 "r4" "Fourth argument; lost in calls.",
    R5 = 5 "r5" "Fifth argument; lost in calls.",
    R6 = 6 "r6" "Kept in calls.",
    R7 = 7 "r7" "Kept in calls.",
    R8 = 8 "r8" "Kept in calls.",
    R9 = 9 "r9" "Kept in calls.",
    R10 = 10 "r10" "The frame pointer, read only: the stack lies below it.",
}

impl Reg {
    /// Its number, 0 to 10.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The second operand of arithmetic, comparisons and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate; its sign extends to 64 bits.
    Imm(i32),
}

/// What a 16-byte load puts into its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wide {
    /// This number.
    Value(u64),
    /// The map with this descriptor.
    MapFd(i32),
    /// The address `offset` bytes into the only value of the map with this descriptor.
    MapFdValue {
        /// The map.
        fd: i32,
        /// Bytes from the start of the value.
        offset: u32,
    },
    /// The address of the platform's variable with this number.
    Variable(i32),
    /// The address of the function at this distance, in slots from the next insn.
    Function(i32),
    /// The map with this index.
    MapIndex(i32),
    /// The address `offset` bytes into the only value of the map with this index.
    MapIndexValue {
        /// The map.
        index: i32,
        /// Bytes from the start of the value.
        offset: u32,
    },
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// The helper with this number.
    Helper(i32),
    /// The function at this distance, in slots from the next insn.
    Local(i32),
    /// The platform's function with this BTF id.
    Kfunc {
        /// The id.
        id: i32,
        /// Index of the BTF object; 0 is the kernel's own.
        btf: i16,
    },
}

/// An insn whose every field is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = dst op src`.
    Alu {
        /// Width.
        width: Width,
        /// Operation.
        op: AluOp,
        /// Destination and first operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = src`.
    Mov {
        /// Width.
        width: Width,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Operand,
    },
    /// `dst =` the low bits of `src`, whose sign extends to `width`.
    MovSx {
        /// Width of the result.
        width: Width,
        /// Bits taken: [`Size::B`], [`Size::H`] or, in 64 bits, [`Size::W`].
        from: Size,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Reg,
    },
    /// `dst = -dst`.
    Neg {
        /// Width.
        width: Width,
        /// Destination and operand.
        dst: Reg,
    },
    /// Conversion of byte order.
    End {
        /// Which.
        order: ByteOrder,
        /// Bits converted: [`Size::H`], [`Size::W`] or [`Size::Dw`].
        size: Size,
        /// Destination and operand.
        dst: Reg,
    },
    /// `dst = *(src + off)`.
    Load {
        /// Bytes read.
        size: Size,
        /// The sign extends; never with [`Size::Dw`].
        signed: bool,
        /// Destination.
        dst: Reg,
        /// Address.
        src: Reg,
        /// Bytes added to the address.
        off: i16,
    },
    /// `*(dst + off) = src`.
    Store {
        /// Bytes written.
        size: Size,
        /// Address.
        dst: Reg,
        /// Bytes added to the address.
        off: i16,
        /// What is written.
        src: Operand,
    },
    /// An atomic read-modify-write of `*(dst + off)`.
    Atomic {
        /// 4 or 8 bytes.
        width: Width,
        /// Operation.
        op: AtomicOp,
        /// Address.
        dst: Reg,
        /// Operand, and destination of a fetch.
        src: Reg,
        /// Bytes added to the address.
        off: i16,
    },
    /// The load of a wide immediate; takes two slots.
    LoadWide {
        /// Destination.
        dst: Reg,
        /// What.
        value: Wide,
    },
    /// `goto`.
    Jump {
        /// Slots from the next insn.
        off: i32,
        /// The long form, whose distance is in the immediate field.
        long: bool,
    },
    /// `if dst cond src goto`.
    JumpIf {
        /// Width of the comparison.
        width: Width,
        /// Condition.
        cond: Cond,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
        /// Slots from the next insn.
        off: i16,
    },
    /// A call.
    Call(Callee),
    /// The return from a function or the end of the program.
    Exit,
}

/// How many slots an insn takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slots {
    /// Eight bytes.
    One,
    /// Sixteen bytes: the load of a wide immediate.
    Two,
}

impl Slots {
    /// The number.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl Insn {
    /// How many slots the insn takes.
    #[must_use]
    pub const fn slots(self) -> Slots {
        match self {
            Self::LoadWide { .. } => Slots::Two,
            Self::Alu { .. }
            | Self::Mov { .. }
            | Self::MovSx { .. }
            | Self::Neg { .. }
            | Self::End { .. }
            | Self::Load { .. }
            | Self::Store { .. }
            | Self::Atomic { .. }
            | Self::Jump { .. }
            | Self::JumpIf { .. }
            | Self::Call(_)
            | Self::Exit => Slots::One,
        }
    }
}
