//! What a filter costs at most, on any machine: for `kfilter check`.
//!
//! Nothing is loaded. The bounds are those of the object as it is, not of the source that it was
//! made of.

use crate::elf::Object;
use crate::error::LoadError;
use crate::host::Request;
use crate::host::bpf::{Kept, kept};
use crate::host::vm::VmSession;
use crate::link::reach;
use crate::params::SystemValues;
use kernel_vm::object::FilterMeta;

/// Upper bounds of one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of a record.
    pub record_bytes: u32,
    /// Bytes of the kernel's memory.
    pub kept: Kept,
    /// Insns of the program that sweeps on the `bpf` host, with the functions that it calls; how
    /// many of them a row takes depends on what it loops over.
    pub bpf_insns: usize,
    /// Insns that a row takes on the `vm` and `module` hosts, and on top of them those of a group:
    /// the bound that the verifier has proven.
    pub vm_insns: u64,
}

/// The bounds of `filter` of `object`.
///
/// # Errors
/// [`LoadError`] when the object is not what it says.
pub fn cost(object: &Object, filter: &FilterMeta) -> Result<Cost, LoadError> {
    let request = Request::new(object, &filter.name, &[], SystemValues::default())?;
    let entry = object.functions.iter().position(|one| one.name == filter.bpf.sweep);
    let reached = entry.map_or_else(Vec::new, |entry| reach(object, entry));
    let functions = reached.iter().filter_map(|&index| object.functions.get(index));
    Ok(Cost {
        record_bytes: filter.record.size,
        kept: kept(filter),
        bpf_insns: functions.map(|function| function.insns.len()).sum(),
        vm_insns: VmSession::new(&request)?.insns_max()?,
    })
}
