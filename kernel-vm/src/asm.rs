//! The assembler: reads what the disassembler writes, and labels.
//!
//! One insn a line, in the syntax of the kernel's verifier log. `name:` on a line of its own
//! names the next insn; `goto name`, `call name` and `func[name]` lead there. Helpers are
//! called by name or number. `;` and `#` begin a comment.
//!
//! **Invariant**: `assemble(disassemble(program)) == program` for every program that decodes.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;

use crate::isa::{Callee, Insn, RawInsn, Wide, encode};
use parse::{Distance, Line};

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsmError {
    /// The line, from 1.
    pub line: usize,
    /// What was expected or is wrong.
    pub reason: &'static str,
    /// The text of the line.
    pub text: String,
}

impl core::fmt::Display for AsmError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "line {}: {}: `{}`", self.line, self.reason, self.text)
    }
}

impl core::error::Error for AsmError {}

/// The slots of a program.
///
/// # Errors
/// At the first line that is no insn, or that names an unknown label.
pub fn assemble(text: &str) -> Result<Vec<RawInsn>, AsmError> {
    let error = |index: usize, line: &str, reason| AsmError {
        line: index.saturating_add(1),
        reason,
        text: String::from(line.trim()),
    };
    let mut labels = HashMap::new();
    let mut insns = Vec::new();
    let mut pc = 0usize;
    for (index, line) in text.lines().enumerate() {
        match parse::line(line).map_err(|reason| error(index, line, reason))? {
            None => {}
            Some(Line::Label(name)) if labels.contains_key(name) => {
                return Err(error(index, line, "this label is already there"));
            }
            Some(Line::Label(name)) => {
                labels.insert(name, pc);
            }
            Some(Line::Insn(insn, distance)) => {
                insns.push((index, line, pc, insn, distance));
                pc = pc.saturating_add(insn.slots().count());
            }
        }
    }
    let mut slots = Vec::with_capacity(pc);
    for (index, line, pc, mut insn, distance) in insns {
        if let Some(Distance(name)) = distance {
            let target = labels.get(name).ok_or_else(|| error(index, line, "unknown label"))?;
            let off = i32::try_from(*target).ok().zip(i32::try_from(pc).ok());
            let off = off.and_then(|(to, from)| to.checked_sub(from)?.checked_sub(1));
            let off = off.ok_or_else(|| error(index, line, "the label is too far away"))?;
            if !set_distance(&mut insn, off) {
                return Err(error(index, line, "the label is too far away"));
            }
        }
        let (first, second) = encode(insn);
        slots.push(first);
        slots.extend(second);
    }
    Ok(slots)
}

/// Puts a distance into an insn that has one; `false` when it does not fit.
fn set_distance(insn: &mut Insn, distance: i32) -> bool {
    let short = i16::try_from(distance);
    match insn {
        Insn::Jump { long: false, .. } | Insn::JumpIf { .. } if short.is_err() => return false,
        Insn::Jump { off, .. } => *off = distance,
        Insn::JumpIf { off, .. } => *off = short.unwrap_or(0),
        Insn::Call(Callee::Local(off)) => *off = distance,
        Insn::LoadWide { value: Wide::Function(off), .. } => *off = distance,
        Insn::Alu { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Neg { .. }
        | Insn::End { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadWide { .. }
        | Insn::Call(_)
        | Insn::Exit => {}
    }
    true
}

/// A program's text, one insn a line; slots that do not decode are shown as bytes.
#[must_use]
pub fn disassemble(program: &[RawInsn]) -> String {
    use core::fmt::Write;
    let mut text = String::new();
    let mut rest = program;
    while let Some((raw, after)) = rest.split_first() {
        // Writing to a string cannot fail.
        let _ = match crate::isa::decode(rest) {
            Ok(insn) => {
                rest = rest.get(insn.slots().count()..).unwrap_or(&[]);
                writeln!(text, "{insn}")
            }
            Err(_) => {
                rest = after;
                writeln!(text, "; {:02x?}", raw.to_bytes())
            }
        };
    }
    text
}
