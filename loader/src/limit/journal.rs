//! What is to be undone, on disk: a killed engine must not leave its victims limited.
//!
//! The journal is rewritten before every reversible act, by writing a new file and renaming
//! it over the old one.
//!
//! **Invariant**: the file holds either the old or the new list, never a part of one.

use super::{Identity, Saved};
use std::io;
use std::path::{Path, PathBuf};

/// A list of saved values that survives the process.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// Why a journal could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It could not be read or written.
    #[error("cannot {what} the journal {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is not a journal of limits: {reason}; look at it, then remove it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

impl Journal {
    /// A journal in the file `path`, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier engine left undone; empty when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a journal.
    pub fn read(&self) -> Result<Vec<(Identity, Saved)>, JournalError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(JournalError::Io { what: "read", path: self.path.clone(), source });
            }
        };
        serde_json::from_slice(&text).map_err(|error| JournalError::Corrupt {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    /// Replaces the list; an empty one removes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, saved: &[(Identity, Saved)]) -> Result<(), JournalError> {
        self.replace(saved).map_err(|source| JournalError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }

    fn replace(&self, saved: &[(Identity, Saved)]) -> io::Result<()> {
        if saved.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(saved)?)?;
        std::fs::rename(&new, &self.path)
    }
}
