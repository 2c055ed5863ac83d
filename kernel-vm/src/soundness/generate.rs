//! Programs by chance, most of them nearly right.
//!
//! A generator that knew too well what is safe would never come near the edge, so offsets
//! and bounds are now and then off by a little, and registers of the wrong kind.

use std::vec::Vec;

use crate::helper::Helper;
use crate::isa::{
    AluOp, AtomicOp, ByteOrder, Callee, Cond, Insn, Operand, RawInsn, Reg, Size, Wide, Width,
    encode, scatter,
};

/// Numbers that edges are made of.
const EDGES: &[i64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    24,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    255,
    256,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    -1,
    -2,
    -8,
    -128,
    -32768,
    -0x8000_0000,
];

/// What the generator believes that a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    Unset,
    Number,
    Row,
    State,
    Params,
    Stack(i16),
    Window,
    Value(i32),
    MaybeNull(i32),
}

/// A reference to be resolved when everything has its place.
enum Item {
    Insn(Insn),
    /// A branch to the label with this number.
    Branch(Insn, usize),
    Label(usize),
    /// A call of the function with this number.
    Call(usize),
    Function(Reg, usize),
}

/// What a function is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Program,
    /// Called with a number, and a pointer of this kind.
    Called(Guess),
    /// The same, by the loop helper.
    Body(Guess),
}

/// A program's source of chance.
pub(super) struct Generator {
    state: u64,
    items: Vec<Item>,
    guesses: [Guess; 11],
    /// Bytes below the frame pointer that are believed to be written.
    written: u128,
    /// Labels to come: after how many actions, and what was believed at the branch.
    pending: Vec<(usize, usize, [Guess; 11], u128)>,
    labels: usize,
    functions: Vec<Role>,
    depth: usize,
    /// Numbers that the program compares with: inputs come near them.
    pub(super) constants: Vec<u64>,
    /// Only what rbpf has too: no helper, no state, the third version of the ISA.
    pub(super) pure: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678;
        let pure = scatter(&mut state) & 7 == 0;
        Self {
            state,
            items: Vec::new(),
            guesses: [Guess::Unset; 11],
            written: 0,
            pending: Vec::new(),
            labels: 0,
            functions: Vec::new(),
            depth: 0,
            constants: Vec::new(),
            pure,
        }
    }

    pub(super) fn bits(&mut self) -> u64 {
        scatter(&mut self.state)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 11) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn edge(&mut self) -> i32 {
        let edge = self.pick(EDGES) as i32;
        if self.one_in(4) { edge.wrapping_add(self.below(5) as i32 - 2) } else { edge }
    }

    fn emit(&mut self, insn: Insn) {
        self.items.push(Item::Insn(insn));
    }

    fn set(&mut self, reg: Reg, guess: Guess) {
        self.guesses[reg.index()] = guess;
    }

    /// A register that fits, or seldom any.
    fn with(&mut self, fits: impl Fn(Guess) -> bool) -> Option<Reg> {
        if self.one_in(200) {
            return Reg::new(self.below(11) as u8);
        }
        let regs: Vec<Reg> =
            Reg::ALL.iter().copied().filter(|reg| fits(self.guesses[reg.index()])).collect();
        (!regs.is_empty()).then(|| self.pick(&regs))
    }

    fn number(&mut self) -> Reg {
        if let Some(reg) = self.with(|guess| guess == Guess::Number) {
            return reg;
        }
        let (reg, imm) = (self.any(), self.edge());
        self.mov(reg, Operand::Imm(imm));
        reg
    }

    fn any(&mut self) -> Reg {
        // The pointers that came in are seldom overwritten.
        let pool = if self.one_in(12) { 10 } else { 6 };
        [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R9, Reg::R8, Reg::R7, Reg::R6]
            [self.below(pool)]
    }

    fn mov(&mut self, dst: Reg, src: Operand) {
        self.emit(Insn::Mov { width: Width::W64, dst, src });
        let guess = match src {
            Operand::Reg(src) if src == Reg::R10 => Guess::Stack(0),
            Operand::Reg(src) => self.guesses[src.index()],
            Operand::Imm(_) => Guess::Number,
        };
        self.set(dst, guess);
    }

    fn alu(&mut self, op: AluOp, dst: Reg, src: Operand) {
        self.emit(Insn::Alu { width: Width::W64, op, dst, src });
    }

    /// Slots of a whole program.
    pub(super) fn program(&mut self) -> Vec<RawInsn> {
        let mut starts = Vec::new();
        let mut flat: Vec<Item> = Vec::new();
        self.functions.push(Role::Program);
        let mut next = 0;
        while next < self.functions.len() {
            let role = self.functions[next];
            self.depth = next;
            starts.push(flat.len());
            self.function(role);
            flat.append(&mut self.items);
            next += 1;
        }
        let mut places: Vec<usize> = Vec::new();
        let mut at = 0;
        for item in &flat {
            places.push(at);
            at += match item {
                Item::Insn(insn) => insn.slots().count(),
                Item::Function(..) => 2,
                Item::Branch(..) | Item::Call(_) => 1,
                Item::Label(_) => 0,
            };
        }
        let mut labels = std::vec![0; self.labels];
        for (item, &place) in flat.iter().zip(&places) {
            if let Item::Label(label) = *item {
                labels[label] = place;
            }
        }
        let mut slots = Vec::new();
        for (index, item) in flat.iter().enumerate() {
            let distance = |to: usize| to as i32 - places[index] as i32 - 1;
            let insn = match *item {
                Item::Insn(insn) => insn,
                Item::Label(_) => continue,
                Item::Branch(insn, label) => {
                    let off = distance(labels[label]);
                    match insn {
                        Insn::JumpIf { width, cond, dst, src, .. } => {
                            Insn::JumpIf { width, cond, dst, src, off: off as i16 }
                        }
                        _ => Insn::Jump { off, long: label % 2 == 0 },
                    }
                }
                Item::Call(function) => {
                    Insn::Call(Callee::Local(distance(places[starts[function]])))
                }
                Item::Function(dst, function) => {
                    let off = distance(places[starts[function]]);
                    Insn::LoadWide { dst, value: Wide::Function(off) }
                }
            };
            let (first, second) = encode(insn);
            slots.push(first);
            slots.extend(second);
        }
        slots
    }

    fn function(&mut self, role: Role) {
        self.guesses = [Guess::Unset; 11];
        match role {
            Role::Program => {
                self.set(Reg::R1, Guess::Row);
                self.mov(Reg::R6, Operand::Reg(Reg::R1));
                if self.pure {
                    // rbpf has other things there.
                    self.mov(Reg::R2, Operand::Imm(0));
                    self.mov(Reg::R3, Operand::Imm(0));
                } else {
                    self.set(Reg::R2, Guess::State);
                    self.set(Reg::R3, Guess::Params);
                    self.mov(Reg::R7, Operand::Reg(Reg::R2));
                    self.mov(Reg::R8, Operand::Reg(Reg::R3));
                }
            }
            Role::Called(pointer) | Role::Body(pointer) => {
                self.set(Reg::R1, Guess::Number);
                self.set(Reg::R2, pointer);
                self.mov(Reg::R6, Operand::Reg(Reg::R2));
            }
        }
        self.written = 0;
        if !self.one_in(5) {
            for reg in [Reg::R0, Reg::R4, Reg::R5, Reg::R9] {
                let imm = self.edge();
                self.mov(reg, Operand::Imm(imm));
            }
            for off in [-8, -16, -24, -32] {
                let src = Operand::Imm(self.edge());
                self.store_stack(Size::Dw, off, src);
            }
        }
        for _ in 0..4 + self.below(22) {
            self.action();
            self.arrive(false);
        }
        self.arrive(true);
        if self.guesses[0] != Guess::Number || self.one_in(3) {
            match self.with(|guess| guess == Guess::Number) {
                Some(reg) => self.mov(Reg::R0, Operand::Reg(reg)),
                None => self.mov(Reg::R0, Operand::Imm(0)),
            }
        }
        if matches!(role, Role::Body(_)) && !self.one_in(3) {
            self.mov(Reg::R0, Operand::Imm(0));
        }
        self.emit(Insn::Exit);
    }

    /// A branch from here to where `actions` more actions are done.
    fn branch_over(&mut self, insn: Insn, actions: usize) {
        self.items.push(Item::Branch(insn, self.labels));
        self.pending.push((actions, self.labels, self.guesses, self.written));
        self.labels += 1;
    }

    /// Puts the labels whose time has come, and believes what all ways there agree on.
    fn arrive(&mut self, all: bool) {
        for (left, label, guesses, written) in core::mem::take(&mut self.pending) {
            if left > 1 && !all {
                self.pending.push((left - 1, label, guesses, written));
                continue;
            }
            self.items.push(Item::Label(label));
            self.written &= written;
            for (mine, theirs) in self.guesses.iter_mut().zip(guesses) {
                if *mine != theirs {
                    *mine = Guess::Unset;
                }
            }
        }
    }

    fn store_stack(&mut self, size: Size, off: i16, src: Operand) {
        self.emit(Insn::Store { size, dst: Reg::R10, off, src });
        let pointer = match src {
            Operand::Reg(reg) => self.guesses[reg.index()] != Guess::Number,
            Operand::Imm(_) => false,
        };
        for byte in off..off + size.bytes() as i16 {
            if (-128..0).contains(&byte) {
                let bit = 1u128 << (byte + 128);
                self.written = if pointer { self.written & !bit } else { self.written | bit };
            }
        }
    }

    fn is_written(&self, size: Size, off: i16) -> bool {
        (off..off + size.bytes() as i16)
            .all(|byte| (-128..0).contains(&byte) && self.written >> (byte + 128) & 1 != 0)
    }

    fn action(&mut self) {
        match self.below(if self.pure { 13 } else { 24 }) {
            0 => {
                let (reg, imm) = (self.any(), self.edge());
                self.mov(reg, Operand::Imm(imm));
            }
            1 => {
                let value = self.pick(EDGES).cast_unsigned() ^ (self.bits() & 0xff) << 32;
                let dst = self.any();
                self.emit(Insn::LoadWide { dst, value: Wide::Value(value) });
                self.set(dst, Guess::Number);
            }
            2 | 3 => self.load(),
            4..=6 => self.arithmetic(),
            7 => self.unary(),
            8 => self.branch(),
            9 | 10 => self.stack(),
            11 => self.indexed(),
            12 => self.branch(),
            13 | 14 => self.store(),
            15 => self.atomic(),
            16 => self.time(),
            17 | 18 => self.lookup(),
            19 => self.update(),
            20 => self.record(),
            21 | 22 => self.call(),
            _ => self.null_test(),
        }
    }

    fn memory(&mut self) -> Option<(Reg, i16)> {
        let reg =
            self.with(|guess| !matches!(guess, Guess::Unset | Guess::Number | Guess::Stack(_)))?;
        let size = match self.guesses[reg.index()] {
            Guess::Row => 32,
            Guess::State | Guess::Window | Guess::Value(1) => 16,
            _ => 8,
        };
        Some((reg, size))
    }

    fn size(&mut self) -> Size {
        self.pick(&[Size::B, Size::H, Size::W, Size::Dw, Size::Dw])
    }

    /// An offset for an access, seldom a little outside.
    fn offset(&mut self, region: i16, size: Size) -> i16 {
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

    fn load(&mut self) {
        let Some((src, region)) = self.memory() else { return };
        let size = self.size();
        let off = self.offset(region, size);
        let dst = self.any();
        let signed = size != Size::Dw && !self.pure && self.one_in(3);
        self.emit(Insn::Load { size, signed, dst, src, off });
        self.set(dst, Guess::Number);
    }

    fn store(&mut self) {
        let Some((dst, region)) = self.memory() else { return };
        if matches!(self.guesses[dst.index()], Guess::Row | Guess::Params) && !self.one_in(20) {
            return;
        }
        let size = self.size();
        let off = self.offset(region, size);
        let src = self.stored();
        self.emit(Insn::Store { size, dst, off, src });
    }

    fn stored(&mut self) -> Operand {
        if self.one_in(40) {
            let reg = self.with(|guess| guess != Guess::Unset).unwrap_or(Reg::R10);
            return Operand::Reg(reg);
        }
        if self.one_in(2) { Operand::Imm(self.edge()) } else { Operand::Reg(self.number()) }
    }

    fn width(&mut self) -> Width {
        if self.one_in(3) { Width::W32 } else { Width::W64 }
    }

    fn operand(&mut self) -> Operand {
        if self.one_in(2) { Operand::Reg(self.number()) } else { Operand::Imm(self.edge()) }
    }

    fn arithmetic(&mut self) {
        let dst = self.number();
        let mut op = self.pick(AluOp::ALL);
        if self.pure && matches!(op, AluOp::Sdiv | AluOp::Smod) {
            op = AluOp::Add;
        }
        let (width, mut src) = (self.width(), self.operand());
        if let Operand::Imm(imm) = &mut src {
            match op {
                // rbpf does not take what the kernel does not: these are constants' edges.
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
        // rbpf shifts by more than the width in its own way.
        if self.pure && matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh) {
            src = Operand::Imm(self.below(32) as i32);
        }
        self.emit(Insn::Alu { width, op, dst, src });
    }

    fn unary(&mut self) {
        let dst = self.number();
        let width = self.width();
        let insn = match self.below(if self.pure { 3 } else { 5 }) {
            0 => Insn::Neg { width, dst },
            1 => Insn::End {
                order: if self.pure { ByteOrder::Be } else { self.pick(ByteOrder::ALL) },
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

    fn branch(&mut self) {
        let over = 1 + self.below(5);
        if self.one_in(12) {
            // The insn after a jump needs a way to it: a branch over the jump.
            let (dst, cond) = (self.number(), self.pick(Cond::ALL));
            let src = Operand::Imm(self.edge());
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

    fn stack(&mut self) {
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
    fn indexed(&mut self) {
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
                self.alu(AluOp::Smod, index, Operand::Imm(4));
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

    fn guard(&mut self, width: Width, cond: Cond, dst: Reg, imm: i32) {
        self.constants.push(i64::from(imm).cast_unsigned());
        let insn = Insn::JumpIf { width, cond, dst, src: Operand::Imm(imm), off: 0 };
        let over = 1 + self.below(2);
        self.branch_over(insn, over);
    }

    fn atomic(&mut self) {
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

    fn helper(&mut self, helper: Helper) {
        self.emit(Insn::Call(Callee::Helper(helper.id())));
        let lasting = self.one_in(20);
        for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            if !lasting {
                self.set(reg, Guess::Unset);
            }
        }
        self.set(Reg::R0, Guess::Number);
    }

    fn time(&mut self) {
        if self.one_in(2) {
            self.helper(Helper::BootTime);
        } else {
            let tid = self.number();
            self.mov(Reg::R1, Operand::Reg(tid));
            self.helper(Helper::WaitsFor);
        }
    }

    fn stack_address(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Operand::Reg(Reg::R10));
        self.alu(AluOp::Add, dst, Operand::Imm(i32::from(off)));
        self.set(dst, Guess::Stack(off));
    }

    /// A key in the stack, now and then left out.
    fn key(&mut self) -> i32 {
        let map = self.below(2) as i32;
        if !self.one_in(30) {
            let src = Operand::Imm(if map == 1 { 0 } else { self.below(4) as i32 });
            self.store_stack(Size::W, -36, src);
        }
        self.emit(Insn::LoadWide { dst: Reg::R1, value: Wide::MapIndex(map) });
        self.stack_address(Reg::R2, -36);
        map
    }

    fn lookup(&mut self) {
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

    fn null_test(&mut self) {
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

    fn update(&mut self) {
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

    fn record(&mut self) {
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
    fn call(&mut self) {
        if self.functions.len() > 3 && !self.one_in(3) {
            return;
        }
        let by_loop = self.one_in(2);
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
