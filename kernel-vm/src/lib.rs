//! A verified BPF (RFC 9669) virtual machine for filters over kernel tables.
//!
//! Besides the machine this crate holds what every other crate must agree on: the tables'
//! [`schema`], the [`abi`] between a program and its host and, for user space, the
//! metadata of a compiled [`object`](mod@crate::object).
//!
//! **Invariant**: the kernel build (no features) has no dependency, no allocation, no
//! floating point and no reachable panic.
#![cfg_attr(any(doc, doctest), doc = "", doc = include_str!("../README.md"))]
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::panic
    )
)]
#![allow(
    clippy::redundant_locals,
    reason = "where the tests can switch on a fault, other builds bind a value to its own name"
)]

#[cfg(any(feature = "object", feature = "text", feature = "generate", test))]
extern crate std;

#[macro_use]
mod mutant;

pub mod abi;
pub mod arith;
#[cfg(feature = "text")]
pub mod asm;
pub mod checked;
pub mod domain;
#[cfg(any(feature = "ffi", test))]
pub mod ffi;
#[cfg(any(feature = "generate", test))]
pub mod generate;
pub mod helper;
pub mod isa;
#[cfg(feature = "object")]
pub mod literal;
pub mod map;
pub mod module;
#[cfg(feature = "object")]
pub mod object;
pub mod run;
pub mod schema;
#[cfg(test)]
mod soundness;
pub mod verify;
