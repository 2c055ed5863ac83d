//! The checked engine: the same insns, trusting nobody.
//!
//! It runs any bytes, verified or not: every register must have been set before it is read,
//! every access must lie in a region, every byte of the stack must have been written before
//! it is read, and fuel is charged for each insn. Addresses are no machine addresses but
//! [`memory`] tags, so nothing that a program does can reach outside.
//!
//! It is for tests, which compare it with the interpreter and the verifier's promises, and
//! for hosts that want belt and braces.
//!
//! **Invariant**: no input makes it panic, and it shares no code with the interpreter but
//! the decoder and the meaning of arithmetic.

mod call;
pub mod memory;
#[cfg(test)]
mod tests;

use crate::isa::{AtomicOp, Callee, DecodeErrorKind, Insn, Operand, RawInsn, Reg, Size, Wide};
use crate::isa::{Width, decode, eval};
use crate::run::{Env, Host, RunError};
use crate::verify::Spec;
use call::Frame;
use memory::{Memory, Region};

/// Registers r0 to r10.
const REGS: usize = 11;
/// Frames of callers that wait.
const FRAMES: usize = crate::verify::DEPTH_MAX as usize;

/// Why a run was stopped, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The insn.
    pub pc: usize,
    /// What it did.
    pub kind: FaultKind,
}

/// What a program did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The host's regions are not those of the [`Spec`].
    Env(RunError),
    /// There is no insn here, or no legal one.
    Decode(DecodeErrorKind),
    /// A register was read that nothing had been written to.
    Unset {
        /// The register.
        reg: Reg,
    },
    /// The frame pointer was written.
    WritesFramePointer,
    /// Bytes outside of every region, or of one that is read only.
    BadAccess {
        /// The tagged address.
        address: u64,
        /// How many bytes.
        length: usize,
    },
    /// Bytes of the stack that nothing had been written to.
    UnsetStack {
        /// The tagged address.
        address: u64,
    },
    /// A helper, map, function or platform variable that is not there.
    Unknown,
    /// A helper's argument is not what it takes.
    BadArgument {
        /// The register.
        reg: Reg,
    },
    /// Calls are too deep.
    TooDeep,
    /// The fuel is used up.
    OutOfFuel,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "insn {}: {:?}", self.pc, self.kind)
    }
}

impl core::error::Error for Fault {}

/// The machine between two insns, for a [`Watch`].
#[derive(Debug)]
pub struct Machine<'e, 'm, 'v, H> {
    regs: [Option<u64>; REGS],
    frames: [Frame; FRAMES],
    depth: usize,
    memory: Memory<'e, 'm, 'v, H>,
}

/// Sees the machine before each insn.
pub trait Watch<H> {
    /// The machine is about to run the insn at `pc`.
    fn before(&mut self, pc: usize, machine: &Machine<'_, '_, '_, H>);
}

impl<H> Watch<H> for () {
    fn before(&mut self, _: usize, _: &Machine<'_, '_, '_, H>) {}
}

/// Runs `program` once, for `fuel` insns at most: its `r0`.
///
/// # Errors
/// At the first insn that does what it must not do.
pub fn run<H: Host>(
    program: &[RawInsn],
    spec: &Spec<'_>,
    env: &mut Env<'_, '_, H>,
    watch: &mut impl Watch<H>,
) -> Result<u64, Fault> {
    env.check(spec).map_err(|error| Fault { pc: 0, kind: FaultKind::Env(error) })?;
    let mut fuel = env.fuel;
    let mut machine = Machine::new(env);
    let mut pc = 0;
    loop {
        let fault = |kind| Fault { pc, kind };
        fuel = fuel.checked_sub(1).ok_or(fault(FaultKind::OutOfFuel))?;
        let insn = decode(program.get(pc..).unwrap_or(&[]))
            .map_err(|error| fault(FaultKind::Decode(error.kind)))?;
        watch.before(pc, &machine);
        match machine.step(pc, insn, spec).map_err(fault)? {
            Some(next) => pc = next,
            None => return machine.get(Reg::R0).map_err(fault),
        }
    }
}

type Step<T> = Result<T, FaultKind>;

impl<'e, 'm, 'v, H: Host> Machine<'e, 'm, 'v, H> {
    fn new(env: &'v mut Env<'e, 'm, H>) -> Self {
        let mut regs = [None; REGS];
        for (reg, region) in [(1, Region::Row), (2, Region::State), (3, Region::Params)] {
            if let Some(reg) = regs.get_mut(reg) {
                *reg = Some(region.base());
            }
        }
        let memory = Memory::new(env);
        let mut machine = Self { regs, frames: [Frame::EMPTY; FRAMES], depth: 0, memory };
        machine.set_frame_pointer();
        machine
    }

    fn get(&self, reg: Reg) -> Step<u64> {
        self.reg(reg).ok_or(FaultKind::Unset { reg })
    }

    fn set(&mut self, reg: Reg, value: u64) -> Step<()> {
        if reg == Reg::R10 {
            return Err(FaultKind::WritesFramePointer);
        }
        if let Some(slot) = self.regs.get_mut(reg.index()) {
            *slot = Some(value);
        }
        Ok(())
    }

    fn operand(&self, operand: Operand) -> Step<u64> {
        match operand {
            Operand::Reg(reg) => self.get(reg),
            Operand::Imm(imm) => Ok(i64::from(imm).cast_unsigned()),
        }
    }

    fn address(&self, reg: Reg, off: i16) -> Step<u64> {
        Ok(self.get(reg)?.wrapping_add(i64::from(off).cast_unsigned()))
    }

    /// Runs one insn: the next one, or `None` at the end.
    fn step(&mut self, pc: usize, insn: Insn, spec: &Spec<'_>) -> Step<Option<usize>> {
        let next = pc.saturating_add(insn.slots().count());
        match insn {
            Insn::Alu { width, op, dst, src } => {
                let value = eval::alu(width, op, self.get(dst)?, self.operand(src)?);
                self.set(dst, value)?;
            }
            Insn::Mov { width, dst, src } => {
                let value = eval::mov(width, self.operand(src)?);
                self.set(dst, value)?;
            }
            Insn::MovSx { width, from, dst, src } => {
                let value = eval::mov_sx(width, from, self.get(src)?);
                self.set(dst, value)?;
            }
            Insn::Neg { width, dst } => {
                let value = eval::neg(width, self.get(dst)?);
                self.set(dst, value)?;
            }
            Insn::End { order, size, dst } => {
                let value = eval::byte_order(order, size, self.get(dst)?);
                self.set(dst, value)?;
            }
            Insn::Load { size, signed, dst, src, off } => {
                let value = self.memory.load(self.address(src, off)?, size)?;
                let value = if signed { eval::sign_extend(size, value) } else { value };
                self.set(dst, value)?;
            }
            Insn::Store { size, dst, off, src } => {
                let value = self.operand(src)?;
                self.memory.store(self.address(dst, off)?, size, value)?;
            }
            Insn::Atomic { width, op, dst, src, off } => self.atomic(width, op, dst, src, off)?,
            Insn::LoadWide { dst, value } => {
                let value = self.constant(pc, value, spec)?;
                self.set(dst, value)?;
            }
            Insn::Jump { off, .. } => return jump(next, off).map(Some),
            Insn::JumpIf { width, cond, dst, src, off } => {
                let (dst, src) = (self.get(dst)?, self.operand(src)?);
                if eval::condition(width, cond, dst, src) {
                    return jump(next, i32::from(off)).map(Some);
                }
            }
            Insn::Call(Callee::Local(off)) => return self.enter(next, jump(next, off)?).map(Some),
            Insn::Call(Callee::Helper(id)) => return self.helper(id, next, spec).map(Some),
            Insn::Call(Callee::Kfunc { .. }) => return Err(FaultKind::Unknown),
            Insn::Exit => return self.leave(),
        }
        Ok(Some(next))
    }

    fn atomic(&mut self, width: Width, op: AtomicOp, dst: Reg, src: Reg, off: i16) -> Step<()> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::Dw,
        };
        let (at, operand) = (self.address(dst, off)?, self.get(src)?);
        let old = self.memory.load(at, size)?;
        let compared = if op == AtomicOp::Cmpxchg { self.get(Reg::R0)? } else { 0 };
        let (operand, compared) = (eval::mov(width, operand), eval::mov(width, compared));
        self.memory.store(at, size, eval::atomic(op, old, operand, compared))?;
        if op == AtomicOp::Cmpxchg {
            self.set(Reg::R0, old)
        } else if op.fetches() {
            self.set(src, old)
        } else {
            Ok(())
        }
    }

    fn constant(&self, pc: usize, value: Wide, spec: &Spec<'_>) -> Step<u64> {
        let known = |index: i32| {
            let index = usize::try_from(index).map_err(|_| FaultKind::Unknown)?;
            if index < spec.maps.len() { Ok(index) } else { Err(FaultKind::Unknown) }
        };
        match value {
            Wide::Value(value) => Ok(value),
            Wide::MapFd(index) | Wide::MapIndex(index) => Ok(Region::Map(known(index)?).base()),
            Wide::MapFdValue { fd: index, offset } | Wide::MapIndexValue { index, offset } => {
                let base = Region::MapValues(known(index)?).base();
                Ok(base.wrapping_add(u64::from(offset)))
            }
            Wide::Function(off) => {
                let target = jump(pc.saturating_add(1), off)?;
                Ok(Region::Function.base().wrapping_add(target as u64))
            }
            Wide::Variable(_) => Err(FaultKind::Unknown),
        }
    }
}

impl<'e, 'm, 'v, H> Machine<'e, 'm, 'v, H> {
    /// What a register holds; `None` when nothing was written to it.
    #[must_use]
    pub fn reg(&self, reg: Reg) -> Option<u64> {
        self.regs.get(reg.index()).copied().flatten()
    }

    /// The program's memory.
    #[must_use]
    pub const fn memory(&self) -> &Memory<'e, 'm, 'v, H> {
        &self.memory
    }
}

fn jump(next: usize, off: i32) -> Step<usize> {
    let target = i64::try_from(next).ok().and_then(|next| next.checked_add(i64::from(off)));
    let target = target.and_then(|target| usize::try_from(target).ok());
    target.ok_or(FaultKind::Decode(DecodeErrorKind::Missing))
}
