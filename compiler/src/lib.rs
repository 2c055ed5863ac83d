//! Source text to BPF object, without LLVM.
//!
//! `syntax` parses, `check` resolves names and units into [`hir`], `lower` and `target`
//! make code, `object` writes ELF. Every stage is a pure function.

pub mod asm;
pub mod code;
pub mod diagnostic;
pub mod hir;
pub mod object;
pub mod target;
