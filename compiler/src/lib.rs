//! Source text to BPF object, without LLVM.
//!
//! `syntax` parses, `check` resolves names and units into [`hir`], `lower` and `target`
//! make code, `object` writes ELF. Every stage is a pure function.

pub mod arith;
pub mod asm;
mod check;
pub mod code;
mod compile;
pub mod diagnostic;
pub mod hir;
mod history;
pub mod lir;
mod listing;
pub mod lower;
pub mod object;
pub mod plan;
pub mod regalloc;
pub mod simplify;
mod suggest;
mod syntax;
pub mod target;

pub use check::{Analysis, parse_and_check};
pub use compile::{Compiled, compile};
pub use syntax::SOURCE_BYTES_MAX;
pub use target::bpf::kernel_types::kernel_names;
