//! BPF object to running filter.
pub mod limit;
