//! Every kind of object that the writer makes is loaded into the running kernel by bpftool,
//! which is what "BPF object" means to people who use libbpf.
//!
//! Without bpftool or the right to call bpf(2) the tests say so and pass.

mod support;

use support::{kernel_accepts, none_sweep};

#[test]
fn a_hand_made_sweep() {
    kernel_accepts("none_sweep", &none_sweep());
}
