//! Comparisons of texts, eight bytes at a time.
//!
//! A text is padded with zeros and contains none, so that equality is that of all words,
//! and a shift by whole bytes moves zeros in.

use kernel_vm::schema::Type;

use super::{Lower, Unknown};
use crate::arith::{Range, Val};
use crate::hir::{ExprId, ExprKind, TextOp};
use crate::lir::{AluOp, Base, Cond, Operand, Place, VReg};

/// Eight bytes of `text` from word `index`, padded with zeros, as a number.
pub(super) fn word(text: &[u8], index: usize) -> i64 {
    let mut bytes = [0; 8];
    for (byte, from) in bytes.iter_mut().zip(text.iter().skip(8 * index)) {
        *byte = *from;
    }
    i64::from_le_bytes(bytes)
}

/// Where the words of a text come from.
#[derive(Clone, Debug)]
enum Source {
    Memory {
        base: Base,
        offset: i32,
        words: usize,
    },
    /// In the parameters: the text, then its mask.
    Param {
        offset: u32,
        words: usize,
    },
    Const(Vec<u8>),
}

impl Source {
    /// How many words can be other than zero.
    fn words(&self) -> usize {
        match self {
            Self::Memory { words, .. } | Self::Param { words, .. } => *words,
            Self::Const(text) => text.len().div_ceil(8),
        }
    }
}

impl Lower<'_> {
    /// Goes to `yes` if `a op b`, else to `no`.
    pub(super) fn text(
        &mut self,
        op: TextOp,
        a: ExprId,
        b: ExprId,
        yes: Place,
        no: Place,
        unknown: Unknown,
    ) {
        let a = self.source(a, unknown);
        let b = self.source(b, unknown);
        match op {
            TextOp::Eq => self.text_equals(&a, &b, no),
            TextOp::StartsWith => self.text_starts(&a, &b, no),
            TextOp::EndsWith => {
                self.text_somewhere(&a, &b, true, yes);
                self.jump(no);
                return;
            }
            TextOp::Contains => {
                self.text_somewhere(&a, &b, false, yes);
                self.jump(no);
                return;
            }
        }
        self.jump(yes);
    }

    fn source(&mut self, id: ExprId, unknown: Unknown) -> Source {
        let expr = self.filter.expr(id);
        let words = expr.ty.size() / 8;
        match &expr.kind {
            ExprKind::ConstText(text) => Source::Const(text.clone()),
            ExprKind::Param(index) => {
                debug_assert!(matches!(expr.ty, Type::Text { .. }));
                Source::Param { offset: self.plan.params[*index], words }
            }
            ExprKind::Column(column) => {
                let (base, offset) = self.text_of_column(id, column.0, unknown);
                Source::Memory { base, offset, words }
            }
            ExprKind::Const(_)
            | ExprKind::System(_)
            | ExprKind::Neg(_)
            | ExprKind::Abs(_)
            | ExprKind::Binary(..)
            | ExprKind::MulDiv(..)
            | ExprKind::Compare(..)
            | ExprKind::Text(..)
            | ExprKind::And(..)
            | ExprKind::Or(..)
            | ExprKind::Not(_)
            | ExprKind::If(..)
            | ExprKind::History(_)
            | ExprKind::Held(..)
            | ExprKind::Aggregate(..)
            | ExprKind::CountRows => {
                unreachable!("the checker lets only columns, parameters and constants be texts")
            }
        }
    }

    /// Word `index` of a text; 0 beyond its end.
    fn word_of(&mut self, text: &Source, index: usize) -> Val {
        if index >= text.words() {
            return Val::constant(0);
        }
        let offset = 8 * index as i32;
        match text {
            Source::Memory { base, offset: start, .. } => {
                Val::reg(self.f.load(*base, start + offset), Range::ALL)
            }
            Source::Param { offset: start, .. } => {
                Val::reg(self.param_word(start + offset as u32), Range::ALL)
            }
            Source::Const(text) => Val::constant(word(text, index)),
        }
    }

    /// 0xff for each byte of word `index` that belongs to the text.
    fn mask_of(&mut self, text: &Source, index: usize) -> Val {
        if index >= text.words() {
            return Val::constant(0);
        }
        match text {
            Source::Const(text) => Val::constant(word(&vec![0xff; text.len()], index)),
            Source::Param { offset, words } => {
                Val::reg(self.param_word(offset + 8 * (words + index) as u32), Range::ALL)
            }
            Source::Memory { .. } => {
                let value = self.word_of(text, index).in_reg(&mut self.f);
                Val::reg(self.used_bytes(value), Range::ALL)
            }
        }
    }

    /// 0xff for each byte of `word` that is not zero.
    fn used_bytes(&mut self, word: VReg) -> VReg {
        let low = self.f.constant(0x7f7f_7f7f_7f7f_7f7f);
        let f = &mut self.f;
        let sum = f.alu(AluOp::And, word, low);
        let sum = f.alu(AluOp::Add, sum, low);
        let any = f.alu(AluOp::Or, sum, word);
        let any = f.alu(AluOp::Or, any, low);
        let any = f.alu(AluOp::Xor, any, low);
        let ones = f.alu(AluOp::Rsh, any, 7);
        f.alu(AluOp::Mul, ones, 255)
    }

    fn unless_equal(&mut self, a: Val, b: Val, no: Place) {
        let (a, b) = if a.as_const().is_some() { (b, a) } else { (a, b) };
        match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => self.jump(no),
            _ => {
                let lhs = a.in_reg(&mut self.f);
                let rhs: Operand = b.operand(&mut self.f);
                self.branch(Cond::Ne, lhs, rhs, no);
            }
        }
    }

    fn text_equals(&mut self, a: &Source, b: &Source, no: Place) {
        for index in 0..a.words().max(b.words()) {
            let (x, y) = (self.word_of(a, index), self.word_of(b, index));
            self.unless_equal(x, y, no);
        }
    }

    /// Goes to `no` unless `value` is `pattern` under its mask.
    fn unless_masked(&mut self, value: Val, pattern: &Source, index: usize, no: Place) {
        let mask = self.mask_of(pattern, index);
        let expected = self.word_of(pattern, index);
        match mask.as_const() {
            Some(0) => {}
            Some(-1) => self.unless_equal(value, expected, no),
            _ => {
                let value = value.in_reg(&mut self.f);
                let mask = mask.operand(&mut self.f);
                let seen = self.f.alu(AluOp::And, value, mask);
                self.unless_equal(Val::reg(seen, Range::ALL), expected, no);
            }
        }
    }

    fn text_starts(&mut self, a: &Source, pattern: &Source, no: Place) {
        for index in 0..pattern.words() {
            let value = self.word_of(a, index);
            self.unless_masked(value, pattern, index, no);
        }
    }

    /// Goes to `yes` if the pattern stands somewhere in `a` (`at_end`: as its end).
    fn text_somewhere(&mut self, a: &Source, pattern: &Source, at_end: bool, yes: Place) {
        let bytes = 8 * a.words();
        let positions = match pattern {
            Source::Const(text) if text.is_empty() => {
                self.jump(yes);
                return;
            }
            Source::Const(text) => (bytes + 1).saturating_sub(text.len()),
            Source::Memory { .. } | Source::Param { .. } => {
                let first = self.word_of(pattern, 0).in_reg(&mut self.f);
                self.branch(Cond::Eq, first, 0, yes);
                bytes
            }
        };
        for position in 0..positions {
            let next = self.f.place();
            let words = if at_end {
                (a.words() - position / 8).max(pattern.words())
            } else {
                pattern.words()
            };
            for index in 0..words {
                let value = self.shifted(a, position, index);
                if at_end {
                    let expected = self.word_of(pattern, index);
                    self.unless_equal(value, expected, next);
                } else {
                    self.unless_masked(value, pattern, index, next);
                }
            }
            self.jump(yes);
            self.bind(next);
        }
    }

    /// Word `index` of `a` without its first `position` bytes.
    fn shifted(&mut self, a: &Source, position: usize, index: usize) -> Val {
        let (skip, bits) = (position / 8, 8 * (position % 8) as i32);
        let low = self.word_of(a, index + skip);
        if bits == 0 {
            return low;
        }
        let high = self.word_of(a, index + skip + 1);
        if let (Some(low), Some(high)) = (low.as_const(), high.as_const()) {
            return Val::constant(((low as u64) >> bits | (high as u64) << (64 - bits)) as i64);
        }
        let low = low.in_reg(&mut self.f);
        let moved = self.f.alu(AluOp::Rsh, low, bits);
        if high.as_const() == Some(0) {
            return Val::reg(moved, Range::ALL);
        }
        let high = high.in_reg(&mut self.f);
        let high = self.f.alu(AluOp::Lsh, high, 64 - bits);
        Val::reg(self.f.alu(AluOp::Or, moved, high), Range::ALL)
    }
}
