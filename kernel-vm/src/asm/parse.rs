//! One line of assembler text.
//!
//! **Invariant**: the whole line is read or it is an error.

use crate::helper::Helper;
use crate::isa::{AluOp, AtomicOp, ByteOrder, Callee, Cond, Insn, Operand, Reg, Size, Wide, Width};

/// What a line says.
pub(super) enum Line<'t> {
    Label(&'t str),
    Insn(Insn, Option<Distance<'t>>),
}

/// A label in the place of a number of slots.
pub(super) struct Distance<'t>(pub(super) &'t str);

type Result<T> = core::result::Result<T, &'static str>;
type Parsed<'t> = (Insn, Option<Distance<'t>>);

/// What `text` says; `None` for nothing.
pub(super) fn line(text: &str) -> Result<Option<Line<'_>>> {
    let text = text.split([';', '#']).next().unwrap_or("").trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(name) = text.strip_suffix(':') {
        let sane = !name.is_empty() && name.chars().all(is_word);
        return if sane { Ok(Some(Line::Label(name))) } else { Err("this is no label") };
    }
    let mut cursor = Cursor(text);
    let (insn, distance) = insn(&mut cursor)?;
    if !cursor.0.trim().is_empty() {
        return Err("there is more on this line than one insn");
    }
    Ok(Some(Line::Insn(insn, distance)))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    /// Takes `symbol` when it is next; a word only as a whole.
    fn eat(&mut self, symbol: &str) -> bool {
        let Some(rest) = self.0.trim_start().strip_prefix(symbol) else { return false };
        if symbol.ends_with(is_word) && rest.starts_with(is_word) {
            return false;
        }
        self.0 = rest;
        true
    }

    fn expect(&mut self, symbol: &str, reason: &'static str) -> Result<()> {
        if self.eat(symbol) { Ok(()) } else { Err(reason) }
    }

    fn word(&mut self) -> &'t str {
        let text = self.0.trim_start();
        let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        self.0 = rest;
        word
    }

    /// A number; signs may stand apart from it.
    fn number(&mut self) -> Option<i128> {
        let before = self.0;
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let word = self.word();
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16),
            None => word.parse(),
        };
        match parsed {
            Ok(number) if negative => number.checked_neg(),
            Ok(number) => Some(number),
            Err(_) => {
                self.0 = before;
                None
            }
        }
    }

    fn fitting<T: TryFrom<i128>>(&mut self) -> Result<T> {
        let number = self.number().ok_or("a number is missing here")?;
        T::try_from(number).map_err(|_| "this number does not fit")
    }

    /// `r0` to `r10`, or `w0` to `w10` for the lower halves.
    fn narrow(&mut self) -> Option<(Width, Reg)> {
        let before = self.0;
        let word = self.word();
        let width = if word.starts_with('w') { Width::W32 } else { Width::W64 };
        let number = word.strip_prefix(['r', 'w']).and_then(|number| number.parse().ok());
        let reg = number.and_then(Reg::new).map(|reg| (width, reg));
        if reg.is_none() {
            self.0 = before;
        }
        reg
    }

    fn reg(&mut self, width: Width) -> Result<Reg> {
        match self.narrow() {
            Some((found, reg)) if found == width => Ok(reg),
            Some(_) => Err("all registers of an insn are r or all are w"),
            None => Err("a register is missing here"),
        }
    }

    /// A register of `width`, or a 32-bit number (signed, or unsigned in 32 bits).
    fn operand(&mut self, width: Width) -> Result<Operand> {
        let before = self.0;
        if self.narrow().is_some() {
            self.0 = before;
            return self.reg(width).map(Operand::Reg);
        }
        let number = self.number().ok_or("a register or a number is missing here")?;
        let narrow = i32::try_from(number).ok();
        let unsigned = || u32::try_from(number).ok().filter(|_| width == Width::W32);
        let imm = narrow.or_else(|| unsigned().map(u32::cast_signed));
        imm.map(Operand::Imm).ok_or("this number does not fit in 32 bits")
    }

    /// `(u64 *)`, after its first parenthesis or not.
    fn size(&mut self) -> Result<(Size, bool)> {
        self.expect("(", "a type like `(u64 *)` is missing here")?;
        let word = self.word();
        self.expect("*", "a type like `(u64 *)` is missing here")?;
        self.expect(")", "a type like `(u64 *)` is missing here")?;
        for &size in Size::ALL {
            for signed in [false, true] {
                if word == size.symbol(signed) {
                    return Ok((size, signed));
                }
            }
        }
        Err("this is no type that memory holds")
    }

    /// `(r1 +8)`.
    fn place(&mut self) -> Result<(Reg, i16)> {
        self.expect("(", "a place like `(r1 +8)` is missing here")?;
        let reg = self.reg(Width::W64)?;
        let off = if self.eat(")") { return Ok((reg, 0)) } else { self.fitting()? };
        self.expect(")", "a place like `(r1 +8)` is missing here")?;
        Ok((reg, off))
    }

    /// `+3` or a label.
    fn distance<T: TryFrom<i128> + Default>(&mut self) -> Result<(T, Option<Distance<'t>>)> {
        match self.number() {
            Some(number) => {
                let off = T::try_from(number).map_err(|_| "this is too far")?;
                Ok((off, None))
            }
            None => match self.word() {
                "" => Err("a distance or a label is missing here"),
                name => Ok((T::default(), Some(Distance(name)))),
            },
        }
    }
}

fn insn<'t>(cursor: &mut Cursor<'t>) -> Result<Parsed<'t>> {
    if cursor.eat("exit") {
        return Ok((Insn::Exit, None));
    }
    for (word, long) in [("gotol", true), ("goto", false)] {
        if cursor.eat(word) {
            let (off, label) = if long {
                cursor.distance::<i32>()?
            } else {
                let (off, label) = cursor.distance::<i16>()?;
                (i32::from(off), label)
            };
            return Ok((Insn::Jump { off, long }, label));
        }
    }
    if cursor.eat("if") {
        return jump_if(cursor);
    }
    if cursor.eat("call") {
        return call(cursor);
    }
    if cursor.eat("lock") {
        return Ok((locked(cursor)?, None));
    }
    if cursor.eat("*") {
        let (size, _) = cursor.size()?;
        let (dst, off) = cursor.place()?;
        cursor.expect("=", "`=` is missing here")?;
        let src = cursor.operand(Width::W64)?;
        return Ok((Insn::Store { size, dst, off, src }, None));
    }
    let (width, dst) = cursor.narrow().ok_or("this is no insn")?;
    if cursor.eat("=") {
        return assignment(cursor, width, dst);
    }
    for &op in AluOp::ALL {
        if cursor.eat(op.symbol()) {
            let src = cursor.operand(width)?;
            return Ok((Insn::Alu { width, op, dst, src }, None));
        }
    }
    Err("an assignment is missing here")
}

fn jump_if<'t>(cursor: &mut Cursor<'t>) -> Result<Parsed<'t>> {
    let (width, dst) = cursor.narrow().ok_or("a register is missing here")?;
    // The longer symbols first: `>` begins `>=`.
    let longest = |length: usize| Cond::ALL.iter().filter(move |c| c.symbol().len() == length);
    let mut conds = longest(3).chain(longest(2)).chain(longest(1));
    let cond =
        conds.find(|cond| cursor.eat(cond.symbol())).ok_or("a comparison is missing here")?;
    let src = cursor.operand(width)?;
    cursor.expect("goto", "`goto` is missing here")?;
    let (off, label) = cursor.distance()?;
    Ok((Insn::JumpIf { width, cond: *cond, dst, src, off }, label))
}

fn call<'t>(cursor: &mut Cursor<'t>) -> Result<Parsed<'t>> {
    if cursor.eat("kernel-function") {
        let id = cursor.fitting()?;
        let btf = if cursor.eat("of") { cursor.fitting()? } else { 0 };
        return Ok((Insn::Call(Callee::Kfunc { id, btf }), None));
    }
    if cursor.eat("pc") {
        return Ok((Insn::Call(Callee::Local(cursor.fitting()?)), None));
    }
    if let Some(id) = cursor.number() {
        let id = i32::try_from(id).map_err(|_| "this number does not fit")?;
        return Ok((Insn::Call(Callee::Helper(id)), None));
    }
    let name = cursor.word();
    if let Some(helper) = Helper::ALL.iter().find(|helper| helper.name() == name) {
        return Ok((Insn::Call(Callee::Helper(helper.id())), None));
    }
    Ok((Insn::Call(Callee::Local(0)), Some(Distance(name))))
}

fn locked(cursor: &mut Cursor<'_>) -> Result<Insn> {
    cursor.expect("*", "a place like `*(u64 *)(r1 +8)` is missing here")?;
    let width = width(cursor.size()?)?;
    let (dst, off) = cursor.place()?;
    let ops = [
        ("+=", AtomicOp::Add { fetch: false }),
        ("|=", AtomicOp::Or { fetch: false }),
        ("&=", AtomicOp::And { fetch: false }),
        ("^=", AtomicOp::Xor { fetch: false }),
    ];
    let found = ops.iter().find(|(symbol, _)| cursor.eat(symbol));
    let &(_, op) = found.ok_or("one of += |= &= ^= is missing here")?;
    let src = cursor.reg(width)?;
    Ok(Insn::Atomic { width, op, dst, src, off })
}

fn width((size, signed): (Size, bool)) -> Result<Width> {
    match (size, signed) {
        (Size::W, false) => Ok(Width::W32),
        (Size::Dw, false) => Ok(Width::W64),
        _ => Err("an atomic insn is of u32 or u64"),
    }
}

fn assignment<'t>(cursor: &mut Cursor<'t>, width: Width, dst: Reg) -> Result<Parsed<'t>> {
    let plain = |insn| Ok((insn, None));
    if cursor.eat("*") {
        let (size, signed) = cursor.size()?;
        let (src, off) = cursor.place()?;
        if signed && size == Size::Dw || width == Width::W32 {
            return Err("a load fills a whole register from a type that memory holds");
        }
        return plain(Insn::Load { size, signed, dst, src, off });
    }
    if let Some((_, rest)) = cursor.0.trim_start().split_once("atomic")
        && cursor.0.trim_start().starts_with("atomic")
    {
        *cursor = Cursor(rest);
        return plain(fetching(cursor, width, dst)?);
    }
    for &from in Size::ALL {
        if cursor.0.trim_start().starts_with('(') && from != Size::Dw {
            let mut ahead = Cursor(cursor.0);
            let cast = ahead.eat("(") && ahead.eat(from.symbol(true)) && ahead.eat(")");
            if cast && !(from == Size::W && width == Width::W32) {
                let src = ahead.reg(width)?;
                *cursor = ahead;
                return plain(Insn::MovSx { width, from, dst, src });
            }
        }
    }
    for &order in ByteOrder::ALL {
        for (size, bits) in [(Size::H, "16"), (Size::W, "32"), (Size::Dw, "64")] {
            let mut ahead = Cursor(cursor.0);
            let word = ahead.word();
            if word.strip_prefix(order.mnemonic()) == Some(bits) {
                let same = ahead.reg(width)? == dst;
                *cursor = ahead;
                return if same && width == Width::W64 {
                    plain(Insn::End { order, size, dst })
                } else {
                    Err("bytes change their order in place, in an r register")
                };
            }
        }
    }
    if let Some(parsed) = address(cursor, dst)? {
        return Ok(parsed);
    }
    let mut ahead = Cursor(cursor.0);
    if ahead.eat("-")
        && let Some((found, src)) = ahead.narrow()
    {
        *cursor = ahead;
        let same = (found, src) == (width, dst);
        return if same { plain(Insn::Neg { width, dst }) } else { Err("negation is in place") };
    }
    let mut ahead = Cursor(cursor.0);
    if let Some(number) = ahead.number()
        && ahead.eat("ll")
    {
        *cursor = ahead;
        let signed = || i64::try_from(number).ok().map(i64::cast_unsigned);
        let value = u64::try_from(number).ok().or_else(signed);
        let value = Wide::Value(value.ok_or("this number does not fit in 64 bits")?);
        return plain(Insn::LoadWide { dst, value });
    }
    plain(Insn::Mov { width, dst, src: cursor.operand(width)? })
}

/// `64_fetch_add((u64 *)(r1 +0), r2)`, after `atomic`.
fn fetching(cursor: &mut Cursor<'_>, width: Width, dst: Reg) -> Result<Insn> {
    const ODD: &str = "this is no atomic insn";
    cursor.eat("64");
    let rest = cursor.0.strip_prefix("64").unwrap_or(cursor.0);
    *cursor = Cursor(rest.strip_prefix('_').ok_or(ODD)?);
    let word = cursor.word();
    let name = word.strip_prefix("fetch_").unwrap_or(word);
    let mut ops = AtomicOp::ALL.iter().filter(|op| op.fetches());
    let op = *ops.find(|op| op.mnemonic() == name).ok_or(ODD)?;
    cursor.expect("(", ODD)?;
    if self::width(cursor.size()?)? != width {
        return Err("all registers of an insn are r or all are w");
    }
    let (place, off) = cursor.place()?;
    cursor.expect(",", ODD)?;
    if op == AtomicOp::Cmpxchg {
        if cursor.reg(width)? != Reg::R0 || dst != Reg::R0 {
            return Err("the comparing exchange compares with r0, and sets it");
        }
        cursor.expect(",", ODD)?;
    }
    let src = cursor.reg(width)?;
    cursor.expect(")", ODD)?;
    if op != AtomicOp::Cmpxchg && src != dst {
        return Err("the operand of an atomic fetch receives the old value");
    }
    Ok(Insn::Atomic { width, op, dst: place, src, off })
}

/// `map[idx:1]`, `map[fd:3][0]+8`, `var[id:4]`, `func[pc+5]`, `func[name]`.
fn address<'t>(cursor: &mut Cursor<'t>, dst: Reg) -> Result<Option<Parsed<'t>>> {
    const OPEN: &str = "`]` is missing here";
    let load = |value| Insn::LoadWide { dst, value };
    if cursor.eat("func[") {
        let (off, label) =
            if cursor.eat("pc") { (cursor.fitting()?, None) } else { cursor.distance::<i32>()? };
        cursor.expect("]", OPEN)?;
        return Ok(Some((load(Wide::Function(off)), label)));
    }
    if cursor.eat("var[id:") {
        let id = cursor.fitting()?;
        cursor.expect("]", OPEN)?;
        return Ok(Some((load(Wide::Variable(id)), None)));
    }
    if !cursor.eat("map[") {
        return Ok(None);
    }
    let by_fd = cursor.eat("fd:");
    if !by_fd {
        cursor.expect("idx:", "a map is named by `fd:` or `idx:`")?;
    }
    let number = cursor.fitting()?;
    cursor.expect("]", OPEN)?;
    let value = if cursor.eat("[0]") {
        let offset = cursor.fitting()?;
        if by_fd {
            Wide::MapFdValue { fd: number, offset }
        } else {
            Wide::MapIndexValue { index: number, offset }
        }
    } else if by_fd {
        Wide::MapFd(number)
    } else {
        Wide::MapIndex(number)
    };
    Ok(Some((load(value), None)))
}
