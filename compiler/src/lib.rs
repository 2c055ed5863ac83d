//! Source text to BPF object, without LLVM.
//!
//! `syntax` parses, `check` resolves names and units into [`hir`], `lower` and `target`
//! make code, `object` writes ELF. Every stage is a pure function.

pub mod asm;
mod check;
pub mod code;
pub mod diagnostic;
pub mod hir;
pub mod object;
mod suggest;
mod syntax;
pub mod target;

pub use check::{Analysis, parse_and_check};
pub use syntax::SOURCE_BYTES_MAX;
