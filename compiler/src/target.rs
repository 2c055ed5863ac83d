//! What differs between the hosts: each target turns a plan and its row body into code.

pub mod bpf;
mod encode;
pub mod routine;
pub mod vm;
