//! How the command ends: its exit status, and the error that led there.

use std::fmt::Display;

/// Exit statuses; documented in `kfilter --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something matched, or the command did what it was asked.
    Success = 0,
    /// The filter ran and nothing matched.
    NothingMatched = 1,
    /// Wrong usage, a filter or object that is not valid, a bad parameter.
    BadInput = 2,
    /// The filter is valid but could not be loaded or run.
    CannotRun = 3,
    /// A privilege is missing.
    NoPrivilege = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status to end with.
    pub(crate) exit: Exit,
    /// What went wrong; empty when there is nothing to say.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Vec<String>,
    /// A longer text that says it all, as it is; shown in the place of the message.
    pub(crate) details: String,
    /// Lines of another's log that show how it came to this.
    pub(crate) log: Vec<String>,
}

impl Failure {
    /// A failure with a message and no advice.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            help: Vec::new(),
            details: String::new(),
            log: Vec::new(),
        }
    }

    /// The same with one more line of advice.
    pub(crate) fn help(mut self, line: impl Display) -> Self {
        self.help.push(line.to_string());
        self
    }

    /// The message and advice in one line.
    pub(crate) fn summary(&self) -> String {
        let mut line = self.message.lines().next().unwrap_or_default().to_owned();
        for help in &self.help {
            line.push_str("; ");
            line.push_str(help);
        }
        line
    }

    /// The same with a text that is shown in the place of the message.
    pub(crate) fn details(mut self, text: String) -> Self {
        self.details = text;
        self
    }

    /// The same with lines of a log below the message.
    pub(crate) fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }
}

/// Output went to a pipe or file: a reader that has gone is no error of ours.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::new(Exit::Success, "")
        } else {
            Self::new(Exit::CannotRun, format_args!("cannot write the output: {error}"))
        }
    }
}
