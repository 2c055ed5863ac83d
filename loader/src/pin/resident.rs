//! Loaded filters that sweep by themselves.
//!
//! **Invariant**: a filter ticks only while its timer is pinned: the kernel cancels the timer
//! with the last file and descriptor of that map, whoever removes them.

use super::place::Place;
use super::{PinMeta, PinOptions, Pins, file};
use crate::error::LoadError;
use crate::host::bpf::resident::{Counters, stop};
use crate::host::bpf::{Loaded, Stream};
use kernel_vm::abi::{ResidentStats, SweepStats};
use kernel_vm::object::{FilterMeta, ResidentMeta};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Shortest time between two ticks.
pub const PERIOD_MIN: Duration = Duration::from_millis(1);

/// What the object has for a filter that is to tick; `None` when it is not to.
pub(super) fn wanted<'a>(
    filter: &'a FilterMeta,
    options: &PinOptions,
) -> Result<Option<&'a ResidentMeta>, LoadError> {
    let Some(period) = options.every else { return Ok(None) };
    if period < PERIOD_MIN || u64::try_from(period.as_nanos()).is_err() {
        return Err(LoadError::Name {
            name: options.name.clone(),
            reason: format!("it cannot sweep every {period:?}; {PERIOD_MIN:?} is the least"),
        });
    }
    let missing = || from_an_earlier_compiler("what lets a filter sweep by itself");
    filter.bpf.resident.as_ref().map(Some).ok_or_else(missing)
}

/// The error for what an object does not have.
pub(super) fn from_an_earlier_compiler(what: &str) -> LoadError {
    LoadError::Missing {
        what: what.to_owned(),
        why: "an earlier compiler wrote the object".to_owned(),
        way_out: "compile the filter again".to_owned(),
    }
}

impl Pins {
    /// Pins what keeps a filter ticking; `start` and `stop` are the last of `programs`.
    pub(super) fn pin_ticking(
        &self,
        directory: &Path,
        ticking: &ResidentMeta,
        loaded: &Loaded,
        programs: usize,
    ) -> Result<(), LoadError> {
        if let Some(stop) = loaded.programs.get(programs.saturating_sub(1)) {
            self.pin(directory, file::STOP, stop.as_fd())?;
        }
        if let Some(timer) = loaded.map(&ticking.timer) {
            self.pin(directory, file::TIMER, timer.fd.as_fd())?;
        }
        Ok(())
    }

    /// Ends the ticks of a filter that was removed. The kernel has done so already, unless
    /// somebody else still has the timer open.
    pub(super) fn stop(&self, name: &str, program: &OwnedFd) {
        let _ = stop(&*self.sys, name, program.as_fd());
    }

    /// What a filter's last sweep counted, and what it has counted since it was loaded if it
    /// sweeps by itself.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when its statistics cannot be opened.
    pub fn counters(
        &self,
        name: &str,
        meta: &PinMeta,
    ) -> Result<(SweepStats, Option<ResidentStats>), LoadError> {
        let counters = self.map_counters(name, &meta.filter)?;
        Ok((counters.sweep(), meta.every_ns.map(|_| counters.resident())))
    }

    fn map_counters(&self, name: &str, filter: &FilterMeta) -> Result<Counters, LoadError> {
        let bss = self.get(name, file::BSS)?;
        let bytes = self.map_info(name, bss.as_fd())?.value_size as usize;
        let resident = filter.bpf.resident.as_ref().map_or(0, |meta| meta.stats.offset);
        Counters::open(&*self.sys, bss.as_fd(), bytes, filter.stats.offset, resident)
    }

    /// What a resident filter finds, from the records that nobody has read yet on.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`]; when it is not resident; when somebody else reads it.
    pub fn follow(&self, name: &str) -> Result<(PinMeta, Stream), LoadError> {
        let meta = self.show(name)?;
        if meta.every_ns.is_none() {
            return Err(LoadError::Name {
                name: name.to_owned(),
                reason: "it does not sweep by itself; load it with `--every`".to_owned(),
            });
        }
        let place = Place::reserve(&self.root.join(name), name)?;
        let records = self.get(name, file::RECORDS)?;
        let bytes = self.map_info(name, records.as_fd())?.max_entries as usize;
        let counters = self.map_counters(name, &meta.filter)?;
        let filter = meta.filter.clone();
        let stream = Stream::open(&self.sys, filter, (records, bytes), counters, Box::new(place))?;
        Ok((meta, stream))
    }
}
