//! What a filter costs at most, for `kfilter check`.

use crate::hir::Filter;
use crate::object::Subprogram;
use crate::target::bpf::Sweep;

/// Upper bounds of one filter, proven by construction: code runs forward only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The filter's name.
    pub filter: String,
    /// Insns of a row on the `vm` host, routines included.
    pub vm_insns: u32,
    /// Insns of the `bpf` program, with the functions that it brings along; loops over
    /// descriptors, threads or mappings run theirs once for each.
    pub bpf_insns: u32,
    /// Bytes of stack on the `bpf` host, without those of the functions that it calls.
    pub stack_bytes: u32,
}

impl Bounds {
    pub(super) fn new(filter: &Filter, sweep: &Sweep, vm: &[u8]) -> Self {
        let slots = |functions: &[Subprogram]| -> usize {
            functions.iter().map(|function| function.code.slots.len()).sum()
        };
        let bpf_insns = sweep.program.code.slots.len() + slots(&sweep.subprograms);
        Self {
            filter: filter.name.clone(),
            vm_insns: (vm.len() / 8) as u32,
            bpf_insns: bpf_insns as u32,
            stack_bytes: sweep.frame_bytes,
        }
    }
}
