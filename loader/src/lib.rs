//! BPF object to running filter.
//!
//! ```text
//! bytes --elf--> Object --params--> Request --host--> Session --sweep--> records
//!                  |                           |
//!                 btf                  link, core_reloc, sys
//! ```
//!
//! Parsing, relocating and linking are pure; all system calls are behind [`sys::Sys`].
//!
//! **Invariant**: nothing that a file says is used before it is checked, and a filter that
//! fails to load leaves nothing behind.

pub mod btf;
pub mod core_reloc;
pub mod cost;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod host;
pub mod insn;
pub mod keep;
pub mod kernel_log;
pub mod limit;
pub mod link;
pub mod params;
pub mod pin;
pub mod procfs;
pub mod record;
pub mod snapshot;
pub mod sys;
pub mod waits;

pub use elf::Object;
pub use error::{ErrorClass, LoadError};
pub use host::{Host, HostKind, Request, Session, Sweep};
