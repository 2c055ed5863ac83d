//! rbpf as a second opinion: its interpreter, and its compiler to machine code on x86-64.
//!
//! Both were written by others and differ from RFC 9669 in places of their own. Programs with
//! an insn that an engine lacks or reads in another way are not given to it; what is left, a
//! whole program, must come to the same result. `docs/soundness.md` names the differences.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "insns are looked at for what they share, not one by one"
)]

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::generate::Engine;
use crate::isa::{AluOp, Callee, Insn, Operand, RawInsn, Reg, decode};

impl Engine {
    /// Whether it can run the whole program.
    pub(super) fn takes(self, program: &[RawInsn]) -> bool {
        let functions = first_function(program);
        let (mut bytes, mut deep, mut frames, mut nested) = (64, false, false, false);
        let mut rest = program;
        while let Ok(insn) = decode(rest) {
            if !self.has(&insn) {
                return false;
            }
            bytes += machine_bytes(&insn);
            deep |= reaches_deep(&insn);
            let in_function = functions.is_some_and(|first| program.len() - rest.len() >= first);
            frames |= in_function && names_frame(&insn);
            nested |= in_function && matches!(insn, Insn::Call(_));
            rest = &rest[insn.slots().count()..];
        }
        match self {
            // Each function has 256 bytes of stack, and there is memory for two.
            Self::Interpreter => functions.is_none() || !(deep || nested),
            // All functions share one stack, and there is one page for machine code.
            Self::Jit => cfg!(target_arch = "x86_64") && bytes <= 4_096 && !frames,
        }
    }

    /// Compares its result with ours; `false` for a program that it cannot run.
    pub(super) fn agrees(
        self,
        program: &[RawInsn],
        mut row: [u8; 32],
        ours: &Result<u64, String>,
    ) -> Result<bool, String> {
        if !self.takes(program) {
            return Ok(false);
        }
        let bytes: Vec<u8> = program.iter().flat_map(|raw| raw.to_bytes()).collect();
        // It looks at dead code, too, and refuses what ours does not reach.
        let Ok(mut vm) = rbpf::EbpfVmRaw::new(Some(&bytes)) else { return Ok(false) };
        let theirs = match self {
            Self::Interpreter => vm.execute_program(&mut row),
            Self::Jit => vm.jit_compile().and_then(|()| run_machine_code(&vm, &mut row)),
        };
        let theirs = theirs.map_err(|error| format!("{error}"));
        if theirs == *ours {
            return Ok(true);
        }
        Err(format!("rbpf's {self:?}: {theirs:x?}, ours {ours:x?}"))
    }
}

#[allow(unsafe_code, reason = "machine code has no safe interface")]
fn run_machine_code<'a>(
    vm: &rbpf::EbpfVmRaw<'a>,
    row: &'a mut [u8],
) -> Result<u64, std::io::Error> {
    // SAFETY: the program was verified for a row of this length, calls no helper, and has run on
    // the checked engine with these bytes: it accesses `row` and its own stack.
    unsafe { vm.execute_program_jit(row) }
}

/// Where the first function that is called begins.
fn first_function(program: &[RawInsn]) -> Option<usize> {
    let mut first = None;
    let mut at = 0;
    while let Ok(insn) = decode(&program[at..]) {
        if let Insn::Call(Callee::Local(off)) = insn {
            let target = at.saturating_add(1).saturating_add_signed(off as isize);
            first = Some(first.map_or(target, |first: usize| first.min(target)));
        }
        at += insn.slots().count();
    }
    first
}

fn names_frame(insn: &Insn) -> bool {
    const FRAME: Operand = Operand::Reg(Reg::R10);
    matches!(
        *insn,
        Insn::Load { src: Reg::R10, .. }
            | Insn::Store { dst: Reg::R10, .. }
            | Insn::Store { src: FRAME, .. }
            | Insn::Alu { src: FRAME, .. }
            | Insn::Mov { src: FRAME, .. }
    )
}

/// Whether it may reach more than 256 bytes down the stack.
fn reaches_deep(insn: &Insn) -> bool {
    match *insn {
        Insn::Load { off, .. } | Insn::Store { off, .. } => off < -256,
        Insn::Alu { src: Operand::Imm(imm), .. } => (-512..-256).contains(&imm),
        _ => false,
    }
}

/// No insn becomes longer machine code.
fn machine_bytes(insn: &Insn) -> usize {
    let long = matches!(insn, Insn::Alu { op: AluOp::Mul | AluOp::Div | AluOp::Mod, .. });
    if long { 64 } else { 24 }
}
