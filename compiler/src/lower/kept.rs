//! Values that are written on several paths and read where these meet again.
//!
//! In the kernel they pass through memory: inside an iterator's loop its verifier takes a
//! path for known only if all values agree, constants included, so that each value which
//! is one constant here and another there would double its work. What is read from memory
//! is any number to it.
//!
//! **Invariant**: a kept value is read only where some path has written it.

use super::{Host, Lower};
use crate::arith::{Range, Val};
use crate::lir::{Base, Op, VReg};

/// Where such a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// In `.bss`, at this offset of the row body's own words.
    Memory(i32),
    /// In a register that every path writes.
    Reg(VReg),
}

impl Lower<'_> {
    /// A place for a value. It starts as 0, so that paths which do not write it, and do not
    /// read it, leave no register undefined.
    pub(super) fn kept(&mut self) -> Kept {
        let kept = self.kept_later();
        self.blank(kept);
        kept
    }

    /// A place for a value that each path writes, or makes blank.
    pub(super) fn kept_later(&mut self) -> Kept {
        match self.host {
            Host::Bpf => {
                self.scratch += 8;
                Kept::Memory(self.scratch as i32 - 8)
            }
            Host::Vm => Kept::Reg(self.f.reg()),
        }
    }

    /// Makes a value 0 on a path that nobody reads it on.
    pub(super) fn blank(&mut self, kept: Kept) {
        if let Kept::Reg(dst) = kept {
            self.f.push(Op::Const { dst, value: 0 });
        }
    }

    /// Writes it on this path.
    pub(super) fn put(&mut self, kept: Kept, val: Val) {
        match kept {
            Kept::Memory(offset) => {
                let src = val.operand(&mut self.f);
                self.f.store(Base::Scratch, offset, src);
            }
            Kept::Reg(dst) => self.assign(dst, val),
        }
    }

    /// `reg`, where paths that left different values in it have met: one value from here on.
    pub(super) fn merged(&mut self, reg: VReg) -> VReg {
        if self.host == Host::Vm {
            return reg;
        }
        let kept = self.kept();
        self.put(kept, Val::reg(reg, Range::ALL));
        self.get(kept, Range::ALL).in_reg(&mut self.f)
    }

    /// Reads it where the paths have met.
    pub(super) fn get(&mut self, kept: Kept, range: Range) -> Val {
        match kept {
            Kept::Memory(offset) => Val::reg(self.f.load(Base::Scratch, offset), range),
            Kept::Reg(reg) => Val::reg(reg, range),
        }
    }
}
