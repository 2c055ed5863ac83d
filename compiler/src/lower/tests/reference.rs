//! What a filter means, evaluated directly on 128-bit integers.
//!
//! Independent of the back end: no folding, no ranges, no layout of state. A history's
//! formulas are those of `docs/language.md`.

use std::collections::HashMap;

use crate::hir::{
    BinaryOp, CompareOp, ExprId, ExprKind, Filter, History, HistoryFn, TextOp, Value,
};
use kernel_vm::schema::{ColumnId, SystemValue, Type, Unit};

/// Why a value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Unreadable,
    Warming,
}

/// A column's value in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Missing,
    Int(i64),
    Text(Vec<u8>),
}

/// What the loader and the kernel hand over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) now: i64,
    pub(crate) cells: HashMap<u16, Cell>,
    pub(crate) params: Vec<Value>,
    pub(crate) memory: i64,
    pub(crate) cpus: i64,
}

/// The past of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    last: HashMap<ExprId, (i128, i128)>,
    waves: HashMap<(ExprId, ExprId), Wave>,
    since: i64,
}

#[derive(Clone, Debug)]
struct Wave {
    start: i128,
    time: i128,
    mean: i128,
    variance: i128,
    peak: i128,
    slow: i128,
}

type Known<T> = Result<T, Unknown>;

/// One row of one filter.
pub(crate) struct Reference<'a> {
    filter: &'a Filter,
    inputs: &'a Inputs,
    remembered: HashMap<ExprId, Known<i128>>,
    /// A condition on what never changes did not hold: nothing else was looked at.
    stopped: bool,
}

fn saturate(value: i128) -> i128 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX))
}

pub(crate) fn mul_div(a: i128, b: i128, c: i128) -> i128 {
    if c == 0 { 0 } else { saturate(a * b / c) }
}

/// Rounds down, unlike `/`.
pub(crate) fn scale(value: i128, weight: i128) -> i128 {
    (value * weight) >> 32
}

/// `2^(-dt / half_life)` with 32 bits after the point.
pub(crate) fn decay(dt: i128, half_life: i128) -> i128 {
    if dt <= 0 {
        return 1 << 32;
    }
    if half_life <= 0 || dt / half_life > 32 {
        return 0;
    }
    let (mut rest, mut unit) = (dt % half_life, half_life);
    while unit >= 1 << 32 {
        rest >>= 1;
        unit >>= 1;
    }
    let fraction = (rest << 32) / unit;
    let mut sum = 0;
    for coefficient in
        [48550, 639488, 5712048, 41304489, 238387495, 1031764939, 2977044471, 1 << 32]
    {
        sum = coefficient - ((sum * fraction) >> 32);
    }
    sum >> (dt / half_life)
}

/// The variance after a value that differs so much from the mean.
pub(crate) fn spread(variance: i128, difference: i128, kept: i128) -> i128 {
    let added = variance + difference * scale(difference, (1 << 32) - kept);
    (added >> 32) * kept + (((added & 0xffff_ffff) * kept) >> 32)
}

/// The square root of a variance: of its highest 31 to 62 bits, the rest dropped 32 at a time.
pub(crate) fn root(variance: i128) -> i128 {
    let (mut left, mut shift) = (variance, 0);
    while left >= 1 << 62 {
        left >>= 32;
        shift += 16;
    }
    let (mut low, mut high) = (0_i128, 1 << 31);
    while low < high {
        let middle = (low + high + 1) / 2;
        if middle * middle <= left {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low << shift
}

impl<'a> Reference<'a> {
    /// Advances `past` by one sweep.
    pub(crate) fn new(filter: &'a Filter, inputs: &'a Inputs, past: &mut Past) -> Self {
        let mut this = Self { filter, inputs, remembered: HashMap::new(), stopped: false };
        let live = crate::plan::live(filter);
        if let Some(root) = filter.condition {
            let held =
                if let ExprKind::Held(inner, _) = filter.expr(root).kind { inner } else { root };
            match this.fixed_part(held, true) {
                Some(Ok(true)) | None => {}
                Some(Ok(false)) => this.stopped = true,
                Some(Err(_)) => {
                    this.stopped = true;
                    past.since = 0;
                }
            }
        }
        if this.stopped {
            return this;
        }
        let mut advanced = HashMap::new();
        for (index, expr) in filter.exprs.iter().enumerate() {
            if let (true, ExprKind::History(history)) = (live[index], &expr.kind) {
                let value = this.advance(*history, past, &mut advanced);
                this.remembered.insert(ExprId(index as u32), value);
            }
        }
        this
    }

    /// What the parts of `where` on immutable columns say together; `None` if there is none.
    fn fixed_part(&self, id: ExprId, positive: bool) -> Option<Known<bool>> {
        match self.filter.expr(id).kind {
            ExprKind::Not(a) => self.fixed_part(a, !positive),
            ExprKind::And(a, b) | ExprKind::Or(a, b)
                if matches!(self.filter.expr(id).kind, ExprKind::And(..)) == positive =>
            {
                match (self.fixed_part(a, positive), self.fixed_part(b, positive)) {
                    (None, other) | (other, None) | (Some(Ok(true)), other) => other,
                    (stops, _) => stops,
                }
            }
            _ => self.is_fixed(id).then(|| self.holds(id, positive)),
        }
    }

    fn is_fixed(&self, id: ExprId) -> bool {
        let kind = &self.filter.expr(id).kind;
        if let ExprKind::Column(column) = kind {
            return column.0.immutable;
        }
        let mut fixed = !matches!(kind, ExprKind::History(_));
        crate::plan::operands(kind, |operand| fixed = fixed && self.is_fixed(operand));
        fixed
    }

    fn advance(
        &self,
        history: History,
        past: &mut Past,
        advanced: &mut HashMap<(ExprId, Option<ExprId>), Known<[i128; 5]>>,
    ) -> Known<i128> {
        let key = (history.arg, history.window);
        let results = match advanced.get(&key) {
            Some(results) => *results,
            None => {
                let results = match history.window {
                    None => self.advance_track(history.arg, past),
                    Some(window) => self.advance_wave(history.arg, window, past),
                };
                advanced.insert(key, results);
                results
            }
        }?;
        Ok(match history.function {
            HistoryFn::Rate | HistoryFn::Mean => results[0],
            HistoryFn::Delta | HistoryFn::Deviation => results[1],
            HistoryFn::Zscore => results[2],
            HistoryFn::Peak => results[3],
            HistoryFn::Slope => results[4],
        })
    }

    fn advance_track(&self, arg: ExprId, past: &mut Past) -> Known<[i128; 5]> {
        let value = self.int(arg)?;
        let now = i128::from(self.inputs.now);
        let (last, time) = past.last.insert(arg, (value, now)).ok_or(Unknown::Warming)?;
        let delta = saturate(value - last);
        let unit = self.rate_unit(arg);
        Ok([mul_div(delta, unit, now - time), delta, 0, 0, 0])
    }

    fn rate_unit(&self, arg: ExprId) -> i128 {
        match self.filter.expr(arg).ty {
            Type::Int(Unit::Duration) => 1_000_000,
            _ => 1_000_000_000_000_000,
        }
    }

    fn advance_wave(&self, arg: ExprId, window: ExprId, past: &mut Past) -> Known<[i128; 5]> {
        let value = self.int(arg)?;
        let half_life = self.int(window)?;
        let now = i128::from(self.inputs.now);
        let bits = match self.filter.expr(arg).ty {
            Type::Int(Unit::Count) => 16,
            _ => 8,
        };
        let most = (1_i128 << (62 - bits)) - 1;
        let x = value.clamp(-most, most) << bits;
        let Some(wave) = past.waves.get_mut(&(arg, window)) else {
            let wave = Wave { start: now, time: now, mean: x, variance: 0, peak: x, slow: x };
            past.waves.insert((arg, window), wave);
            return Err(Unknown::Warming);
        };
        let dt = now - wave.time;
        wave.time = now;
        let kept = decay(dt, half_life);
        let weight = (1 << 32) - kept;
        let difference = x - wave.mean;
        let score = mul_div(difference, 1_000_000, root(wave.variance).max(1 << bits));
        wave.mean += scale(difference, weight);
        wave.variance = spread(wave.variance, difference, kept);
        wave.peak = if wave.peak > x { x + scale(wave.peak - x, kept) } else { x };
        wave.slow += scale(wave.mean - wave.slow, weight);
        let lag = mul_div(dt, kept, weight);
        let unit = self.rate_unit(arg);
        let shared = if unit == 1_000_000 { 6 } else { bits.min(15) };
        let lag = saturate(lag << (bits - shared));
        let slope = mul_div(wave.mean - wave.slow, unit >> shared, lag);
        if now - wave.start < half_life {
            return Err(Unknown::Warming);
        }
        let rounded = |value: i128| (value + (1 << (bits - 1))) >> bits;
        Ok([rounded(wave.mean), rounded(root(wave.variance)), score, rounded(wave.peak), slope])
    }

    /// Whether the row matches.
    pub(crate) fn matches(&self, past: &mut Past) -> bool {
        let Some(root) = self.filter.condition else { return true };
        if self.stopped {
            return false;
        }
        if let ExprKind::Held(inner, hold) = self.filter.expr(root).kind {
            if self.holds(inner, true) != Ok(true) {
                past.since = 0;
                return false;
            }
            if past.since == 0 {
                past.since = self.inputs.now;
            }
            let age = i128::from(self.inputs.now - past.since);
            return self.int(hold).is_ok_and(|hold| age >= hold);
        }
        self.holds(root, true) == Ok(true)
    }

    /// Whether a condition (or its opposite) holds; unknown if it does not and why may be
    /// that an operand is unknown.
    fn holds(&self, id: ExprId, positive: bool) -> Known<bool> {
        match &self.filter.expr(id).kind {
            ExprKind::Not(a) => self.holds(*a, !positive),
            ExprKind::And(a, b) | ExprKind::Or(a, b) => {
                let both = matches!(self.filter.expr(id).kind, ExprKind::And(..)) == positive;
                let first = self.holds(*a, positive);
                match first {
                    Ok(false) if both => Ok(false),
                    Ok(true) if !both => Ok(true),
                    Err(unknown) if both => Err(unknown),
                    Ok(_) => self.holds(*b, positive),
                    Err(unknown) => match self.holds(*b, positive) {
                        Ok(true) => Ok(true),
                        Ok(false) | Err(_) => Err(unknown),
                    },
                }
            }
            ExprKind::If(c, a, b) => {
                let chosen = if self.holds(*c, true)? { *a } else { *b };
                self.holds(chosen, positive)
            }
            ExprKind::Compare(op, a, b) => {
                let (a, b) = (self.int(*a)?, self.int(*b)?);
                let answer = match op {
                    CompareOp::Eq => a == b,
                    CompareOp::Ne => a != b,
                    CompareOp::Lt => a < b,
                    CompareOp::Le => a <= b,
                    CompareOp::Gt => a > b,
                    CompareOp::Ge => a >= b,
                };
                Ok(answer == positive)
            }
            ExprKind::Text(op, a, b) => {
                let (a, b) = (self.text(*a)?, self.text(*b)?);
                let answer = match op {
                    TextOp::Eq => a == b,
                    TextOp::StartsWith => a.starts_with(&b),
                    TextOp::EndsWith => a.ends_with(&b),
                    TextOp::Contains => {
                        b.is_empty() || a.windows(b.len()).any(|window| window == b)
                    }
                };
                Ok(answer == positive)
            }
            _ => Ok((self.int(id)? != 0) == positive),
        }
    }

    fn text(&self, id: ExprId) -> Known<Vec<u8>> {
        match &self.filter.expr(id).kind {
            ExprKind::ConstText(text) => Ok(text.clone()),
            ExprKind::Param(index) => match &self.inputs.params[*index] {
                Value::Text(text) => Ok(text.clone()),
                Value::Int(_) => panic!("a text parameter is a text"),
            },
            ExprKind::Column(column) => match self.cell(column.0.id) {
                Cell::Text(text) => Ok(text.clone()),
                Cell::Missing => Err(Unknown::Unreadable),
                Cell::Int(_) => panic!("a text column is a text"),
            },
            other => panic!("{other:?} is no text"),
        }
    }

    fn cell(&self, id: ColumnId) -> &Cell {
        &self.inputs.cells[&id.0]
    }

    /// The value of an integer or boolean.
    pub(crate) fn int(&self, id: ExprId) -> Known<i128> {
        Ok(match &self.filter.expr(id).kind {
            ExprKind::Const(value) => i128::from(*value),
            ExprKind::Param(index) => match &self.inputs.params[*index] {
                Value::Int(value) => i128::from(*value),
                Value::Text(_) => panic!("an integer parameter is an integer"),
            },
            ExprKind::System(value) => {
                let value = match value {
                    SystemValue::Memory => self.inputs.memory,
                    SystemValue::Cpus => self.inputs.cpus,
                };
                if value <= 0 {
                    return Err(Unknown::Unreadable);
                }
                i128::from(value)
            }
            ExprKind::Column(column) => match self.cell(column.0.id) {
                Cell::Int(value) => i128::from(*value),
                Cell::Missing => return Err(Unknown::Unreadable),
                Cell::Text(_) => panic!("an integer column is an integer"),
            },
            ExprKind::Neg(a) => saturate(-self.int(*a)?),
            ExprKind::Abs(a) => saturate(self.int(*a)?.abs()),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.int(*a)?, self.int(*b)?);
                saturate(match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div => a.checked_div(b).unwrap_or(0),
                    BinaryOp::Mod => a.checked_rem(b).unwrap_or(a),
                    BinaryOp::Min => a.min(b),
                    BinaryOp::Max => a.max(b),
                })
            }
            ExprKind::MulDiv(a, b, c) => mul_div(self.int(*a)?, self.int(*b)?, self.int(*c)?),
            ExprKind::If(c, a, b) => {
                let chosen = if self.holds(*c, true)? { *a } else { *b };
                return self.int(chosen);
            }
            ExprKind::History(_) => return self.remembered[&id],
            ExprKind::Compare(..)
            | ExprKind::Text(..)
            | ExprKind::And(..)
            | ExprKind::Or(..)
            | ExprKind::Not(_) => i128::from(self.holds(id, true)?),
            other => panic!("{other:?} has no value in a row"),
        })
    }
}
