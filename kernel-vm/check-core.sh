#!/usr/bin/env bash
# Builds verifier and interpreter as a kernel would link them, and shows what is in them.
#
# The core is compiled for the host target with a kernel's flags and linked with all of
# `core` into one piece of assembly, from which everything unreachable has been dropped. A
# reachable panic would leave a call of the panic handler, an allocation or a float their
# own undefined symbols: none may be there. Prints the bytes of text: of verifier and
# interpreter, whose size is bounded, and apart from them of the arithmetic that helpers do
# (src/arith), each function of which has a section of its own.
set -euo pipefail
cd "$(dirname "$0")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cat >"$work/core.rs" <<'RUST'
#![no_std]
use kernel_vm::isa::RawInsn;
use kernel_vm::run::{Env, Host, Stack};
use kernel_vm::verify::{Scratch, Spec, VerifiedProgram, verify};

unsafe extern "C" {
    fn reachable_panic() -> !;
    fn host_emit(record: *const u8, length: usize) -> bool;
    fn host_boot_ns() -> u64;
    fn host_waits_for(tid: u64) -> u64;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe { reachable_panic() }
}

struct Kernel;

impl Host for Kernel {
    fn emit(&mut self, record: &[u8]) -> bool {
        unsafe { host_emit(record.as_ptr(), record.len()) }
    }
    fn boot_ns(&mut self) -> u64 {
        unsafe { host_boot_ns() }
    }
    fn waits_for(&mut self, tid: u64) -> u64 {
        unsafe { host_waits_for(tid) }
    }
}

#[cfg(verifier)]
#[unsafe(no_mangle)]
pub fn kf_verify<'p>(
    program: &'p [RawInsn],
    spec: Spec<'p>,
    scratch: &mut Scratch<'_>,
    out: &mut Option<VerifiedProgram<'p>>,
) -> usize {
    match verify(program, spec, scratch) {
        Ok(verified) => {
            *out = Some(verified);
            0
        }
        Err(rejection) => rejection.pc + 1,
    }
}

#[cfg(interpreter)]
#[unsafe(no_mangle)]
pub fn kf_run<'e, 'm>(
    program: &VerifiedProgram<'_>,
    row: &'e [u8],
    state: &'e mut [u8],
    params: &'e [u8],
    maps: &'e mut [kernel_vm::map::Map<'m>],
    stack: &mut Stack,
) -> i64 {
    let mut kernel = Kernel;
    let mut env = Env { row, state, params, maps, host: &mut kernel, fuel: 1 << 24 };
    match program.run(&mut env, stack) {
        Ok(verdict) => verdict as i64,
        Err(_) => -1,
    }
}
RUST

# The floating point units are off limits in a kernel, the red zone is overwritten by
# interrupts, and jump tables are indirect jumps that mitigations forbid.
flags=(
    --edition 2024 -C opt-level=z -C panic=abort -C codegen-units=1
    -C overflow-checks=off -C debug-assertions=off -C debuginfo=0 -C no-redzone=yes
    -C code-model=kernel -C relocation-model=static -C force-unwind-tables=no
    -C jump-tables=no -C "target-feature=-sse,-sse2,-avx"
)
rustc "${flags[@]}" --crate-type=rlib --crate-name kernel_vm -C embed-bitcode=yes \
    --cap-lints allow -o "$work/libkernel_vm.rlib" src/lib.rs

status=0
total=0
for part in verifier interpreter; do
    rustc "${flags[@]}" --crate-type=staticlib -C lto=fat --cap-lints allow --cfg "$part" \
        --extern kernel_vm="$work/libkernel_vm.rlib" -o "$work/lib$part.a" "$work/core.rs"
    # The archive also holds the compiler's own routines; ours is the object with kf_.
    mkdir "$work/$part"
    (cd "$work/$part" && ar x "../lib$part.a")
    object="$(grep -lE 'kf_(verify|run)' "$work/$part"/*.o)"
    cp "$object" "$work/$part.o"
    objdump -d "$work/$part.o" >"$work/$part.s"
    read -r bytes helpers < <(size -A "$work/$part.o" | awk '
        $1 !~ /^\.text/ { next }
        $1 ~ /9kernel_vm5arith/ { helpers += $2; next }
        { sum += $2 }
        END { print sum + 0, helpers + 0 }')
    undefined="$(nm -u "$work/$part.o" | awk '{ print $2 }' | tr '\n' ' ')"
    printf '%s: %s bytes of text; undefined: %s\n' "$part" "$bytes" "${undefined:-none}"
    if [ "$helpers" -ne 0 ]; then printf "helpers' arithmetic: %s bytes\n" "$helpers"; fi
    for symbol in $undefined; do
        case "$symbol" in
        memcpy | memset | memmove | memcmp | bcmp) ;;
        host_emit | host_boot_ns | host_waits_for) ;;
        *)
            echo "FAILED: $symbol must not be reachable" >&2
            status=1
            ;;
        esac
    done
    if grep -qE '%[xyz]mm[0-9]|[[:space:]]f(ld|st|add|mul)' "$work/$part.s"; then
        echo "FAILED: $part uses floating point or vector registers" >&2
        status=1
    fi
    if [ "$part" = interpreter ] && [ "$bytes" -ge 8192 ]; then
        echo "FAILED: an interpreter of 8 KiB or more" >&2
        status=1
    fi
    total=$((total + bytes))
done
printf 'together: %s bytes of text\n' "$total"
if [ "$total" -ge 32768 ]; then
    echo "FAILED: 32 KiB or more" >&2
    status=1
fi
exit "$status"
