//! The machine as one piece for a linker: the C interface, `core`, and nothing else.
//!
//! **Invariant**: the panic handler is not reachable. If it were, `reachable_panic` would
//! be an undefined symbol, which the builds refuse.
#![no_std]

pub use kernel_vm::ffi;

unsafe extern "C" {
    fn reachable_panic() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nobody gets here; see the invariant.
    unsafe { reachable_panic() }
}
