//! One insn: what it does to the state, and whether it is allowed.

use super::{Kind, Refused, RejectionKind, Value, Verifier};
use crate::domain::{Scalar, learn};
use crate::isa::{AluOp, AtomicOp, Callee, Cond, Insn, Operand, Reg, Size, Wide, Width};

impl Verifier<'_, '_> {
    /// Runs `insn` on the current state; whether the next insn is reached.
    #[inline(always)]
    pub(super) fn step(&mut self, insn: &Insn) -> Result<bool, Refused> {
        if written(insn) == Some(Reg::R10) {
            return Err(self.reject(RejectionKind::WritesFramePointer));
        }
        match *insn {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src)?,
            Insn::Neg { width, dst } => {
                let value = self.number(dst)?.neg(width);
                self.current.set(dst, Value::scalar(value));
            }
            Insn::Mov { width, dst, src } => self.mov(width, dst, src)?,
            Insn::MovSx { width, from, dst, src } => {
                let bits = from.bytes().wrapping_mul(8);
                let value = self.number(src)?.sign_extended(bits, width);
                self.current.set(dst, Value::scalar(value));
            }
            Insn::End { order, size, dst } => {
                let value = self.number(dst)?.swapped(order, size);
                self.current.set(dst, Value::scalar(value));
            }
            Insn::LoadWide { dst, value } => {
                let value = self.constant(value)?;
                self.current.set(dst, value);
            }
            Insn::Load { size, signed, dst, src, off } => {
                let value = self.load(src, off, size, signed)?;
                self.current.set(dst, value);
            }
            Insn::Store { size, dst, off, src } => {
                let value = match src {
                    Operand::Reg(reg) => *self.readable(reg)?,
                    Operand::Imm(imm) => Value::scalar(immediate(imm)),
                };
                self.store(dst, off, size, value)?;
            }
            Insn::Atomic { width, op, dst, off, src } => {
                let size = match width {
                    Width::W32 => Size::W,
                    Width::W64 => Size::Dw,
                };
                self.number(src)?;
                let compares = op == AtomicOp::Cmpxchg;
                if compares {
                    self.number(Reg::R0)?;
                }
                let old = self.load(dst, off, size, false)?;
                if old.kind != Kind::Scalar {
                    return Err(self.reject_found(RejectionKind::AtomicOnPointer, &old));
                }
                let new = mutant!(AtomicStoresOld, Scalar::any(), old.scalar);
                self.store(dst, off, size, Value::scalar(new))?;
                if op.fetches() {
                    let old = Value::scalar(Scalar::loaded(size, false));
                    let compares = mutant!(CmpxchgSetsOperand, compares, false);
                    self.current.set(if compares { Reg::R0 } else { src }, old);
                }
            }
            Insn::Jump { .. } => {
                self.send_current()?;
                return Ok(false);
            }
            Insn::JumpIf { width, cond, dst, src, .. } => {
                return self.branch(width, cond, dst, src);
            }
            Insn::Call(Callee::Helper(id)) => self.call_helper(id)?,
            Insn::Call(Callee::Local(_)) => self.call_local()?,
            Insn::Call(Callee::Kfunc { .. }) => {
                return Err(self.reject(RejectionKind::KernelFunction));
            }
            Insn::Exit => {
                self.number(Reg::R0)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What `reg` holds, which must be set.
    pub(super) fn readable(&self, reg: Reg) -> Result<&Value, Refused> {
        let value = self.current.reg(reg);
        if value.kind == Kind::Unset {
            return Err(self.reject(RejectionKind::NotInitialised { reg }));
        }
        Ok(value)
    }

    /// The number in `reg`, which must be one.
    pub(super) fn number(&self, reg: Reg) -> Result<&Scalar, Refused> {
        let value = self.readable(reg)?;
        match value.kind {
            Kind::Scalar => Ok(&value.scalar),
            _ => Err(self.reject_found(RejectionKind::NeedsNumber { reg }, value)),
        }
    }

    fn operand(&self, src: Operand) -> Result<Value, Refused> {
        match src {
            Operand::Reg(reg) => self.readable(reg).copied(),
            Operand::Imm(imm) => Ok(Value::scalar(immediate(imm))),
        }
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Operand) -> Result<(), Refused> {
        let (a, b) = (self.readable(dst)?, &self.operand(src)?);
        if let Operand::Imm(imm) = src {
            self.check_constant(width, op, imm)?;
        }
        let value = match (a.kind, b.kind) {
            (Kind::Scalar, Kind::Scalar) => Value::scalar(a.scalar.alu(op, width, &b.scalar)),
            (_, Kind::Scalar) if can_move(a.kind, op, width) => {
                Value { kind: a.kind, scalar: a.scalar.alu(op, Width::W64, &b.scalar) }
            }
            (Kind::Scalar, _) if op == AluOp::Add && can_move(b.kind, op, width) => {
                Value { kind: b.kind, scalar: b.scalar.alu(op, Width::W64, &a.scalar) }
            }
            _ => {
                let found = if a.kind == Kind::Scalar { b } else { a };
                return Err(self.reject_found(RejectionKind::PointerArithmetic { op }, found));
            }
        };
        self.current.set(dst, value);
        Ok(())
    }

    /// Constants that can only be slips.
    fn check_constant(&self, width: Width, op: AluOp, imm: i32) -> Result<(), Refused> {
        let is_shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
        if is_shift && !u32::try_from(imm).is_ok_and(|amount| amount < width.bits()) {
            return Err(self.reject(RejectionKind::ShiftTooFar { bits: width.bits() }));
        }
        let is_division = matches!(op, AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod);
        if is_division && imm == 0 {
            return Err(self.reject(RejectionKind::DivisionByZero));
        }
        Ok(())
    }

    fn mov(&mut self, width: Width, dst: Reg, src: Operand) -> Result<(), Refused> {
        let mut value = self.operand(src)?;
        if width == Width::W32 {
            if let (Operand::Reg(reg), true) = (src, value.kind.is_pointer()) {
                return Err(self.reject_found(RejectionKind::NeedsNumber { reg }, &value));
            }
            value.scalar = value.scalar.low_half();
        }
        self.current.set(dst, value);
        Ok(())
    }

    fn constant(&self, wide: Wide) -> Result<Value, Refused> {
        let unknown = |index| {
            let maps = self.spec.maps.len();
            self.reject(RejectionKind::UnknownMap { index, maps })
        };
        Ok(match wide {
            Wide::Value(value) => Value::scalar(Scalar::exactly(value)),
            // A map has no descriptor here: both forms give its index.
            Wide::MapFd(index) | Wide::MapIndex(index) => {
                Value::pointer(Kind::Map(self.map(index).ok_or_else(|| unknown(index))?))
            }
            Wide::MapFdValue { fd: index, offset } | Wide::MapIndexValue { index, offset } => {
                let map = self.map(index).ok_or_else(|| unknown(index))?;
                if !self.spec.maps.get(usize::from(map)).is_some_and(|map| map.direct) {
                    return Err(unknown(index));
                }
                let scalar = Scalar::exactly(u64::from(offset));
                Value { kind: Kind::MapValue(map), scalar }
            }
            Wide::Function(_) => Value::pointer(Kind::Func(self.target as u32)),
            Wide::Variable(_) => return Err(self.reject(RejectionKind::KernelFunction)),
        })
    }

    fn map(&self, index: i32) -> Option<u16> {
        let index = u16::try_from(index).ok()?;
        self.spec.maps.get(usize::from(index)).map(|_| index)
    }

    /// Both ways of a branch; whether the insn after it is reached.
    fn branch(
        &mut self,
        width: Width,
        cond: Cond,
        dst: Reg,
        src: Operand,
    ) -> Result<bool, Refused> {
        let (a, b) = (*self.readable(dst)?, self.operand(src)?);
        if a.kind == Kind::Scalar && b.kind == Kind::Scalar {
            let (mut x, mut y) = (a, b);
            if learn(cond, width, true, &mut x.scalar, &mut y.scalar) {
                self.assign(dst, src, x, y);
                self.send_current()?;
            }
            let (mut x, mut y) = (a, b);
            let falls = learn(cond, width, false, &mut x.scalar, &mut y.scalar);
            self.assign(dst, src, x, y);
            return Ok(falls);
        }
        self.null_test(width, cond, dst, &a, &b)
    }

    /// Both ways of a test of a lookup's result.
    #[inline(never)]
    fn null_test(
        &mut self,
        width: Width,
        cond: Cond,
        dst: Reg,
        a: &Value,
        b: &Value,
    ) -> Result<bool, Refused> {
        let against_null = b.kind == Kind::Scalar && b.scalar.exact() == Some(0);
        let test = matches!(cond, Cond::Eq | Cond::Ne) && width == Width::W64 && against_null;
        let Kind::MapValueOrNull { map, id } = a.kind else {
            let found = if a.kind == Kind::Scalar { b } else { a };
            return Err(self.reject_found(RejectionKind::ComparesPointer, found));
        };
        if !test {
            return Err(self.reject_found(RejectionKind::ComparesPointer, a));
        }
        let null = Value::scalar(Scalar::exactly(0));
        let value = Value::pointer(Kind::MapValue(map));
        let equal = mutant!(NullWaysSwapped, cond == Cond::Eq, cond != Cond::Eq);
        let (here, there) = if equal { (value, null) } else { (null, value) };
        // Merged ids may be of different lookups: only this register is proven then.
        let proven = if id == u32::MAX {
            1u32.wrapping_shl(dst.index() as u32)
        } else {
            self.current.all_of(a.kind)
        };
        self.current.replace(proven, &there);
        self.send_current()?;
        self.current.replace(proven, &here);
        Ok(true)
    }

    /// What is known of both sides on one way of a branch.
    fn assign(&mut self, dst: Reg, src: Operand, a: Value, b: Value) {
        self.current.set(dst, a);
        if let Operand::Reg(src) = src {
            self.current.set(src, b);
        }
    }
}

/// The register that an insn writes, besides what calls do.
fn written(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::Mov { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::End { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadWide { dst, .. } => Some(dst),
        Insn::Atomic { op, src, .. } => op.fetches().then_some(src),
        Insn::Store { .. }
        | Insn::Jump { .. }
        | Insn::JumpIf { .. }
        | Insn::Call(_)
        | Insn::Exit => None,
    }
}

fn immediate(imm: i32) -> Scalar {
    Scalar::exactly(i64::from(imm).cast_unsigned())
}

/// Pointers that may be moved within their region; where to is checked at the access.
fn can_move(kind: Kind, op: AluOp, width: Width) -> bool {
    let has_inside = match kind {
        Kind::Row
        | Kind::State
        | Kind::Params
        | Kind::Stack
        | Kind::Window { .. }
        | Kind::MapValue(_) => true,
        Kind::Unset | Kind::Scalar | Kind::Map(_) | Kind::MapValueOrNull { .. } | Kind::Func(_) => {
            false
        }
    };
    has_inside && width == Width::W64 && matches!(op, AluOp::Add | AluOp::Sub)
}
