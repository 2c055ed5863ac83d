//! Programs by chance, most of them nearly right.
//!
//! A generator that knew too well what is safe would never come near the edge, so offsets
//! and bounds are now and then off by a little, and registers of the wrong kind.
//!
//! The suite of this crate holds the verifier against the checked engine on them, and other
//! crates hold it against other machines.
//!
//! **Invariant**: a seed always makes the same program.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "programs for tests: a mistake here may stop them"
)]

mod actions;
mod calls;
mod engine;

pub use engine::Engine;

use std::vec::Vec;

use crate::isa::{AluOp, Callee, Insn, Operand, RawInsn, Reg, Size, Wide, Width, encode};
use crate::verify::{MapSpec, Spec};

/// The maps that the programs know.
pub const MAPS: &[MapSpec] = &[
    MapSpec { key_size: 4, value_size: 8, direct: false },
    MapSpec { key_size: 4, value_size: 16, direct: true },
];
/// What the programs are made for.
pub const SPEC: Spec<'static> =
    Spec { row_size: 32, state_size: 16, params_size: 8, record_size: 16, maps: MAPS };

/// The next of a series of numbers: deterministic, and good enough to scatter bits.
pub fn scatter(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mixed = (*state ^ (*state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// A small change: of a field, an opcode, a place.
pub fn mutate(program: &mut [RawInsn], state: &mut u64) {
    let bits = scatter(state);
    let at = (bits >> 32) as usize % program.len();
    match bits & 7 {
        0 => program[at].imm = program[at].imm.wrapping_add((bits >> 8 & 3) as i32 - 1),
        1 => program[at].off = program[at].off.wrapping_add((bits >> 8 & 3) as i16 - 1),
        2 => program[at].regs ^= 1 << (bits >> 8 & 7),
        3 => program[at].code ^= 1 << (bits >> 8 & 7),
        4 => program[at].imm = [0, -1, i32::MAX, i32::MIN][(bits >> 8 & 3) as usize],
        5 => program[at].off = (bits >> 8) as i16 >> (bits >> 40 & 15),
        _ => {
            let other = (bits >> 16) as usize % program.len();
            program.swap(at, other);
        }
    }
}

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
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Program,
    /// Called with a number, and a pointer of this kind.
    Called(Guess),
    /// The same, by the loop helper.
    Body(Guess),
}

/// A program's source of chance.
#[derive(Debug)]
pub struct Generator {
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
    pub constants: Vec<u64>,
    /// Only insns that this engine has too, and no helper and no state.
    pub rbpf: Option<Engine>,
}

impl Generator {
    /// The programs of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678;
        let rbpf = match scatter(&mut state) & 15 {
            0 => Some(Engine::Interpreter),
            1 => Some(Engine::Jit),
            _ => None,
        };
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
            rbpf,
        }
    }

    fn bits(&mut self) -> u64 {
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
        let insn = self.plain(insn);
        self.items.push(Item::Insn(insn));
    }

    /// The insn, or one for it that rbpf has too.
    fn plain(&self, insn: Insn) -> Insn {
        if self.rbpf.is_none_or(|engine| engine.has(&insn)) {
            return insn;
        }
        match insn {
            Insn::Load { size, dst, src, off, .. } => {
                Insn::Load { size, signed: false, dst, src, off }
            }
            Insn::JumpIf { width, cond, dst, src: Operand::Imm(imm), off } => {
                let src = Operand::Imm(imm.max(0));
                Insn::JumpIf { width, cond, dst, src, off }
            }
            Insn::Jump { off, .. } => Insn::Jump { off, long: false },
            Insn::Alu { dst, src, .. } => Insn::Alu { width: Width::W64, op: AluOp::Add, dst, src },
            Insn::Mov { dst, .. }
            | Insn::MovSx { dst, .. }
            | Insn::Neg { dst, .. }
            | Insn::End { dst, .. }
            | Insn::LoadWide { dst, .. } => {
                Insn::Mov { width: Width::W64, dst, src: Operand::Imm(7) }
            }
            Insn::JumpIf { .. }
            | Insn::Store { .. }
            | Insn::Atomic { .. }
            | Insn::Call(_)
            | Insn::Exit => insn,
        }
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
            Operand::Reg(Reg::R10) => Guess::Stack(0),
            Operand::Reg(src) => self.guesses[src.index()],
            Operand::Imm(_) => Guess::Number,
        };
        self.set(dst, guess);
    }

    fn alu(&mut self, op: AluOp, dst: Reg, src: Operand) {
        self.emit(Insn::Alu { width: Width::W64, op, dst, src });
    }

    /// Slots of the whole program: to be asked for once.
    pub fn program(&mut self) -> Vec<RawInsn> {
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
                    if let Insn::JumpIf { width, cond, dst, src, .. } = insn {
                        Insn::JumpIf { width, cond, dst, src, off: off as i16 }
                    } else {
                        let long = label % 2 == 0 && self.rbpf.is_none();
                        Insn::Jump { off, long }
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
                if self.rbpf.is_some() {
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
        let insn = self.plain(insn);
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
        match self.below(if self.rbpf.is_some() { 14 } else { 24 }) {
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
            13 if self.rbpf.is_some() => self.call(),
            13 | 14 => self.store(),
            15 => self.atomic(),
            16 => self.numbers(),
            17 | 18 => self.lookup(),
            19 => self.update(),
            20 => self.record(),
            21 | 22 => self.call(),
            _ => self.null_test(),
        }
    }
}
