//! Machine code before it is an ELF section: insns with symbolic references.
//!
//! The targets write it, the object writer turns the references into ELF relocations and
//! CO-RE records.
//!
//! **Invariant**: a [`Reloc`]'s insn exists and is of the form that its kind asks for.

use crate::hir::Span;

/// One 8-byte slot, exactly as in the section: code, registers (`src << 4 | dst`), offset,
/// immediate; little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Slot {
    /// The opcode byte.
    pub code: u8,
    /// `src << 4 | dst`.
    pub regs: u8,
    /// The offset field.
    pub off: i16,
    /// The immediate field.
    pub imm: i32,
}

/// The code of one program or subprogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// The insns.
    pub slots: Vec<Slot>,
    /// References out of the code, by position.
    pub relocs: Vec<Reloc>,
    /// From which slot on which source the code comes; ascending.
    pub lines: Vec<LineMark>,
}

/// From `pc` on, the code was written for `span`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMark {
    /// Index of the first slot.
    pub pc: usize,
    /// The source.
    pub span: Span,
}

/// A reference that the loader fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Index of the slot.
    pub pc: usize,
    /// What it refers to.
    pub kind: RelocKind,
}

/// What a slot refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelocKind {
    /// CO-RE byte offset of a field: into `off` of a load, or `imm` of a move.
    FieldOffset(FieldPath),
    /// CO-RE: 1 when the field exists, else 0, into `imm`.
    FieldExists(FieldPath),
    /// CO-RE: the field's size in bytes, into `imm`.
    FieldSize(FieldPath),
    /// CO-RE: the size of a kernel type in bytes, into `imm`.
    TypeSize(&'static str),
    /// CO-RE: the kernel's BTF id of a type, into the `imm`s of an `lddw`.
    TypeId(&'static str),
    /// CO-RE: the value of an enumerator (enum, enumerator), into `imm`.
    EnumValue(&'static str, &'static str),
    /// A map: an `lddw`.
    Map(String),
    /// The address `offset` bytes into `.rodata` or `.bss`: an `lddw`.
    Data {
        /// `.rodata` or `.bss`.
        section: &'static str,
        /// Bytes from its start.
        offset: u32,
    },
    /// A kernel function: a call.
    Kfunc(&'static str),
    /// A subprogram of this object: a call.
    Subprog(String),
    /// A subprogram's address, for a callback: an `lddw`.
    SubprogAddress(String),
}

/// A field of a kernel type, through nested structs but no pointers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    /// The struct, without the word: `task_struct`; a `___flavour` is dropped when matched.
    pub root: &'static str,
    /// Member names: `["se", "sum_exec_runtime"]`.
    pub path: Vec<&'static str>,
}
