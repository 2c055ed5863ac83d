//! The verifier's log: which insn it refused, on which line of the filter.
//!
//! **Invariant**: whatever the log says, it is kept whole; what cannot be found in it is
//! `None`, not a guess.

use crate::sys::Errno;

/// A program that the verifier refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel refused program `{program}` ({errno}){}{message}", self.place())]
pub struct Rejection {
    /// The program.
    pub program: String,
    /// The errno of BPF_PROG_LOAD.
    pub errno: Errno,
    /// What the verifier says, in one line.
    pub message: String,
    /// The slot that it refused.
    pub slot: Option<usize>,
    /// Where that slot comes from.
    pub line: Option<SourceLine>,
    /// The verifier's view of the registers there.
    pub registers: Option<String>,
    /// The whole log.
    pub log: String,
}

/// A line of a filter's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 when it is not known.
    pub column: u32,
    /// The line's text.
    pub text: String,
}

impl Rejection {
    fn place(&self) -> String {
        match &self.line {
            Some(at) => format!(" at {}:{}: `{}`: ", at.file, at.line, at.text.trim()),
            None => ": ".to_owned(),
        }
    }

    /// Reads the log of a refused program; `line_of` finds the source of a slot.
    #[must_use]
    pub fn from_log(
        program: &str,
        errno: Errno,
        log: &str,
        line_of: impl Fn(usize) -> Option<SourceLine>,
    ) -> Self {
        let mut slot = None;
        let mut registers = None;
        let mut message = None;
        for line in log.lines() {
            let line = line.trim_end();
            if line.is_empty() || is_statistics(line) {
                continue;
            }
            if let Some((number, rest)) = numbered(line) {
                message = None;
                // `12: R0=…` is the state before an insn, `12: (79) …` the insn itself.
                if rest.starts_with('(') {
                    slot = Some(number);
                    if let Some((_, state)) = rest.split_once("; R") {
                        registers = Some(format!("R{state}"));
                    }
                } else if rest.starts_with('R') {
                    registers = Some(rest.to_owned());
                }
            } else if !line.starts_with(';') && !is_narration(line) {
                message = Some(line.to_owned());
            }
        }
        let message = message.unwrap_or_else(|| "it gives no reason".to_owned());
        Self {
            program: program.to_owned(),
            errno,
            message,
            slot,
            line: slot.and_then(line_of),
            registers,
            log: log.to_owned(),
        }
    }
}

/// `12: rest` as its number and the rest.
fn numbered(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.split_once(": ")?;
    Some((number.parse().ok()?, rest))
}

/// The statistics after the reason.
fn is_statistics(line: &str) -> bool {
    line.starts_with("processed ")
        || line.starts_with("verification time ")
        || line.starts_with("stack depth ")
        || line.starts_with("insns processed ")
}

/// How the verifier got there, which is no reason.
fn is_narration(line: &str) -> bool {
    let starts = ["from ", "mark_precise", "Func#", "func#", "Live regs", "Global ", "returning "];
    starts.iter().any(|start| line.starts_with(start))
}
