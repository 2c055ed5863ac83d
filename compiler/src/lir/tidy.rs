//! Removes what lowering leaves behind: code that nothing reaches, values that nothing
//! reads, jumps to the next operation.

use super::{Cond, Function, Op, Place, VReg};

impl Cond {
    /// The condition that holds exactly when this one does not; `Set` has none.
    const fn opposite(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Gt => Self::Le,
            Self::Le => Self::Gt,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Sgt => Self::Sle,
            Self::Sle => Self::Sgt,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Set => return None,
        })
    }
}

impl Op {
    /// Where its result goes, of one that always comes to the next operation.
    const fn result(&mut self) -> Option<&mut VReg> {
        match self {
            Self::Const { dst, .. }
            | Self::Mov { dst, .. }
            | Self::Alu { dst, .. }
            | Self::Neg { dst, .. }
            | Self::Load { dst, .. }
            | Self::Now { dst }
            | Self::Call { dst, .. } => Some(dst),
            Self::Mark(_)
            | Self::Bind(_)
            | Self::Jump(_)
            | Self::Meet(_)
            | Self::Branch { .. }
            | Self::Entry(_)
            | Self::Store { .. }
            | Self::Column { .. }
            | Self::Bytes { .. }
            | Self::State { .. }
            | Self::Emit
            | Self::Exit(_)
            | Self::Return(_) => None,
        }
    }
}

impl Function {
    /// Makes the list shorter without changing what it does.
    pub fn tidy(&mut self) {
        loop {
            let before = self.ops.len();
            self.drop_unreachable();
            self.straighten();
            self.merge_moves();
            self.drop_unused();
            if self.ops.len() == before {
                break;
            }
        }
    }

    fn drop_unreachable(&mut self) {
        let mut wanted = vec![false; self.places()];
        let mut reached = true;
        self.ops.retain(|op| {
            if let Op::Bind(place) = op {
                reached |= wanted[place.0 as usize];
                return wanted[place.0 as usize];
            }
            let keep = reached;
            if keep {
                if let Some(to) = op.target() {
                    wanted[to.0 as usize] = true;
                }
                reached = !op.diverges();
            }
            keep
        });
    }

    /// Jumps to the next operation go; a branch around a jump becomes the opposite branch.
    fn straighten(&mut self) {
        let ops = &mut self.ops;
        let mut kept: Vec<Op> = Vec::with_capacity(ops.len());
        for i in 0..ops.len() {
            if let Op::Jump(to) = ops[i] {
                if bound_at(ops, i + 1, to) {
                    continue;
                }
                if let Some(Op::Branch { cond, to: over, .. }) = kept.last_mut()
                    && bound_at(ops, i + 1, *over)
                    && let Some(opposite) = cond.opposite()
                {
                    (*cond, *over) = (opposite, to);
                    continue;
                }
            }
            if let Op::Branch { to, .. } = ops[i]
                && bound_at(ops, i + 1, to)
            {
                continue;
            }
            kept.push(ops[i].clone());
        }
        *ops = kept;
    }

    /// A value that is only made to be moved elsewhere is made there.
    fn merge_moves(&mut self) {
        let mut mentions = vec![0_u32; self.regs()];
        for op in &self.ops {
            op.uses(|reg| mentions[reg.0 as usize] += 1);
            if let Some(dst) = op.def() {
                mentions[dst.0 as usize] += 1;
            }
        }
        let mut kept: Vec<Op> = Vec::with_capacity(self.ops.len());
        for op in self.ops.drain(..) {
            if let Op::Mov { dst, src } = op
                && mentions[src.0 as usize] == 2
                && let Some(made) = kept.last_mut().and_then(Op::result)
                && *made == src
            {
                *made = dst;
                continue;
            }
            kept.push(op);
        }
        self.ops = kept;
    }

    fn drop_unused(&mut self) {
        let mut uses = vec![0_u32; self.regs()];
        for op in &self.ops {
            op.uses(|reg| uses[reg.0 as usize] += 1);
        }
        let mut keep = vec![true; self.ops.len()];
        for (op, keep) in self.ops.iter().zip(&mut keep).rev() {
            let pure = matches!(
                op,
                Op::Const { .. }
                    | Op::Mov { .. }
                    | Op::Alu { .. }
                    | Op::Neg { .. }
                    | Op::Load { .. }
                    | Op::Now { .. }
            );
            if pure && op.def().is_some_and(|dst| uses[dst.0 as usize] == 0) {
                *keep = false;
                op.uses(|reg| uses[reg.0 as usize] -= 1);
            }
        }
        let mut keep = keep.into_iter();
        self.ops.retain(|_| keep.next().unwrap_or(true));
    }
}

/// Whether `place` is bound before the next operation that does anything.
fn bound_at(ops: &[Op], from: usize, place: Place) -> bool {
    ops[from..]
        .iter()
        .take_while(|op| matches!(op, Op::Bind(_) | Op::Mark(_)))
        .any(|op| *op == Op::Bind(place))
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use kernel_vm::abi::Verdict;

    #[test]
    fn a_branch_around_a_jump_becomes_the_opposite_branch() {
        let mut f = Function::default();
        let [a] = f.entry();
        let (yes, no) = (f.place(), f.place());
        f.branch(Cond::Sgt, a, 5, yes);
        f.jump(no);
        f.bind(yes);
        f.push(Op::Exit(Verdict::Match));
        f.bind(no);
        f.push(Op::Exit(Verdict::Pass));
        f.tidy();
        assert_eq!(
            f.ops,
            [
                Op::Entry(vec![a]),
                Op::Branch { cond: Cond::Sle, lhs: a, rhs: Operand::Imm(5), to: no },
                Op::Exit(Verdict::Match),
                Op::Bind(no),
                Op::Exit(Verdict::Pass),
            ]
        );
    }

    #[test]
    fn what_nothing_reaches_or_reads_goes() {
        let mut f = Function::default();
        let [a] = f.entry();
        let end = f.place();
        let b = f.constant(7);
        f.alu(AluOp::Add, a, b);
        f.jump(end);
        f.store(Base::Frame, -8, a);
        f.bind(end);
        f.push(Op::Return(a));
        f.tidy();
        assert_eq!(f.ops, [Op::Entry(vec![a]), Op::Return(a)]);
    }
}
