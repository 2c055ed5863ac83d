//! Single actions: arithmetic, memory, branches.

use super::{Generator, Guess};
use crate::isa::{AluOp, ByteOrder, Cond, Insn, Operand, Reg, Size, Width};

impl Generator {
    pub(super) fn memory(&mut self) -> Option<(Reg, i16)> {
        let reg =
            self.with(|guess| !matches!(guess, Guess::Unset | Guess::Number | Guess::Stack(_)))?;
        let size = match self.guesses[reg.index()] {
            Guess::Row => 32,
            Guess::State | Guess::Window | Guess::Value(1) => 16,
            Guess::Params
            | Guess::Value(_)
            | Guess::Unset
            | Guess::Number
            | Guess::Stack(_)
            | Guess::MaybeNull(_) => 8,
        };
        Some((reg, size))
    }

    pub(super) fn size(&mut self) -> Size {
        self.pick(&[Size::B, Size::H, Size::W, Size::Dw, Size::Dw])
    }

    /// An offset for an access, seldom a little outside.
    pub(super) fn offset(&mut self, region: i16, size: Size) -> i16 {
        let room = (region - size.bytes() as i16).max(0);
        let inside = self.below(room as usize + 1) as i16;
        match self.below(150) {
            0 => inside - 9,
            1 => room + 1,
            2 => -1,
            3 => room,
            4 => room + size.bytes() as i16 - 1,
            _ => inside,
        }
    }

    pub(super) fn load(&mut self) {
        let Some((src, region)) = self.memory() else { return };
        let size = self.size();
        let off = self.offset(region, size);
        let dst = self.any();
        let signed = size != Size::Dw && self.one_in(3);
        self.emit(Insn::Load { size, signed, dst, src, off });
        self.set(dst, Guess::Number);
    }

    pub(super) fn store(&mut self) {
        let Some((dst, region)) = self.memory() else { return };
        if matches!(self.guesses[dst.index()], Guess::Row | Guess::Params) && !self.one_in(20) {
            return;
        }
        let size = self.size();
        let off = self.offset(region, size);
        let src = self.stored();
        self.emit(Insn::Store { size, dst, off, src });
    }

    pub(super) fn stored(&mut self) -> Operand {
        if self.one_in(40) {
            let reg = self.with(|guess| guess != Guess::Unset).unwrap_or(Reg::R10);
            return Operand::Reg(reg);
        }
        if self.one_in(2) { Operand::Imm(self.edge()) } else { Operand::Reg(self.number()) }
    }

    pub(super) fn width(&mut self) -> Width {
        if self.one_in(3) { Width::W32 } else { Width::W64 }
    }

    pub(super) fn operand(&mut self) -> Operand {
        if self.one_in(2) { Operand::Reg(self.number()) } else { Operand::Imm(self.edge()) }
    }

    pub(super) fn arithmetic(&mut self) {
        let dst = self.number();
        let op = self.pick(AluOp::ALL);
        let (width, mut src) = (self.width(), self.operand());
        if let Operand::Imm(imm) = &mut src {
            match op {
                // The verifier refuses these of constants.
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => *imm &= width.bits() as i32 - 1,
                AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod if *imm == 0 => *imm = 3,
                AluOp::Add
                | AluOp::Sub
                | AluOp::Mul
                | AluOp::Or
                | AluOp::And
                | AluOp::Xor
                | AluOp::Div
                | AluOp::Mod
                | AluOp::Sdiv
                | AluOp::Smod => {}
            }
        }
        self.emit(Insn::Alu { width, op, dst, src });
    }

    pub(super) fn unary(&mut self) {
        let dst = self.number();
        let width = self.width();
        let insn = match self.below(5) {
            0 => Insn::Neg { width, dst },
            1 => Insn::End {
                order: self.pick(ByteOrder::ALL),
                size: self.pick(&[Size::H, Size::W, Size::Dw]),
                dst,
            },
            2 => {
                let src = self.number();
                Insn::Mov { width, dst, src: Operand::Reg(src) }
            }
            _ => {
                let src = self.number();
                let from = match width {
                    Width::W32 => self.pick(&[Size::B, Size::H]),
                    Width::W64 => self.pick(&[Size::B, Size::H, Size::W]),
                };
                Insn::MovSx { width, from, dst, src }
            }
        };
        self.emit(insn);
    }

    pub(super) fn branch(&mut self) {
        let over = 1 + self.below(5);
        if self.one_in(12) {
            // The insn after a jump needs a way to it: a branch over the jump.
            let (dst, cond) = (self.number(), self.pick(Cond::ALL));
            let src = Operand::Imm(self.edge().max(0));
            let around = Insn::JumpIf { width: Width::W64, cond, dst, src, off: 1 };
            self.emit(around);
            self.branch_over(Insn::Jump { off: 0, long: false }, over);
            return;
        }
        let (width, cond, dst) = (self.width(), self.pick(Cond::ALL), self.number());
        let src = self.operand();
        if let Operand::Imm(imm) = src {
            self.constants.push(i64::from(imm).cast_unsigned());
        }
        self.branch_over(Insn::JumpIf { width, cond, dst, src, off: 0 }, over);
    }

    pub(super) fn stack(&mut self) {
        let size = self.size();
        let slot = -8 * (1 + self.below(4) as i16);
        let mut off = slot + (self.below(8) as i16 & !(size.bytes() as i16 - 1));
        if self.one_in(40) {
            off = self.pick(&[0, 1, -3, -13, -511, -512, -513, -505, -1]);
        }
        match self.below(3) {
            0 => {
                if !self.is_written(size, off) && !self.one_in(20) {
                    return;
                }
                let dst = self.any();
                self.emit(Insn::Load { size, signed: false, dst, src: Reg::R10, off });
                self.set(dst, Guess::Number);
            }
            1 => {
                // Whole registers, pointers too.
                let reg = self.with(|guess| guess != Guess::Unset).unwrap_or(Reg::R10);
                let (guess, src) = (self.guesses[reg.index()], Operand::Reg(reg));
                self.store_stack(Size::Dw, slot, src);
                if self.one_in(2) {
                    let dst = self.any();
                    let (size, src, off) = (Size::Dw, Reg::R10, slot);
                    self.action();
                    self.emit(Insn::Load { size, signed: false, dst, src, off });
                    self.set(dst, guess);
                }
            }
            _ => {
                let src = self.stored();
                self.store_stack(size, off, src);
            }
        }
    }

    /// A number is bounded in one of many ways and used as an offset.
    pub(super) fn indexed(&mut self) {
        let Some((base, region)) = self.memory() else { return };
        let index = self.any();
        let from = self.number();
        self.mov(index, Operand::Reg(from));
        let size = self.pick(&[Size::B, Size::H, Size::W]);
        let bound = i32::from(region) - size.bytes() as i32;
        let bound = if self.one_in(6) { bound + self.below(3) as i32 - 1 } else { bound };
        match self.below(9) {
            0 => self.alu(AluOp::And, index, Operand::Imm(7)),
            1 => self.alu(AluOp::Mod, index, Operand::Imm(bound + 1)),
            2 => {
                self.emit(Insn::Mov { width: Width::W32, dst: index, src: Operand::Reg(index) });
                self.alu(AluOp::Rsh, index, Operand::Imm(29));
            }
            3 => {
                self.alu(AluOp::Arsh, index, Operand::Imm(61));
                self.alu(AluOp::Add, index, Operand::Imm(4));
            }
            4 => {
                // Signed and unsigned halves of a bound.
                self.guard(Width::W64, Cond::Sgt, index, bound);
                self.guard(Width::W64, Cond::Slt, index, 0);
            }
            5 => self.guard(Width::W32, Cond::Gt, index, bound),
            6 => {
                self.guard(Width::W64, Cond::Ge, index, bound + 1);
                if self.one_in(2) {
                    self.alu(AluOp::Div, index, Operand::Imm(2));
                }
            }
            7 => {
                let cond = self.pick(&[Cond::Gt, Cond::Sgt, Cond::Lt, Cond::Ne, Cond::Set]);
                self.guard(Width::W64, cond, index, bound);
                // rbpf has no signed remainder.
                let op = if self.rbpf.is_some() { AluOp::Mod } else { AluOp::Smod };
                self.alu(op, index, Operand::Imm(4));
                self.alu(AluOp::Add, index, Operand::Imm(3));
            }
            _ => {
                // One number in another's range.
                let other = self.number();
                self.guard(Width::W64, Cond::Gt, other, bound);
                let (width, src) = (Width::W64, Operand::Reg(other));
                self.branch_over(
                    Insn::JumpIf { width, cond: Cond::Gt, dst: index, src, off: 0 },
                    1,
                );
            }
        }
        let pointer = self.any();
        if pointer == index || pointer == base {
            return;
        }
        self.mov(pointer, Operand::Reg(base));
        let op = if self.one_in(12) { AluOp::Sub } else { AluOp::Add };
        self.alu(op, pointer, Operand::Reg(index));
        let dst = self.any();
        self.emit(Insn::Load { size, signed: false, dst, src: pointer, off: 0 });
        let kept = self.guesses[dst.index()];
        self.set(dst, Guess::Number);
        if pointer != dst {
            self.set(pointer, if kept == Guess::Unset { Guess::Unset } else { Guess::Number });
            self.mov(pointer, Operand::Imm(1));
        }
    }

    pub(super) fn guard(&mut self, width: Width, cond: Cond, dst: Reg, imm: i32) {
        self.constants.push(i64::from(imm).cast_unsigned());
        let insn = Insn::JumpIf { width, cond, dst, src: Operand::Imm(imm), off: 0 };
        let over = 1 + self.below(2);
        self.branch_over(insn, over);
    }
}
