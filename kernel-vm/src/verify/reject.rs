//! Why a program is not accepted, in words.

use super::state::SPILLS;
use super::{DEPTH_MAX, INSNS_MAX, Kind, LOOP_MAX, RUN_INSNS_MAX, Value};
use crate::helper::Helper;
use crate::isa::{AluOp, DecodeError, Reg};
use core::fmt;

/// The first thing that could not be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The slot.
    pub pc: usize,
    /// What is wrong there.
    pub kind: RejectionKind,
    /// What was known of the value that it is about; [`Value::UNSET`] when it is about none.
    pub found: Value,
}

impl Rejection {
    /// One that is about no value.
    pub(super) const fn at(pc: usize, kind: RejectionKind) -> Self {
        Self { pc, kind, found: Value::UNSET }
    }
}

/// What could not be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of the fields and the words of the message say it")]
pub enum RejectionKind {
    /// The program is empty or too long.
    BadLength { slots: usize },
    /// The caller's memory is too small: a mistake of the host.
    ScratchTooSmall,
    /// The slot is no insn.
    Decode(DecodeError),
    /// A jump or call goes back.
    Backward,
    /// A jump leaves the program.
    JumpOutside,
    /// A jump leaves its function.
    OutOfFunction,
    /// A jump goes to the second slot of an `lddw`.
    IntoSecondSlot,
    /// No way leads here.
    NeverReached,
    /// The function does not end with an exit or a jump.
    FallsOffEnd,
    /// Too many jump targets are open at once.
    TooManyOpenJumps,
    /// The longest way is too long.
    TooLong { insns: u64 },
    /// A register is read before it was written, or is no longer known.
    NotInitialised { reg: Reg },
    /// A pointer where a number is needed.
    NeedsNumber { reg: Reg },
    /// A pointer is computed with.
    PointerArithmetic { op: AluOp },
    /// A pointer is compared.
    ComparesPointer,
    /// No such map, or one without direct values.
    UnknownMap { index: i32, maps: usize },
    /// The base is no memory.
    NotMemory { reg: Reg },
    /// A lookup's result is used before it was compared with 0.
    MayBeNull { reg: Reg },
    /// The access is not within its region for every value.
    OutOfBounds { reg: Reg, off: i64, length: u64, size: u32 },
    /// The stack is accessed at an offset that is not known.
    VariableStack { reg: Reg },
    /// Bytes of the stack are read that were not written, or are part of a pointer.
    StackNotInitialised { off: i64 },
    /// Rows and parameters are not written.
    ReadOnly { reg: Reg },
    /// A pointer would be stored where others can read it.
    PointerEscapes,
    /// A pointer is stored in part.
    PartOfPointer,
    /// Too many pointers are kept on the stack.
    TooManySpills,
    /// An atomic operation on a pointer.
    AtomicOnPointer,
    /// No such helper.
    UnknownHelper { id: i32 },
    /// A reserved argument.
    MustBeZero { reg: Reg },
    /// The helper expects something else.
    WrongArgument { reg: Reg, wanted: &'static str },
    /// `emit` takes exactly one record.
    RecordSize { reg: Reg, size: u64 },
    /// A loop without a usable bound.
    LoopTooLong { reg: Reg, most: u64 },
    /// Calls are nested too deeply.
    TooDeep,
    /// r10 would be written.
    WritesFramePointer,
    /// A constant shift by the width or more.
    ShiftTooFar { bits: u32 },
    /// A constant division by zero.
    DivisionByZero,
    /// A function or variable of a platform.
    KernelFunction,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Unset => return f.write_str("nothing"),
            Kind::Scalar => "number",
            Kind::Row => "row",
            Kind::State => "state",
            Kind::Params => "params",
            Kind::Stack => "fp",
            Kind::Window { .. } => "window",
            Kind::Map(_) => return f.write_str("a map"),
            Kind::MapValue(_) => "map_value",
            Kind::MapValueOrNull { .. } => return f.write_str("map_value_or_null"),
            Kind::Func(pc) => return write!(f, "function at {pc}"),
        };
        let wide = self.scalar.wide;
        match self.scalar.exact() {
            Some(x) if self.kind == Kind::Scalar => write!(f, "{}", x.cast_signed()),
            Some(x) => write!(f, "{name}{:+}", x.cast_signed()),
            None => {
                write!(f, "{name}(smin={},smax={}", wide.smin, wide.smax)?;
                write!(f, ",umin={},umax={}", wide.umin, wide.umax)?;
                let bits = self.scalar.bits;
                write!(f, ",known=0x{:x}/0x{:x})", bits.value, !bits.unknown)
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "insn {}: ", self.pc)?;
        let found = self.found;
        match self.kind {
            RejectionKind::BadLength { slots } => {
                write!(f, "a program of {slots} slots; it has 1 to {INSNS_MAX}")
            }
            RejectionKind::ScratchTooSmall => f.write_str(
                "the host gave too little memory; Scratch::notes_needed and states_needed tell how \
                 much this program takes",
            ),
            RejectionKind::Decode(error) => error.fmt(f),
            RejectionKind::Backward => f.write_str(
                "goes back; jumps and calls go forward only, repetition is the loop helper",
            ),
            RejectionKind::JumpOutside => {
                f.write_str("goes outside the program; go to an insn of it")
            }
            RejectionKind::OutOfFunction => f.write_str("goes into another function: call it"),
            RejectionKind::IntoSecondSlot => {
                f.write_str("goes into the middle of an lddw; go to its first slot")
            }
            RejectionKind::NeverReached => f.write_str("is never reached: remove it"),
            RejectionKind::FallsOffEnd => f.write_str("the function ends without exit: add one"),
            RejectionKind::TooManyOpenJumps => f.write_str(
                "too many jumps to different places are open at once; let them meet sooner",
            ),
            RejectionKind::TooLong { insns } => {
                write!(
                    f,
                    "a run may take {insns} insns; at most {RUN_INSNS_MAX}, let loops repeat less"
                )
            }
            RejectionKind::NotInitialised { reg } => write!(
                f,
                "{reg} holds nothing on some way here; set it on every way (calls clear r1 to r5)"
            ),
            RejectionKind::NeedsNumber { reg } => {
                write!(f, "{reg} is {found}; a number is needed here, addresses are none")
            }
            RejectionKind::PointerArithmetic { op } => write!(
                f,
                "`{}` on {found}; pointers only move by 64-bit += and -= of a number",
                op.symbol()
            ),
            RejectionKind::ComparesPointer => write!(
                f,
                "compares {found}; of pointers only a lookup's result is compared, with 0"
            ),
            RejectionKind::UnknownMap { index, maps } => write!(
                f,
                "there is no map {index} to use so; the program has {maps}, and only a direct one \
                 gives the address of its value"
            ),
            RejectionKind::NotMemory { reg } => {
                write!(f, "{reg} is {found}, which is no memory; use a pointer to some")
            }
            RejectionKind::MayBeNull { reg } => {
                write!(f, "{reg} is {found}, it may be null; compare it with 0 first")
            }
            RejectionKind::OutOfBounds { reg, off, length, size } => write!(
                f,
                "{length} bytes at {reg} {off:+}, where {reg} is {found}; the region has {size} \
                 bytes, compare the offset with its bound first"
            ),
            RejectionKind::VariableStack { reg } => {
                write!(f, "{reg} is {found}; the stack is used at constant offsets")
            }
            RejectionKind::StackNotInitialised { off } => write!(
                f,
                "the byte at fp{off:+} was not written on every way here, or is part of a pointer; \
                 write it first"
            ),
            RejectionKind::ReadOnly { reg } => {
                write!(f, "{reg} is {found}, which is read only; write to the stack or the state")
            }
            RejectionKind::PointerEscapes => write!(
                f,
                "would store {found} where it can be read as a number; pointers stay on the stack"
            ),
            RejectionKind::PartOfPointer => {
                write!(f, "would store a part of {found}; store 8 bytes at a multiple of 8")
            }
            RejectionKind::TooManySpills => {
                write!(
                    f,
                    "no room on the stack for {found}; it remembers {SPILLS} values, write over some"
                )
            }
            RejectionKind::AtomicOnPointer => {
                write!(f, "an atomic operation on {found}; they are for numbers")
            }
            RejectionKind::UnknownHelper { id } => {
                write!(f, "there is no helper {id}; there are")?;
                for (index, helper) in Helper::ALL.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma} {} ({})", helper.name(), helper.id())?;
                }
                Ok(())
            }
            RejectionKind::MustBeZero { reg } => {
                write!(f, "{reg} is {found}; it is reserved here and must be 0")
            }
            RejectionKind::WrongArgument { reg, wanted } => {
                write!(f, "{reg} is {found}; the helper takes {wanted}")
            }
            RejectionKind::RecordSize { reg, size } => {
                write!(f, "{reg} is {found}; it must be {size}, the size of a record")
            }
            RejectionKind::LoopTooLong { reg, most } => write!(
                f,
                "may repeat {most} times, {reg} is {found}; at most {LOOP_MAX}, compare it first"
            ),
            RejectionKind::WritesFramePointer => {
                f.write_str("writes r10, the frame pointer, which is read only; copy it first")
            }
            RejectionKind::ShiftTooFar { bits } => {
                let most = bits.saturating_sub(1);
                write!(f, "shifts {bits} bits by {bits} or more, or by less than 0; 0 to {most} do")
            }
            RejectionKind::DivisionByZero => {
                f.write_str("divides by the constant 0; divide by another")
            }
            RejectionKind::KernelFunction => f.write_str(
                "functions and variables of a platform are not known here; call a helper",
            ),
            RejectionKind::TooDeep => {
                write!(f, "calls are nested more than {DEPTH_MAX} deep; call less from functions")
            }
        }
    }
}

impl core::error::Error for Rejection {}
