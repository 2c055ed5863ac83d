//! Records as lines for people, rendered in the kernel: what reading a filter's `text` file
//! gives.
//!
//! A record is copied into `.bss`; the function of its filter renders each field behind the
//! one before and pads it to its column. `put` has what writes characters, `units` what
//! writes numbers with a unit. All are global functions, which the kernel verifies once each.
//!
//! **Invariant**: whatever a record holds, a line consists of printable ASCII and the line
//! break at its end, and it is never longer than [`Lines::bytes_max`].

mod put;
mod units;

use kernel_vm::schema::{EnumKind, Type, Unit};

use self::put::put;
pub(super) use self::put::text_word;
use crate::asm::{AluOp, Asm, Cond, JumpTooFar, R0, R1, R2, R6, R7, Reg, Size};
use crate::code::Code;
use crate::object::{DataType, Scratch, Subprogram};
use crate::plan::{Field, Plan};

/// Words of the area in `.bss`: how much of the line is there, and where its last cell starts.
const AT: i16 = 0;
const START: i16 = 8;
/// What the read has taken of the file's buffer.
pub(super) const USED: i16 = 16;
/// Whether the reader may see addresses.
pub(super) const PRIVILEGED: i16 = 24;
/// When a reader that is called row by row took the sweep; 0 when nobody has it.
pub(super) const TAKEN: i16 = 32;
/// The record that is being rendered.
const RECORD: i16 = 40;
/// Widest column that is padded.
const WIDTH_MAX: usize = 63;
/// Between two columns.
const GAP: &str = "  ";
/// What stands for a value that is not known.
const UNKNOWN: &str = "-";

/// The lines of one filter.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    filter: &'a str,
    plan: &'a Plan,
    /// Where in `.bss` the area begins.
    area: u32,
}

/// A column of the lines.
struct Column<'a> {
    index: usize,
    field: &'a Field,
    width: usize,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(filter: &'a str, plan: &'a Plan, area: u32) -> Self {
        Self { filter, plan, area }
    }

    /// Bytes of `.bss` that the area takes.
    pub(super) fn area_bytes(&self) -> u32 {
        self.line_offset() as u32 + self.line_bytes()
    }

    /// The area as a variable.
    pub(super) fn variable(&self) -> Scratch {
        let name = format!("{}_lines", self.filter);
        Scratch { name, offset: self.area, ty: DataType::words(self.area_bytes() / 8) }
    }

    /// Longest line, its break included, with the header before it.
    pub(super) fn bytes_max(&self) -> usize {
        let cells = self.columns().map(|column| column.width.max(longest(column.field.ty)));
        let line: usize = cells.map(|width| width + GAP.len()).sum();
        self.header().len().next_multiple_of(8) + line.max(TAIL_BYTES_MAX) + 1
    }

    /// `base =` the area.
    pub(super) fn load_area(&self, asm: &mut Asm, base: Reg) {
        asm.load_data(base, ".bss", self.area);
    }

    /// Code that leaves the line of the record at `record` on the stack in the area, after
    /// the header if it is the first; `r2 =` the line, `r3 =` its length.
    pub(super) fn render(&self, asm: &mut Asm, record: i32) {
        let headed = asm.label();
        self.load_area(asm, R1);
        for word in 0..self.plan.record_size as i32 / 8 {
            asm.load(Size::Dw, R0, crate::asm::FP, short(record + 8 * word));
            asm.store(Size::Dw, R1, RECORD + short(8 * word), R0);
        }
        asm.store_imm(Size::Dw, R1, AT, 0);
        asm.load(Size::Dw, R0, R1, USED);
        asm.jump_if_imm(Cond::Ne, R0, 0, headed);
        asm.call_subprog(&self.symbol("head"));
        asm.bind(headed);
        asm.call_subprog(&self.symbol("line"));
        self.load_line(asm);
    }

    /// Code that leaves in the area what is to be said after the last line; `r2 =` the text,
    /// `r3 =` its length, which may be 0.
    pub(super) fn render_tail(&self, asm: &mut Asm) {
        self.load_area(asm, R1);
        asm.store_imm(Size::Dw, R1, AT, 0);
        asm.call_subprog(&self.symbol("tail"));
        self.load_line(asm);
    }

    fn load_line(&self, asm: &mut Asm) {
        use crate::asm::R3;
        self.load_area(asm, R2);
        asm.load(Size::Dw, R3, R2, AT);
        asm.alu_imm(AluOp::And, R3, self.mask());
        asm.alu_imm(AluOp::Add, R2, i32::from(self.line_offset()));
    }

    /// The functions, all of which are global, with how many numbers each takes.
    pub(super) fn functions(&self, stats: u32) -> Result<Vec<(Subprogram, u8)>, JumpTooFar> {
        let mut all: Vec<(&str, Code, u8)> = vec![
            ("head", self.head()?, 0),
            ("line", self.line()?, 0),
            ("tail", self.tail(stats)?, 0),
            ("put", put::put_function(self)?, 1),
            ("number", put::number_function(self)?, 2),
            ("align", put::align_function(self)?, 2),
        ];
        let has = |wanted: fn(Type) -> bool| self.columns().any(|column| wanted(column.field.ty));
        if has(|ty| matches!(ty, Type::Text { .. })) {
            all.push(("text", put::text_function(self)?, 2));
        }
        all.push(("tenths", units::tenths_function(self)?, 2));
        if has(|ty| matches!(ty, Type::Int(Unit::Bytes) | Type::PerSecond(Unit::Bytes))) {
            all.push(("bytes", units::bytes_function(self)?, 1));
        }
        if has(|ty| {
            matches!(
                ty,
                Type::Int(Unit::Duration | Unit::Instant) | Type::PerSecond(Unit::Duration)
            )
        }) {
            all.push(("duration", units::duration_function(self)?, 1));
        }
        Ok(all
            .into_iter()
            .map(|(name, code, args)| (Subprogram { name: self.symbol(name), code }, args))
            .collect())
    }

    fn symbol(&self, what: &str) -> String {
        format!("show_{what}_{}", self.filter)
    }

    fn call(&self, asm: &mut Asm, what: &str) {
        asm.call_subprog(&self.symbol(what));
    }

    fn columns(&self) -> impl Iterator<Item = Column<'a>> {
        let shown = self.plan.fields.iter().enumerate().filter(|(_, field)| !field.hidden);
        shown.map(|(index, field)| {
            let width = field.name.len().max(width(field.ty)).min(WIDTH_MAX);
            Column { index, field, width }
        })
    }

    /// Where the line stands in the area.
    const fn line_offset(&self) -> i16 {
        RECORD + short(self.plan.record_size.cast_signed())
    }

    /// Bytes kept for it: a power of two, so that a mask keeps every store inside.
    fn line_bytes(&self) -> u32 {
        (self.bytes_max().max(LINE_BYTES_MIN) as u32).next_power_of_two()
    }

    fn mask(&self) -> i32 {
        self.line_bytes().cast_signed() - 1
    }

    fn header(&self) -> String {
        let mut cells = Vec::new();
        for Column { field, width, .. } in self.columns() {
            let name = field.name.to_uppercase();
            cells.push(if is_right(field.ty) {
                format!("{name:>width$}")
            } else {
                format!("{name:<width$}")
            });
        }
        let line = cells.join(GAP);
        format!("{}\n", line.trim_end())
    }

    /// `u64 head()`: begins the line with the header.
    fn head(&self) -> Result<Code, JumpTooFar> {
        let mut asm = Asm::new();
        let header = self.header();
        self.load_area(&mut asm, R6);
        for (bytes, offset) in header.as_bytes().chunks(8).zip((0..).step_by(8)) {
            asm.load_imm(R1, text_word(bytes));
            asm.store(Size::Dw, R6, self.line_offset() + offset, R1);
        }
        asm.store_imm(Size::Dw, R6, AT, header.len() as i32);
        leave(&mut asm);
        asm.finish()
    }

    /// `u64 line()`: renders the record.
    fn line(&self) -> Result<Code, JumpTooFar> {
        let mut asm = Asm::new();
        self.load_area(&mut asm, R6);
        let last = self.columns().count().saturating_sub(1);
        for (place, column) in self.columns().enumerate() {
            let (absent, known) = (asm.label(), asm.label());
            asm.load(Size::Dw, R1, R6, AT);
            asm.store(Size::Dw, R6, START, R1);
            asm.load(Size::Dw, R1, R6, RECORD);
            if column.index > 0 {
                asm.alu_imm(AluOp::Rsh, R1, column.index as i32);
            }
            asm.jump_if_imm(Cond::Set, R1, 1, absent);
            self.value(&mut asm, column.field);
            asm.jump(known);
            asm.bind(absent);
            put(self, &mut asm, UNKNOWN);
            asm.bind(known);
            let is_right = is_right(column.field.ty);
            if is_right || place < last {
                asm.load_imm(R1, column.width as i64);
                asm.load_imm(R2, i64::from(is_right));
                self.call(&mut asm, "align");
            }
            put(self, &mut asm, if place < last { GAP } else { "\n" });
        }
        leave(&mut asm);
        asm.finish()
    }

    /// Renders a value that is known; the area is in `r6`.
    fn value(&self, asm: &mut Asm, field: &Field) {
        let at = RECORD + short(field.offset.cast_signed());
        if let Type::Text { capacity } = field.ty {
            asm.load_imm(R1, i64::from(field.offset));
            asm.load_imm(R2, i64::from(capacity));
            return self.call(asm, "text");
        }
        asm.load(Size::Dw, R1, R6, at);
        match field.ty {
            Type::Int(unit) => self.amount(asm, unit),
            Type::PerSecond(unit) => units::per_second(self, asm, unit),
            Type::Bool => self.name(asm, &["no", "yes"]),
            Type::Enum(kind) => self.name(asm, kind.values()),
            Type::Thread => self.name(asm, &[UNKNOWN]),
            Type::Object => {
                asm.mov(R7, R1);
                self.device(asm);
                put(self, asm, "/");
                asm.load(Size::Dw, R1, R6, at + 8);
                self.number(asm, 10);
            }
            Type::Text { .. } => {}
        }
    }

    /// The amount in `r1` with its unit.
    fn amount(&self, asm: &mut Asm, unit: Unit) {
        match unit {
            Unit::Count | Unit::Id => self.number(asm, 10),
            Unit::Bytes => self.call(asm, "bytes"),
            Unit::Duration => self.call(asm, "duration"),
            Unit::Ratio => units::percent(self, asm),
            Unit::Instant => {
                asm.mov(R7, R1);
                put(self, asm, "+");
                asm.mov(R1, R7);
                self.call(asm, "duration");
            }
            Unit::Address => self.prefixed(asm, "0x", 16),
            Unit::Bits => self.prefixed(asm, "0", 8),
            Unit::Device => {
                asm.mov(R7, R1);
                self.device(asm);
            }
        }
    }

    fn prefixed(&self, asm: &mut Asm, prefix: &str, base: i64) {
        asm.mov(R7, R1);
        put(self, asm, prefix);
        asm.mov(R1, R7);
        self.number(asm, base);
    }

    /// The number in `r1`; only those of base 10 have a sign.
    fn number(&self, asm: &mut Asm, base: i64) {
        asm.load_imm(R2, base);
        self.call(asm, "number");
    }

    /// The device number in `r7`.
    fn device(&self, asm: &mut Asm) {
        const MINOR_BITS: i32 = 20;
        asm.mov(R1, R7);
        asm.alu_imm(AluOp::Rsh, R1, MINOR_BITS);
        self.number(asm, 10);
        put(self, asm, ":");
        asm.mov(R1, R7);
        asm.alu_imm(AluOp::And, R1, (1 << MINOR_BITS) - 1);
        self.number(asm, 10);
    }

    /// The name of the value in `r1`, or its number if it has none.
    fn name(&self, asm: &mut Asm, names: &[&str]) {
        let done = asm.label();
        for (number, name) in (0..).zip(names) {
            let other = asm.label();
            asm.jump_if_imm(Cond::Ne, R1, number, other);
            put(self, asm, name);
            asm.jump(done);
            asm.bind(other);
        }
        self.number(asm, 10);
        asm.bind(done);
    }

    /// `u64 tail()`: what is to be known of the sweep beside its lines.
    fn tail(&self, stats: u32) -> Result<Code, JumpTooFar> {
        let mut asm = Asm::new();
        asm.load_data(R6, ".bss", stats);
        for (counter, words) in NOTES {
            let silent = asm.label();
            asm.load(Size::Dw, R7, R6, counter);
            asm.jump_if_imm(Cond::Eq, R7, 0, silent);
            put(self, &mut asm, "# ");
            asm.mov(R1, R7);
            self.number(&mut asm, 10);
            put(self, &mut asm, words);
            asm.bind(silent);
        }
        leave(&mut asm);
        asm.finish()
    }
}

/// What is said after the lines if there were any such rows.
const NOTES: [(i16, &str); 3] = [
    (super::sweep::DROPPED, " more found no room\n"),
    (super::sweep::UNREADABLE, " could not be judged\n"),
    (super::sweep::WARMING, " were seen too shortly\n"),
];
/// Bytes of all notes at most.
pub(super) const TAIL_BYTES_MAX: usize = 160;
/// The line is no shorter than what a mask over the record and the line may reach.
const LINE_BYTES_MIN: usize = 512;

/// `return 0`
fn leave(asm: &mut Asm) {
    asm.load_imm(R0, 0);
    asm.exit();
}

/// Offsets in the area are small.
const fn short(offset: i32) -> i16 {
    offset as i16
}

/// Whether a column of this type is aligned to the right.
const fn is_right(ty: Type) -> bool {
    match ty {
        Type::Int(_) | Type::PerSecond(_) | Type::Thread => true,
        Type::Bool | Type::Text { .. } | Type::Enum(_) | Type::Object => false,
    }
}

/// How wide values of a type usually are.
fn width(ty: Type) -> usize {
    match ty {
        Type::Int(Unit::Bytes) => 9,
        Type::Int(Unit::Instant) => 8,
        Type::Int(Unit::Address) => 14,
        Type::Int(_) | Type::Thread => 7,
        Type::PerSecond(Unit::Bytes) => 11,
        Type::PerSecond(_) => 9,
        Type::Bool => 3,
        Type::Text { capacity } => usize::from(capacity).saturating_sub(1).min(24),
        Type::Enum(kind) => widest(kind),
        Type::Object => 14,
    }
}

/// How wide a value of a type can be at most.
fn longest(ty: Type) -> usize {
    match ty {
        Type::Text { capacity } => 4 * usize::from(capacity),
        Type::Enum(kind) => widest(kind).max(20),
        Type::Object => 48,
        Type::Int(_) | Type::PerSecond(_) | Type::Bool | Type::Thread => 32,
    }
}

fn widest(kind: EnumKind) -> usize {
    kind.values().iter().map(|name| name.len()).max().unwrap_or(0)
}
