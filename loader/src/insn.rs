//! The 8-byte form of an insn, as sections and bpf(2) have it, and the few opcodes that the
//! loader must know to link and relocate.
//!
//! **Invariant**: nothing here interprets a program; it only moves fields.

/// One slot: an insn, or the second half of a 16-byte load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// The opcode byte.
    pub code: u8,
    /// `src << 4 | dst`.
    pub regs: u8,
    /// The offset field.
    pub off: i16,
    /// The immediate field.
    pub imm: i32,
}

/// Bytes of a slot.
pub const INSN_BYTES: usize = 8;

/// `call`: of a helper, a kernel function or a subprogram, by its source register.
pub const CALL: u8 = 0x85;
/// A load of a 64-bit immediate, two slots.
pub const LDDW: u8 = 0x18;
/// `exit`.
pub const EXIT: u8 = 0x95;
/// `dst = imm`.
pub const MOV_IMM: u8 = 0xb7;
/// `dst = src`.
pub const MOV_REG: u8 = 0xbf;
/// `dst += imm`.
pub const ADD_IMM: u8 = 0x07;
/// `if dst == imm goto`.
pub const JEQ_IMM: u8 = 0x15;
/// `goto`.
pub const JA: u8 = 0x05;
/// `*(u64 *)(dst + off) = imm`.
pub const STORE_IMM_U64: u8 = 0x7a;
/// `*(u32 *)(dst + off) = imm`.
pub const STORE_IMM_U32: u8 = 0x62;
/// `dst = *(u64 *)(src + off)`.
pub const LOAD_U64: u8 = 0x79;

/// The mask of an opcode's class.
pub const CLASS_MASK: u8 = 0x07;
/// The mask of a load's or store's size.
pub const SIZE_MASK: u8 = 0x18;
/// Source register of a `call`: a subprogram, `imm` slots after the next.
pub const PSEUDO_CALL: u8 = 1;
/// Source register of a `call`: a kernel function by its BTF id.
pub const PSEUDO_KFUNC_CALL: u8 = 2;
/// Source register of an `lddw`: a map by its file descriptor.
pub const PSEUDO_MAP_FD: u8 = 1;
/// Source register of an `lddw`: an address in a map's only value.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// Source register of an `lddw`: a kernel variable by its BTF id.
pub const PSEUDO_BTF_ID: u8 = 3;
/// Source register of an `lddw`: a subprogram's address.
pub const PSEUDO_FUNC: u8 = 4;

impl Insn {
    /// An insn by its fields.
    #[must_use]
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self { code, regs: src << 4 | dst & 0xf, off, imm }
    }

    /// The slot in `bytes`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; INSN_BYTES]) -> Self {
        let [code, regs, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        Self {
            code,
            regs,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
        }
    }

    /// The slot as bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; INSN_BYTES] {
        let [off0, off1] = self.off.to_le_bytes();
        let [imm0, imm1, imm2, imm3] = self.imm.to_le_bytes();
        [self.code, self.regs, off0, off1, imm0, imm1, imm2, imm3]
    }

    /// The source register, or what its place means in a `call` or `lddw`.
    #[must_use]
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }

    /// The same insn with another source register.
    #[must_use]
    pub const fn with_src(self, src: u8) -> Self {
        Self { regs: self.regs & 0xf | src << 4, ..self }
    }

    /// The insn's class.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.code & CLASS_MASK
    }

    /// Whether it is the first half of a 16-byte load.
    #[must_use]
    pub const fn is_lddw(self) -> bool {
        self.code == LDDW
    }
}

/// The bytes of a program, as PROG_LOAD wants them.
#[must_use]
pub fn to_bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_bytes()).collect()
}
