//! Sweeps of a loaded filter by several processes, one after the other.
//!
//! **Invariant**: from the beginning of a sweep until its records are read, nobody else takes
//! records out of the same ring buffer.

use super::place::Place;
use crate::error::LoadError;
use crate::host::bpf::BpfSession;
use crate::host::{Session, Sweep};
use std::path::PathBuf;
use std::time::Duration;

/// How long another one's sweep is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A session whose sweeps reserve the filter.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) directory: PathBuf,
    pub(super) name: String,
    pub(super) session: BpfSession,
}

impl Session for Turns {
    fn sweep(&mut self) -> Result<Sweep, LoadError> {
        let busy = || LoadError::Busy { filter: self.name.clone() };
        let turn = match Place::lock(&self.directory, &self.name, PATIENCE) {
            // It was unloaded, and is ours alone as long as we have it.
            Err(LoadError::NotLoaded { .. }) => None,
            other => Some(other?.ok_or_else(busy)?),
        };
        let sweep = self.session.sweep();
        drop(turn);
        sweep
    }
}
