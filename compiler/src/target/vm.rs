//! The `vm` target: a function that is run for each row, as `kernel_vm::abi` says.

use kernel_vm::helper::Helper;

use crate::asm::{AluOp, Asm, FP, JumpTooFar, Label, R0, R1, R2, R6, Reg};
use crate::code::Code;
use crate::hir::Filter;
use crate::lir::{Op, Routine};
use crate::lower::{Host, Stage, lower};
use crate::plan::Plan;
use crate::regalloc::allocate;
use crate::target::encode::{Hooks, encode};

/// The helper that a record is handed to.
pub const HELPER_EMIT: i32 = Helper::Emit.id();

/// The program of `filter` for rows or for groups, and the routines that it calls.
///
/// # Errors
/// When a jump does not fit.
pub fn compile(filter: &Filter, plan: &Plan, stage: Stage) -> Result<Program, JumpTooFar> {
    let body = lower(filter, plan, Host::Vm, stage, 0);
    let mut hooks = VmHooks { record: body.record, size: body.record_size as i32 };
    let allocation = allocate(&body.function, body.frame, |op| hooks.loses(op));
    let mut asm = Asm::new();
    if allocation.fits() {
        asm.mov(R6, R1);
        encode(&body.function, &allocation, &mut asm, &mut hooks);
    }
    Ok(Program {
        code: asm.finish()?,
        frame_bytes: allocation.frame_bytes(),
        routines: body.function.routines().into_iter().filter(|&it| helper(it).is_none()).collect(),
    })
}

/// What the machine has of its own for `routine`.
const fn helper(routine: Routine) -> Option<Helper> {
    match routine {
        Routine::MulDiv => Some(Helper::MulDiv),
        Routine::Decay => None,
        Routine::Average => Some(Helper::Average),
        Routine::Spread => Some(Helper::Spread),
        Routine::Root => Some(Helper::Root),
    }
}

/// One compiled program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its code, calls of routines by name.
    pub code: Code,
    /// Bytes of stack that it needs.
    pub frame_bytes: u32,
    /// The routines that it calls and brings along.
    pub routines: Vec<Routine>,
}

struct VmHooks {
    record: i32,
    size: i32,
}

impl Hooks for VmHooks {
    fn loses(&self, op: &Op) -> bool {
        matches!(op, Op::Call { .. } | Op::Emit)
    }

    fn special(&mut self, asm: &mut Asm, op: &Op, _dst: Reg, _to: Option<Label>) {
        if let Op::Exit(verdict) = op {
            asm.load_imm(R0, *verdict as i64);
            asm.exit();
            return;
        }
        assert_eq!(*op, Op::Emit, "lowering for rows writes no other operation of its own");
        asm.mov(R1, FP);
        asm.alu_imm(AluOp::Add, R1, self.record);
        asm.load_imm(R2, i64::from(self.size));
        asm.call_helper(HELPER_EMIT);
    }

    fn call(&mut self, asm: &mut Asm, routine: Routine) {
        match helper(routine) {
            Some(helper) => asm.call_helper(helper.id()),
            None => asm.call_subprog(routine.name()),
        }
    }

    fn scratch(&mut self, _asm: &mut Asm, _dst: Reg, _offset: i32) {
        unreachable!("only the kernel's verifier makes values go through memory");
    }

    fn param(&mut self, _asm: &mut Asm, _dst: Reg, _offset: i32) {
        unreachable!("lowering for rows reads parameters through their register");
    }
}
