//! Numbers for fleets: what the filters found, in the forms that fleets already collect.
//!
//! **Invariant**: the number of label sets is bounded, whatever processes call themselves.

pub(crate) mod http;
pub(crate) mod journal;
pub(crate) mod metrics;
pub(crate) mod openmetrics;
pub(crate) mod textfile;
