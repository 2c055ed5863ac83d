//! A checked filter: names resolved, units converted, nothing left to refuse but size.
//!
//! `check` makes it from the syntax tree; `lower` turns it into
//! code. Expressions form a graph: equal expressions are one node, so that what is written
//! twice is computed once and history functions with equal arguments share their state.
//!
//! **Invariant**: an expression's operands have smaller ids than itself; every operation on
//! integers is on plain signed 64-bit numbers, as scales and units were made explicit.

use kernel_vm::schema::{Column, SystemValue, Table, Type};

/// A place in the source: a half-open range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One checked filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// The documentation comment before it, without its markers.
    pub doc: String,
    /// The table that it is on.
    pub table: Table,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    /// Every expression; an [`ExprId`] is an index.
    pub exprs: Vec<Expr>,
    /// The condition of `where`, [`ExprKind::Held`] around it when there is a `for`; `None`
    /// matches every row.
    pub condition: Option<ExprId>,
    /// `group by … having …`.
    pub group: Option<Group>,
    /// What a record holds.
    pub emit: Vec<Emit>,
    /// `top N by`.
    pub top: Option<Top>,
    /// `severity warning` or `severity critical`.
    pub severity: Option<kernel_vm::object::Severity>,
    /// `limit { … }`.
    pub limit: Option<Limit>,
}

/// A number that names an expression of its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub u32);

/// A parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// The documentation comment before it.
    pub doc: String,
    /// Its type, which is that of its default.
    pub ty: Type,
    /// Its default.
    pub default: Value,
    /// The default as written.
    pub default_text: String,
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// An integer, in its unit's base.
    Int(i64),
    /// A text, not padded.
    Text(Vec<u8>),
}

/// `group by`: one record for each distinct combination of the keys.
#[derive(Clone, Debug)]
pub struct Group {
    /// The keys.
    pub keys: Vec<ExprId>,
    /// The condition on a whole group; [`ExprKind::Aggregate`]s occur here and in `emit`.
    pub having: Option<ExprId>,
}

/// One field of a record.
#[derive(Clone, Debug)]
pub struct Emit {
    /// Its name.
    pub name: String,
    /// Its value.
    pub expr: ExprId,
}

/// `top N by`.
#[derive(Clone, Copy, Debug)]
pub struct Top {
    /// Most records of one sweep, 1 to 10,000.
    pub n: u32,
    /// The key, an integer; the largest come first.
    pub by: ExprId,
}

/// `limit { … }`: what is done to those who match.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The rungs, in the order of time.
    pub rungs: Vec<kernel_vm::object::RungMeta>,
    /// Who meets this is released.
    pub leave: Option<ExprId>,
}

/// An expression, its type and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Where it was first written.
    pub span: Span,
}

/// What an expression computes.
///
/// Integers saturate at the ends of `i64`. An operand that is unknown (a column that could
/// not be read, a history that has just begun) makes the value unknown; a comparison with
/// an unknown operand is neither true nor false and makes a condition not match. `Not`
/// stands only above comparisons' results and other booleans; lowering pushes it inwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExprKind {
    /// A constant integer, boolean (0 or 1) or enumeration value.
    Const(i64),
    /// A constant text, only as an operand of [`ExprKind::Text`].
    ConstText(Vec<u8>),
    /// A parameter, by index.
    Param(usize),
    /// A column of the row.
    Column(ColumnRef),
    /// A value of the whole system, unknown when the loader did not know it.
    System(SystemValue),
    /// `-a`.
    Neg(ExprId),
    /// `abs(a)`.
    Abs(ExprId),
    /// An operation on two integers.
    Binary(BinaryOp, ExprId, ExprId),
    /// `a * b / c` on exact intermediate values, truncated toward zero, saturated; 0 when
    /// `c` is 0. The checker writes every conversion between scales with it.
    MulDiv(ExprId, ExprId, ExprId),
    /// A comparison of two integers of the same scale.
    Compare(CompareOp, ExprId, ExprId),
    /// A comparison of two texts: a column, a parameter or a constant each.
    Text(TextOp, ExprId, ExprId),
    /// Both; the right one is not looked at when the left one is false.
    And(ExprId, ExprId),
    /// Either; the right one is not looked at when the left one is true.
    Or(ExprId, ExprId),
    /// The opposite.
    Not(ExprId),
    /// `if c then a else b`: only the chosen one is computed.
    If(ExprId, ExprId, ExprId),
    /// A function of the row's past.
    History(History),
    /// The condition has been true in every sweep for at least this long (a duration).
    Held(ExprId, ExprId),
    /// A function of a whole group.
    Aggregate(Aggregate, ExprId),
    /// The number of rows in the group.
    CountRows,
}

/// A column, compared by its stable number.
#[derive(Clone, Copy, Debug)]
pub struct ColumnRef(pub &'static Column);

impl PartialEq for ColumnRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ColumnRef {}

impl core::hash::Hash for ColumnRef {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

/// Operations on two integers, all saturating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient, truncated toward zero; 0 when the divisor is 0.
    Div,
    /// Remainder with the dividend's sign; the dividend when the divisor is 0.
    Mod,
    /// The smaller.
    Min,
    /// The larger.
    Max,
}

/// Comparisons of two integers, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// Comparisons of two texts, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextOp {
    /// `==`
    Eq,
    /// `starts_with`
    StartsWith,
    /// `ends_with`
    EndsWith,
    /// `contains`
    Contains,
}

/// A function of the row's past, updated once in every sweep for every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// Which function.
    pub function: HistoryFn,
    /// What it follows.
    pub arg: ExprId,
    /// The half-life (a duration), for those that have one.
    pub window: Option<ExprId>,
}

/// Functions of a row's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryFn {
    /// Change since the previous sweep divided by the time between: `delta * scale / dt_ns`,
    /// where `scale` is [`kernel_vm::abi::FIXED_ONE`] for durations (a ratio comes out) and
    /// [`kernel_vm::abi::PER_SECOND_SCALE`] for the rest.
    Rate,
    /// Change since the previous sweep.
    Delta,
    /// Exponentially weighted mean.
    Mean,
    /// Exponentially weighted standard deviation.
    Deviation,
    /// `(now - mean) / deviation`, a ratio, both as they were before this sweep.
    Zscore,
    /// Largest value, fading with the half-life.
    Peak,
    /// Steady growth a second, exponentially weighted.
    Slope,
}

/// Functions of a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Sum of the argument.
    Sum,
    /// Number of distinct values of the argument.
    CountDistinct,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

impl Filter {
    /// The expression that `id` names.
    ///
    /// # Panics
    /// When `id` is of another filter: our own bug.
    #[must_use]
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize]
    }
}
