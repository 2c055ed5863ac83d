//! Limits: what is done to an offender, when, and what never is.
//!
//! A filter finds offenders; its ladder says after how long each rung is due. [`Engine`]
//! is a pure state machine over sweeps: it decides, writes the evidence, and acts through
//! [`World`], so that every rule is tested without a victim. [`linux`] is the real world.
//!
//! **Invariant**: an event is written before its act; an act is preceded by a fresh
//! evaluation of the very same process (pid and start time); what is reversible is undone
//! when the offender behaves, when it is released, and when the engine is dropped.

mod budget;
mod engine;
mod journal;
pub mod kernel;
pub mod linux;
mod look;
mod rails;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use engine::{Candidate, Engine, Event, EventKind, Policy};
pub use journal::{Journal, JournalError};
pub use rails::{Facts, Rails, Refusal};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which process: a pid is used again, a pid with a start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Process id in the first pid namespace.
    pub pid: i32,
    /// When it started, in nanoseconds since boot.
    pub start_ns: i64,
}

/// What a rung does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Writes the event, nothing more.
    Notify,
    /// Sets the nice value of all threads, -20 to 19.
    Nice(i32),
    /// Limits the CPU: millionths of one CPU.
    CpuRatio(i64),
    /// Reclaims above this many bytes (`memory.high`).
    MemoryBytes(i64),
    /// Lowers the soft limit of open files.
    Files(i64),
    /// Stops it until it is released.
    Freeze,
    /// Asks it to end (SIGTERM).
    Term,
    /// Ends it (SIGKILL).
    Kill,
}

impl Action {
    /// Cannot be undone.
    #[must_use]
    pub fn is_destructive(self) -> bool {
        matches!(self, Self::Term | Self::Kill)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notify => f.write_str("notify"),
            Self::Nice(value) => write!(f, "nice {value}"),
            Self::CpuRatio(millionths) => {
                write!(f, "cpu {}.{:04}%", millionths / 10_000, millionths % 10_000)
            }
            Self::MemoryBytes(bytes) => write!(f, "memory {bytes}"),
            Self::Files(count) => write!(f, "files {count}"),
            Self::Freeze => f.write_str("freeze"),
            Self::Term => f.write_str("term"),
            Self::Kill => f.write_str("kill"),
        }
    }
}

/// One step of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// How long after the offender was first seen it is due, in nanoseconds.
    pub after_ns: i64,
    /// What it does.
    pub action: Action,
}

/// A value that an act replaced, with what is needed to put it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Saved {
    /// The nice values of the threads.
    Nice(Vec<(i32, i32)>),
    /// The content of a cgroup's file.
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What it held.
        old: String,
    },
    /// The soft limit of open files; `None` is unlimited.
    FilesSoftLimit(Option<u64>),
    /// It was stopped with a signal.
    Stopped,
}

/// Why an act did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// The process ended before.
    #[error("it has already gone")]
    Gone,
    /// The kernel refused.
    #[error("{call} failed: {source}")]
    Call {
        /// The system call or the file.
        call: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// There is no way to do it here.
    #[error("{what} is not possible here: {way_out}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// What would make it possible.
        way_out: &'static str,
    },
}

/// The processes that the engine acts on, and a way to look at one again.
pub trait World {
    /// Takes hold of the process, so that it cannot be mistaken for a later one with the
    /// same pid. Called before [`World::still_offends`].
    ///
    /// # Errors
    /// [`ActError::Gone`] when there is none.
    fn hold(&mut self, id: Identity) -> Result<(), ActError>;

    /// Evaluates the filter afresh: whether this very process matches now.
    fn still_offends(&mut self, id: Identity) -> bool;

    /// What the rails must know of the process.
    ///
    /// # Errors
    /// When it is gone or cannot be looked at; nothing is done to it then.
    fn facts(&mut self, id: Identity) -> Result<Facts, ActError>;

    /// Reads what would undo the act, without changing anything; `whole_cgroup` when the
    /// cgroup holds few enough processes to be acted on as a whole.
    ///
    /// # Errors
    /// When the process has gone or the act is not possible here.
    fn prepare(
        &mut self,
        id: Identity,
        action: Action,
        whole_cgroup: bool,
    ) -> Result<Vec<Saved>, ActError>;

    /// Does it, on what `prepare` saved.
    ///
    /// # Errors
    /// When the kernel refuses or the process has gone.
    fn apply(&mut self, id: Identity, action: Action, saved: &[Saved]) -> Result<(), ActError>;

    /// Puts a saved value back.
    ///
    /// # Errors
    /// When the kernel refuses; [`ActError::Gone`] is as good as done.
    fn restore(&mut self, id: Identity, saved: &Saved) -> Result<(), ActError>;

    /// Lets go of the process.
    fn release(&mut self, id: Identity);
}
