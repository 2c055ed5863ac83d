//! A small assembler: insns with labels go in, [`Code`] comes out.
//!
//! The last stage before the object: the targets write the insns of the row body, the
//! sweep's skeleton and the columns' reads with it.
//!
//! **Invariant**: labels are bound at most once and jumps lead forward or to a bound label;
//! [`Asm::finish`] refuses code whose jumps do not fit, it never truncates an offset.

mod operand;
mod reach;

pub use operand::{AluOp, Cond, FP, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size};

use crate::code::{Code, FieldPath, LineMark, Reloc, RelocKind, Slot};
use crate::hir::Span;

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(u32);

const CLASS_ALU32: u8 = 0x04;
const CLASS_ALU64: u8 = 0x07;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const MODE_MEM: u8 = 0x60;
const MODE_ATOMIC: u8 = 0xc0;
const SRC_REG: u8 = 0x08;
const OP_NEG: u8 = 0x80;
const OP_MOV: u8 = 0xb0;
const OP_END: u8 = 0xd0;
const OP_CALL: u8 = 0x85;
const OP_EXIT: u8 = 0x95;
const OP_JA: u8 = 0x05;
const OP_MAY_GOTO: u8 = 0xe5;
const OP_LDDW: u8 = 0x18;
/// `src` of a call that goes to a subprogram of the object.
const CALL_SUBPROG: u8 = 1;
/// `src` of a call that goes to a kernel function.
const CALL_KFUNC: u8 = 2;
/// `src` of an `lddw` that loads a map.
const LDDW_MAP: u8 = 1;
/// `src` of an `lddw` that loads an address in a map's value.
const LDDW_VALUE: u8 = 2;
/// `src` of an `lddw` that loads a subprogram's address.
const LDDW_FUNC: u8 = 4;
const REGS: usize = 16;
const ATOMIC_ADD: i32 = 0x00;
const ATOMIC_CMPXCHG: i32 = 0xf1;
const ATOMIC_XCHG: i32 = 0xe1;

/// A jump is longer than its offset field can say: the program is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a jump of {distance} insns does not fit in an insn")]
pub struct JumpTooFar {
    /// How far it leads, in insns.
    pub distance: i64,
}

/// Code under construction.
#[derive(Clone, Debug, Default)]
pub struct Asm {
    code: Code,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
    /// How often each register may have got another value.
    writes: [u32; REGS],
}

impl Asm {
    /// No code yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the next slot.
    #[must_use]
    pub fn pc(&self) -> usize {
        self.code.slots.len()
    }

    /// A new label, to be bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(u32::try_from(self.labels.len() - 1).expect("fewer labels than insns"))
    }

    /// Binds `label` to the next insn.
    ///
    /// # Panics
    /// When it is bound already: our own bug.
    pub fn bind(&mut self, label: Label) {
        let pc = self.pc();
        let place = &mut self.labels[label.0 as usize];
        assert!(place.is_none(), "label bound twice");
        *place = Some(pc);
        self.all_written();
    }

    /// A number that changes when `reg` may hold something else than before, because of an
    /// insn or of where jumps come from.
    #[must_use]
    pub fn writes(&self, reg: Reg) -> u32 {
        self.writes[usize::from(reg.0)]
    }

    fn all_written(&mut self) {
        self.writes.iter_mut().for_each(|writes| *writes += 1);
    }

    /// From here on the code is written for `span`.
    pub fn mark(&mut self, span: Span) {
        let pc = self.pc();
        match self.code.lines.last_mut() {
            Some(last) if last.pc == pc => last.span = span,
            Some(last) if last.span == span => {}
            Some(_) | None => self.code.lines.push(LineMark { pc, span }),
        }
    }

    /// The finished code, without what nothing reaches.
    ///
    /// # Errors
    /// When a jump is too long.
    ///
    /// # Panics
    /// When a label that is jumped to was never bound: our own bug.
    pub fn finish(mut self) -> Result<Code, JumpTooFar> {
        reach::prune(&mut self.code, &mut self.labels, &mut self.jumps);
        for (pc, label) in self.jumps {
            let target = self.labels[label.0 as usize].expect("every label is bound");
            let distance = target as i64 - pc as i64 - 1;
            self.code.slots[pc].off =
                i16::try_from(distance).map_err(|_| JumpTooFar { distance })?;
        }
        Ok(self.code)
    }

    /// Appends a raw slot.
    pub fn slot(&mut self, code: u8, dst: Reg, src: Reg, off: i16, imm: i32) {
        self.code.slots.push(Slot { code, regs: src.0 << 4 | dst.0, off, imm });
        let is_atomic = code & 0xe0 == MODE_ATOMIC;
        match code & 7 {
            CLASS_JMP if code == OP_CALL => self.all_written(),
            CLASS_STX if is_atomic => self.all_written(),
            CLASS_STX | CLASS_ST | CLASS_JMP | CLASS_JMP32 => {}
            _ => self.writes[usize::from(dst.0)] += 1,
        }
    }

    /// Says that the next slot refers to something outside the code.
    pub fn reloc(&mut self, kind: RelocKind) {
        let pc = self.pc();
        self.code.relocs.push(Reloc { pc, kind });
    }

    /// `dst = src`
    pub fn mov(&mut self, dst: Reg, src: Reg) {
        if dst != src {
            self.slot(CLASS_ALU64 | OP_MOV | SRC_REG, dst, src, 0, 0);
        }
    }

    /// `dst = (u32) src`: the upper half becomes zero.
    pub fn mov32(&mut self, dst: Reg, src: Reg) {
        self.slot(CLASS_ALU32 | OP_MOV | SRC_REG, dst, src, 0, 0);
    }

    /// `dst = value`, in one slot or two.
    pub fn load_imm(&mut self, dst: Reg, value: i64) {
        match i32::try_from(value) {
            Ok(imm) => self.slot(CLASS_ALU64 | OP_MOV, dst, R0, 0, imm),
            Err(_) => self.lddw(dst, 0, value),
        }
    }

    fn lddw(&mut self, dst: Reg, src: u8, value: i64) {
        self.slot(OP_LDDW, dst, Reg(src), 0, value as i32);
        self.slot(0, R0, R0, 0, (value >> 32) as i32);
    }

    /// `dst = dst op src`, 64 bits.
    pub fn alu(&mut self, op: AluOp, dst: Reg, src: Reg) {
        self.slot(CLASS_ALU64 | op.bits() | SRC_REG, dst, src, 0, 0);
    }

    /// `dst = dst op imm`, 64 bits; `imm` is extended with its sign.
    pub fn alu_imm(&mut self, op: AluOp, dst: Reg, imm: i32) {
        self.slot(CLASS_ALU64 | op.bits(), dst, R0, 0, imm);
    }

    /// `dst = (u32) dst op (u32) src`, upper half zero.
    pub fn alu32(&mut self, op: AluOp, dst: Reg, src: Reg) {
        self.slot(CLASS_ALU32 | op.bits() | SRC_REG, dst, src, 0, 0);
    }

    /// `dst = (u32) dst op imm`, upper half zero.
    pub fn alu32_imm(&mut self, op: AluOp, dst: Reg, imm: i32) {
        self.slot(CLASS_ALU32 | op.bits(), dst, R0, 0, imm);
    }

    /// `dst = -dst`, wrapping.
    pub fn neg(&mut self, dst: Reg) {
        self.slot(CLASS_ALU64 | OP_NEG, dst, R0, 0, 0);
    }

    /// Reverses the order of the eight bytes of `dst`.
    pub fn swap_bytes(&mut self, dst: Reg) {
        self.slot(CLASS_ALU32 | OP_END | SRC_REG, dst, R0, 0, 64);
    }

    /// Extends the low `bits` (8, 16 or 32) of `dst` with their sign, by two shifts: the
    /// one-insn forms need a newer kernel than some that we run on.
    pub fn sign_extend(&mut self, dst: Reg, bits: u8) {
        let shift = 64 - i32::from(bits);
        self.alu_imm(AluOp::Lsh, dst, shift);
        self.alu_imm(AluOp::Arsh, dst, shift);
    }

    /// `dst = *(size *)(base + off)`
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.slot(CLASS_LDX | MODE_MEM | size.bits(), dst, base, off, 0);
    }

    /// `*(size *)(base + off) = src`
    pub fn store(&mut self, size: Size, base: Reg, off: i16, src: Reg) {
        self.slot(CLASS_STX | MODE_MEM | size.bits(), base, src, off, 0);
    }

    /// `*(size *)(base + off) = imm`
    pub fn store_imm(&mut self, size: Size, base: Reg, off: i16, imm: i32) {
        self.slot(CLASS_ST | MODE_MEM | size.bits(), base, R0, off, imm);
    }

    /// `*(u64 *)(base + off) += src`, atomic.
    pub fn atomic_add(&mut self, base: Reg, off: i16, src: Reg) {
        self.slot(CLASS_STX | MODE_ATOMIC | Size::Dw.bits(), base, src, off, ATOMIC_ADD);
    }

    /// If `*(u64 *)(base + off)` is `r0` it becomes `src`; `r0` becomes what it was. Atomic.
    pub fn atomic_cmpxchg(&mut self, base: Reg, off: i16, src: Reg) {
        self.slot(CLASS_STX | MODE_ATOMIC | Size::Dw.bits(), base, src, off, ATOMIC_CMPXCHG);
    }

    /// Swaps `*(u64 *)(base + off)` and `src`, atomic.
    pub fn atomic_xchg(&mut self, base: Reg, off: i16, src: Reg) {
        self.slot(CLASS_STX | MODE_ATOMIC | Size::Dw.bits(), base, src, off, ATOMIC_XCHG);
    }

    fn jump_slot(&mut self, code: u8, dst: Reg, src: Reg, imm: i32, to: Label) {
        self.jumps.push((self.pc(), to));
        self.slot(code, dst, src, 0, imm);
    }

    /// Goes to `to`.
    pub fn jump(&mut self, to: Label) {
        self.jump_slot(OP_JA, R0, R0, 0, to);
    }

    /// Goes to `to` if `dst cond src`, 64 bits.
    pub fn jump_if(&mut self, cond: Cond, dst: Reg, src: Reg, to: Label) {
        self.jump_slot(CLASS_JMP | cond.bits() | SRC_REG, dst, src, 0, to);
    }

    /// Goes to `to` if `dst cond imm`, 64 bits; `imm` is extended with its sign.
    pub fn jump_if_imm(&mut self, cond: Cond, dst: Reg, imm: i32, to: Label) {
        self.jump_slot(CLASS_JMP | cond.bits(), dst, R0, imm, to);
    }

    /// Goes to `to` if the low halves compare so.
    pub fn jump32_if_imm(&mut self, cond: Cond, dst: Reg, imm: i32, to: Label) {
        self.jump_slot(CLASS_JMP32 | cond.bits(), dst, R0, imm, to);
    }

    /// Goes to `to` if the kernel has had enough of the loop that begins here: with it, a loop need
    /// not be seen to end.
    pub fn may_leave(&mut self, to: Label) {
        self.jump_slot(OP_MAY_GOTO, R0, R0, 0, to);
    }

    /// Calls the helper with number `id`.
    pub fn call_helper(&mut self, id: i32) {
        self.slot(OP_CALL, R0, R0, 0, id);
    }

    /// Calls the kernel function `name`.
    pub fn call_kfunc(&mut self, name: &'static str) {
        self.reloc(RelocKind::Kfunc(name));
        self.slot(OP_CALL, R0, Reg(CALL_KFUNC), 0, 0);
    }

    /// Calls the subprogram `name` of the object.
    pub fn call_subprog(&mut self, name: &str) {
        self.reloc(RelocKind::Subprog(name.to_owned()));
        self.slot(OP_CALL, R0, Reg(CALL_SUBPROG), 0, -1);
    }

    /// Returns `r0`.
    pub fn exit(&mut self) {
        self.slot(OP_EXIT, R0, R0, 0, 0);
    }

    /// `dst = ` the map called `name`.
    pub fn load_map(&mut self, dst: Reg, name: &str) {
        self.reloc(RelocKind::Map(name.to_owned()));
        self.lddw(dst, LDDW_MAP, 0);
    }

    /// `dst = ` the address `offset` bytes into `section` (`.rodata` or `.bss`).
    pub fn load_data(&mut self, dst: Reg, section: &'static str, offset: u32) {
        self.reloc(RelocKind::Data { section, offset });
        self.lddw(dst, LDDW_VALUE, 0);
    }

    /// `dst = ` the address of the subprogram `name`, for a callback.
    pub fn load_subprog(&mut self, dst: Reg, name: &str) {
        self.reloc(RelocKind::SubprogAddress(name.to_owned()));
        self.lddw(dst, LDDW_FUNC, 0);
    }

    /// `dst = base->field`, the field's offset relocated by CO-RE.
    pub fn load_field(&mut self, size: Size, dst: Reg, base: Reg, field: FieldPath) {
        self.reloc(RelocKind::FieldOffset(field));
        self.load(size, dst, base, 0);
    }

    /// `dst =` a number that CO-RE fills in (an offset, a size, an enumerator's value).
    pub fn load_core(&mut self, dst: Reg, kind: RelocKind) {
        self.reloc(kind);
        self.slot(CLASS_ALU64 | OP_MOV, dst, R0, 0, 0);
    }

    /// `dst += ` the offset of `field`, relocated by CO-RE.
    pub fn add_field_offset(&mut self, dst: Reg, field: FieldPath) {
        self.reloc(RelocKind::FieldOffset(field));
        self.alu_imm(AluOp::Add, dst, 0);
    }
}

#[cfg(test)]
mod tests;
