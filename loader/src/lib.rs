//! BPF object to running filter.
