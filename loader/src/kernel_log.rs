//! The verifier's log: which insn it refused, on which line of the filter.
//!
//! **Invariant**: whatever the log says, it is kept whole; what cannot be found in it is
//! `None`, not a guess.

use crate::sys::Errno;

/// A program that the verifier refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel refused program `{program}` ({errno}){}{message}{}", self.place(), self.lack())]
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
    /// The capability that the loading process lacks, and with which the verifier lets more
    /// pass.
    pub lacks: Option<&'static str>,
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

    fn lack(&self) -> String {
        self.lacks.map_or_else(String::new, |name| format!(" ({name} is not held)"))
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
            lacks: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
0: R1=ctx() R10=fp0
; where cpu > max @ hog.kf:7
0: (b7) r6 = 0                        ; R6_w=0
6: (85) call bpf_task_storage_get#156         ; R0=map_value_or_null(id=1,ks=4,vs=16)
10: (79) r0 = *(u64 *)(r0 +8)
R0 invalid mem access 'map_value_or_null'
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0
";

    fn line_of(slot: usize) -> Option<SourceLine> {
        (slot == 10).then(|| SourceLine {
            file: "hog.kf".into(),
            line: 7,
            column: 5,
            text: "    where cpu > max".into(),
        })
    }

    #[test]
    fn the_refused_insn_is_the_last_one_before_the_reason() {
        let rejection = Rejection::from_log("sweep_hog", Errno(libc::EACCES), LOG, line_of);
        assert_eq!(rejection.slot, Some(10));
        assert_eq!(rejection.registers.as_deref(), Some("R0=map_value_or_null(id=1,ks=4,vs=16)"));
        insta::assert_snapshot!(rejection, @"the kernel refused program `sweep_hog` (EACCES) at hog.kf:7: `where cpu > max`: R0 invalid mem access 'map_value_or_null'");
        assert_eq!(rejection.log, LOG);
    }

    #[test]
    fn a_log_without_insns_gives_its_reason() {
        let log = "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns\n";
        let rejection = Rejection::from_log("p", Errno(libc::E2BIG), log, line_of);
        assert_eq!((rejection.slot, &rejection.line), (None, &None));
        insta::assert_snapshot!(rejection, @"the kernel refused program `p` (E2BIG): BPF program is too large. Processed 1000001 insn");
    }

    #[test]
    fn a_log_that_says_nothing_is_not_guessed_at() {
        for log in ["", "\n\n", "0: (95) exit\n", ": (", "99999999999999999999999: (x)"] {
            let rejection = Rejection::from_log("p", Errno(libc::EINVAL), log, line_of);
            assert_eq!(rejection.log, log);
        }
        let rejection = Rejection::from_log("p", Errno(libc::EINVAL), "", line_of);
        assert_eq!(rejection.message, "it gives no reason");
    }
}
