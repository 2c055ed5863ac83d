//! Single actions: atomics, helpers, maps, functions and loops.

use super::{Generator, Guess, Item, Role};
use crate::helper::Helper;
use crate::isa::{AluOp, AtomicOp, Callee, Cond, Insn, Operand, Reg, Size, Wide, Width};

impl Generator {
    pub(super) fn atomic(&mut self) {
        let width = self.width();
        let op = self.pick(AtomicOp::ALL);
        let src = self.number();
        if op == AtomicOp::Cmpxchg && self.guesses[0] != Guess::Number {
            self.mov(Reg::R0, Operand::Imm(0));
        }
        let (dst, off) = if self.one_in(2) {
            let off = -8 * (1 + self.below(3) as i16);
            if !self.is_written(Size::Dw, off) && !self.one_in(20) {
                return;
            }
            (Reg::R10, off)
        } else {
            let Some((dst, region)) = self.memory() else { return };
            if matches!(self.guesses[dst.index()], Guess::Row | Guess::Params) && !self.one_in(20) {
                return;
            }
            (dst, self.offset(region, Size::Dw))
        };
        self.emit(Insn::Atomic { width, op, dst, src, off });
    }

    pub(super) fn helper(&mut self, helper: Helper) {
        self.emit(Insn::Call(Callee::Helper(helper.id())));
        let lasting = self.one_in(20);
        for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            if !lasting {
                self.set(reg, Guess::Unset);
            }
        }
        self.set(Reg::R0, Guess::Number);
    }

    /// Helpers of numbers, and those of words that they change.
    pub(super) fn numbers(&mut self) {
        let (helper, args): (_, &[Reg]) = match self.below(8) {
            0 | 1 => (Helper::BootTime, &[]),
            2 => (Helper::WaitsFor, &[Reg::R1]),
            3 => (Helper::MulDiv, &[Reg::R1, Reg::R2, Reg::R3]),
            4 => (Helper::Root, &[Reg::R1, Reg::R2]),
            5 => (Helper::Spread, &[Reg::R2, Reg::R3]),
            _ => (Helper::Average, &[Reg::R2, Reg::R3, Reg::R4]),
        };
        for &arg in args {
            let number = self.number();
            self.mov(arg, Operand::Reg(number));
        }
        if matches!(helper, Helper::Spread | Helper::Average) {
            self.words();
        }
        self.helper(helper);
    }

    /// r1 becomes the address of two words that may be read and written, mostly.
    fn words(&mut self) {
        if self.one_in(2)
            && let Some((reg, region)) = self.memory()
        {
            let is_read_only = matches!(self.guesses[reg.index()], Guess::Row | Guess::Params);
            if region >= 16 && (!is_read_only || self.one_in(20)) {
                self.mov(Reg::R1, Operand::Reg(reg));
                return;
            }
        }
        for off in [-72, -64] {
            if !self.one_in(20) {
                let src = self.stored();
                self.store_stack(Size::Dw, off, src);
            }
        }
        let off = if self.one_in(20) { -68 } else { -72 };
        self.stack_address(Reg::R1, off);
        self.set(Reg::R1, Guess::Window);
    }

    pub(super) fn stack_address(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Operand::Reg(Reg::R10));
        self.alu(AluOp::Add, dst, Operand::Imm(i32::from(off)));
        self.set(dst, Guess::Stack(off));
    }

    /// A key in the stack, now and then left out.
    pub(super) fn key(&mut self) -> i32 {
        let map = self.below(2) as i32;
        if !self.one_in(30) {
            let src = Operand::Imm(if map == 1 { 0 } else { self.below(4) as i32 });
            self.store_stack(Size::W, -36, src);
        }
        self.emit(Insn::LoadWide { dst: Reg::R1, value: Wide::MapIndex(map) });
        self.stack_address(Reg::R2, -36);
        map
    }

    pub(super) fn lookup(&mut self) {
        if self.one_in(4) {
            let offset = self.pick(&[0, 8, 15, 16]);
            let dst = self.any();
            self.emit(Insn::LoadWide { dst, value: Wide::MapIndexValue { index: 1, offset } });
            self.set(dst, if offset == 0 { Guess::Value(1) } else { Guess::Value(0) });
            return;
        }
        let map = self.key();
        self.helper(Helper::MapLookup);
        self.set(Reg::R0, Guess::MaybeNull(map));
        if self.one_in(3) {
            self.mov(Reg::R9, Operand::Reg(Reg::R0));
        }
        if !self.one_in(6) {
            self.null_test();
        }
    }

    pub(super) fn null_test(&mut self) {
        let maybe = |guess: Guess| matches!(guess, Guess::MaybeNull(_));
        let Some(dst) = self.with(maybe) else { return };
        let Guess::MaybeNull(map) = self.guesses[dst.index()] else { return };
        let cond = if self.one_in(5) { Cond::Ne } else { Cond::Eq };
        let src = Operand::Imm(0);
        let over = 1 + self.below(3);
        let insn = Insn::JumpIf { width: Width::W64, cond, dst, src, off: 0 };
        self.branch_over(insn, over);
        if cond == Cond::Eq {
            self.set(dst, Guess::Value(map));
            let size = self.pick(&[Size::B, Size::W, Size::Dw]);
            let off = self.offset(if map == 1 { 16 } else { 8 }, size);
            self.emit(Insn::Load { size, signed: false, dst: Reg::R4, src: dst, off });
            self.set(Reg::R4, Guess::Number);
        }
    }

    pub(super) fn update(&mut self) {
        if self.one_in(4) {
            self.key();
            self.helper(Helper::MapDelete);
            return;
        }
        let map = self.key();
        for off in if map == 1 { &[-56i16, -48][..] } else { &[-56][..] } {
            let src = self.stored();
            self.store_stack(Size::Dw, *off, src);
        }
        self.emit(Insn::LoadWide { dst: Reg::R1, value: Wide::MapIndex(map) });
        self.stack_address(Reg::R3, -56);
        self.mov(Reg::R4, Operand::Imm(0));
        self.helper(Helper::MapUpdate);
    }

    pub(super) fn record(&mut self) {
        for off in [-32, -24] {
            if !self.one_in(40) {
                let src = self.stored();
                self.store_stack(Size::Dw, off, src);
            }
        }
        self.stack_address(Reg::R1, -32);
        let size = if self.one_in(25) { 8 } else { 16 };
        self.mov(Reg::R2, Operand::Imm(size));
        self.helper(Helper::Emit);
    }

    /// A call of a function or a loop, which are written later.
    pub(super) fn call(&mut self) {
        if self.functions.len() > 3 && !self.one_in(3) {
            return;
        }
        let by_loop = self.rbpf.is_none() && self.one_in(2);
        let argument = if by_loop { Reg::R3 } else { Reg::R2 };
        let guess = match self.below(4) {
            0 | 1 => {
                for off in [-72, -64] {
                    if !self.one_in(40) {
                        let src = self.stored();
                        self.store_stack(Size::Dw, off, src);
                    }
                }
                self.stack_address(argument, -72);
                Guess::Window
            }
            _ => match self.with(|guess| {
                matches!(guess, Guess::Row | Guess::State | Guess::Params | Guess::Value(_))
            }) {
                Some(reg) => {
                    self.mov(argument, Operand::Reg(reg));
                    self.guesses[argument.index()]
                }
                None => return,
            },
        };
        let role = if by_loop { Role::Body(guess) } else { Role::Called(guess) };
        let same = (self.depth + 1..self.functions.len()).find(|&f| self.functions[f] == role);
        let function = match same {
            Some(function) if self.one_in(2) => function,
            _ if self.functions.len() < 12 => {
                self.functions.push(role);
                self.functions.len() - 1
            }
            _ => return,
        };
        if by_loop {
            if self.one_in(3) {
                let count = self.number();
                self.mov(Reg::R1, Operand::Reg(count));
                self.alu(AluOp::And, Reg::R1, Operand::Imm(3));
            } else {
                let count = self.below(6) as i32;
                self.mov(Reg::R1, Operand::Imm(count));
            }
            self.items.push(Item::Function(Reg::R2, function));
            self.mov(Reg::R4, Operand::Imm(0));
            self.helper(Helper::Loop);
        } else {
            let number = self.number();
            if number != Reg::R2 {
                self.mov(Reg::R1, Operand::Reg(number));
            } else {
                self.mov(Reg::R1, Operand::Imm(1));
            }
            self.items.push(Item::Call(function));
            for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
                self.set(reg, Guess::Unset);
            }
            self.set(Reg::R0, Guess::Number);
        }
        if guess == Guess::Window && self.one_in(2) {
            // What the function left there.
            let dst = self.any();
            let off = self.pick(&[-72, -64]);
            let size = Size::Dw;
            self.emit(Insn::Load { size, signed: false, dst, src: Reg::R10, off });
            self.set(dst, Guess::Number);
        }
    }
}
