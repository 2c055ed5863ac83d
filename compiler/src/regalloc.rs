//! Linear-scan register allocation over the LIR.
//!
//! A virtual register has one place for its whole life, from its first definition to its
//! last use: a machine register, a slot on the stack, or, if it is a constant or a parameter
//! for which no register was left, nowhere: it is loaded where it is needed.
//!
//! `r0` and `r1` are never given out: encoding needs them as scratch. `r6` holds the task or
//! the row. What lives across an operation that loses `r0` to `r5` gets `r7` to `r9`.
//!
//! **Invariant**: two registers whose lives overlap never share a place.

use crate::asm::{R0, R1, R2, R3, R4, R5, R7, R8, R9, Reg};
use crate::lir::{Base, Function, Op, Place, VReg};

/// Where a virtual register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loc {
    /// In a register.
    Reg(Reg),
    /// In the 8 bytes at this offset from the frame pointer.
    Slot(i32),
    /// Nowhere: it is always this.
    Const(i64),
    /// Nowhere: it is always the parameter's 8 bytes at this offset.
    Param(i32),
}

/// The places of a function's virtual registers.
#[derive(Clone, Debug)]
pub struct Allocation {
    locs: Vec<Option<Loc>>,
    /// From where to where each register that has a place of its own lives.
    lives: Vec<(usize, usize, VReg)>,
    /// The lowest offset from the frame pointer that a slot takes.
    pub frame: i32,
}

/// Most bytes of one function's stack on every host.
pub const STACK_BYTES_MAX: u32 = 512;

impl Allocation {
    /// Bytes of stack that the function needs.
    #[must_use]
    pub fn frame_bytes(&self) -> u32 {
        self.frame.unsigned_abs()
    }

    /// Whether any host has so much stack. No code can be written for a larger frame: its
    /// offsets may not fit insns.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.frame_bytes() <= STACK_BYTES_MAX
    }

    /// Whether the function mentions `reg` at all.
    #[must_use]
    pub fn has(&self, reg: VReg) -> bool {
        self.locs[reg.0 as usize].is_some()
    }

    /// The slots in which any of `regs` live.
    #[must_use]
    pub fn slots_of(&self, regs: Vec<VReg>) -> Vec<i32> {
        let slot = |reg: VReg| match self.locs[reg.0 as usize] {
            Some(Loc::Slot(slot)) => Some(slot),
            Some(Loc::Reg(_) | Loc::Const(_) | Loc::Param(_)) | None => None,
        };
        let mut slots: Vec<i32> = regs.into_iter().filter_map(slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The machine's registers that hold nothing at `place`, those that encoding uses included.
    #[must_use]
    pub fn unread_at(&self, function: &Function, place: Place) -> Vec<Reg> {
        let at = function.ops.iter().position(|op| *op == Op::Bind(place));
        let lives = |reg: Reg| {
            self.lives.iter().any(|&(start, end, virtual_reg)| {
                at.is_none_or(|at| start < at && at < end)
                    && self.locs[virtual_reg.0 as usize] == Some(Loc::Reg(reg))
            })
        };
        [R0, R1].into_iter().chain(SHORT).filter(|&reg| !lives(reg)).collect()
    }

    /// Where `reg` lives.
    ///
    /// # Panics
    /// When the function does not define it: our own bug.
    #[must_use]
    pub fn loc(&self, reg: VReg) -> Loc {
        self.locs[reg.0 as usize].expect("a register that is used has been defined")
    }
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    reg: VReg,
    start: usize,
    end: usize,
    crosses: bool,
}

const SHORT: [Reg; 7] = [R2, R3, R4, R5, R7, R8, R9];
const LONG: [Reg; 3] = [R7, R8, R9];

/// Places for the registers of `function`; slots lie below `frame` (negative, a multiple
/// of 8), and `loses(op)` says which operations lose `r0` to `r5`.
#[must_use]
pub fn allocate(function: &Function, frame: i32, loses: impl Fn(&Op) -> bool) -> Allocation {
    let intervals = intervals(function, loses);
    let fixed = fixed(function);
    let lives = intervals.iter().map(|life| (life.start, life.end, life.reg)).collect();
    let mut scan = Scan { active: Vec::new(), slots: Vec::new(), frame, fixed };
    let mut locs = vec![None; function.regs()];
    for interval in intervals {
        scan.place(interval, &mut locs);
    }
    let frame = scan.frame;
    Allocation { locs, lives, frame }
}

/// Where to find, without a place of their own, the registers that are only ever one constant
/// or one parameter.
fn fixed(function: &Function) -> Vec<Option<Loc>> {
    let mut values = vec![None; function.regs()];
    let mut defs = vec![0_u32; function.regs()];
    for op in &function.ops {
        if let Some(dst) = op.def() {
            defs[dst.0 as usize] += 1;
            if let Op::Const { value, .. } = op {
                values[dst.0 as usize] = Some(Loc::Const(*value));
            }
            if let Op::Load { base: Base::Params, offset, .. } = op {
                values[dst.0 as usize] = Some(Loc::Param(*offset));
            }
        }
    }
    for (value, defs) in values.iter_mut().zip(defs) {
        *value = value.filter(|_| defs == 1);
    }
    values
}

fn intervals(function: &Function, loses: impl Fn(&Op) -> bool) -> Vec<Interval> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; function.regs()];
    let mut touch = |reg: VReg, at: usize| {
        let span = &mut spans[reg.0 as usize];
        *span = Some(span.map_or((at, at), |(start, _)| (start, at)));
    };
    let mut losses = Vec::new();
    for (at, op) in function.ops.iter().enumerate() {
        if let Op::Entry(regs) = op {
            regs.iter().for_each(|reg| touch(*reg, at));
        }
        op.uses(|reg| touch(reg, at));
        if let Some(dst) = op.def() {
            touch(dst, at);
        }
        if loses(op) {
            losses.push(at);
        }
    }
    let mut found: Vec<Interval> = spans
        .iter()
        .enumerate()
        .filter_map(|(index, span)| {
            let (start, end) = (*span)?;
            let after = losses.partition_point(|&at| at <= start);
            let crosses = losses.get(after).is_some_and(|&at| at < end);
            Some(Interval { reg: VReg(index as u32), start, end, crosses })
        })
        .collect();
    // Arguments arrive in r1 to r5: their places must be others, so that they can be moved
    // there in any order.
    if let Some(Op::Entry(regs)) = function.ops.first() {
        for interval in &mut found {
            interval.crosses |= regs.contains(&interval.reg);
        }
    }
    found.sort_by_key(|interval| (interval.start, interval.reg));
    found
}

struct Scan {
    active: Vec<(Interval, Loc)>,
    /// Slots handed out so far that are free now.
    slots: Vec<i32>,
    frame: i32,
    fixed: Vec<Option<Loc>>,
}

impl Scan {
    fn place(&mut self, new: Interval, locs: &mut [Option<Loc>]) {
        // An immediate costs nothing where it is used.
        if let Some(fixed @ Loc::Const(value)) = self.fixed[new.reg.0 as usize]
            && i32::try_from(value).is_ok()
        {
            locs[new.reg.0 as usize] = Some(fixed);
            return;
        }
        self.expire(new.start);
        let choices: &[Reg] = if new.crosses { &LONG } else { &SHORT };
        let free = choices
            .iter()
            .find(|&&reg| self.active.iter().all(|(_, loc)| *loc != Loc::Reg(reg)))
            .copied();
        let loc = match free {
            Some(reg) => Loc::Reg(reg),
            None => self.evict_for(new, choices, locs),
        };
        locs[new.reg.0 as usize] = Some(loc);
        self.active.push((new, loc));
    }

    fn expire(&mut self, at: usize) {
        let slots = &mut self.slots;
        self.active.retain(|(interval, loc)| {
            // A register read for the last time where another is written can be shared: an
            // operation reads before it writes. A slot is not shared, as one operation may
            // write before it has read all.
            let gone = match loc {
                Loc::Reg(_) => interval.end <= at && interval.start < at,
                Loc::Slot(_) | Loc::Const(_) | Loc::Param(_) => interval.end < at,
            };
            if gone && let Loc::Slot(offset) = loc {
                slots.push(*offset);
            }
            !gone
        });
    }

    /// A register for `new` from whoever lives longest, or a place in memory for `new` if
    /// that is itself.
    fn evict_for(&mut self, new: Interval, choices: &[Reg], locs: &mut [Option<Loc>]) -> Loc {
        let victim = self
            .active
            .iter()
            .enumerate()
            .filter(|(_, (_, loc))| choices.iter().any(|&reg| *loc == Loc::Reg(reg)))
            .max_by_key(|(_, (interval, _))| (self.is_constant(interval.reg), interval.end))
            .map(|(index, _)| index);
        let better = victim.filter(|&index| {
            let (interval, _) = self.active[index];
            (self.is_constant(interval.reg), interval.end) > (self.is_constant(new.reg), new.end)
        });
        let Some(index) = better else {
            return self.memory(new.reg, true);
        };
        let (interval, loc) = self.active[index];
        let elsewhere = self.memory(interval.reg, false);
        self.active[index].1 = elsewhere;
        locs[interval.reg.0 as usize] = Some(elsewhere);
        loc
    }

    fn is_constant(&self, reg: VReg) -> bool {
        matches!(self.fixed[reg.0 as usize], Some(Loc::Const(_)))
    }

    /// A place in memory. Only a life that starts now may take a slot that has become free:
    /// one that started earlier may have overlapped with the slot's former owner.
    fn memory(&mut self, reg: VReg, starts_now: bool) -> Loc {
        if let Some(nowhere) = self.fixed[reg.0 as usize] {
            return nowhere;
        }
        let reused = if starts_now { self.slots.pop() } else { None };
        Loc::Slot(reused.unwrap_or_else(|| {
            self.frame -= 8;
            self.frame
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lir::{AluOp, Routine};

    /// Twenty values that all live to the end.
    fn crowded(call: bool) -> Function {
        let mut f = Function::default();
        let [a, b] = f.entry();
        let mut values = vec![a, b];
        for i in 0..18 {
            let next = f.alu(AluOp::Add, values[i], values[i + 1]);
            values.push(next);
        }
        if call {
            values.push(f.call(Routine::Root, &[a]));
        }
        let mut sum = a;
        for value in values {
            sum = f.alu(AluOp::Xor, sum, value);
        }
        f.push(Op::Return(sum));
        f
    }

    fn check(f: &Function) {
        let loses = |op: &Op| matches!(op, Op::Call { .. });
        let allocation = allocate(f, -16, loses);
        let all = intervals(f, loses);
        for (i, x) in all.iter().enumerate() {
            let loc = allocation.loc(x.reg);
            if let Loc::Reg(reg) = loc {
                assert!(!x.crosses || reg >= R7, "{x:?} in {reg:?}");
            }
            for y in &all[i + 1..] {
                if y.start < x.end {
                    assert!(loc != allocation.loc(y.reg), "{x:?} and {y:?} share {loc:?}");
                }
            }
        }
        assert!(allocation.frame <= -16);
    }

    #[test]
    fn overlapping_lives_never_share_a_place() {
        check(&crowded(false));
        check(&crowded(true));
    }

    #[test]
    fn a_constant_without_a_register_takes_no_memory() {
        let mut f = Function::default();
        let values: Vec<VReg> = (0..20).map(|i| f.constant(i << 40)).collect();
        let mut sum = values[0];
        for value in &values {
            sum = f.alu(AluOp::Add, sum, *value);
        }
        f.push(Op::Return(sum));
        assert_eq!(allocate(&f, 0, |_| false).frame, 0);
    }
}
