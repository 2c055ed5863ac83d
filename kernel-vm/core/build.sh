#!/usr/bin/env bash
# build.sh asm|lib OUT: the verified machine with its C interface (include/kfilter_vm.h).
#
# `asm` writes one assembly file with a kernel's flags: no floating point, no red zone, no
# jump tables, the kernel's code model; with KFILTER_CORE_FRAME_POINTERS=1 for a kernel that
# unwinds its stacks by frame pointers. `lib` writes a static library for the host's ABI.
# Everything unreachable has been dropped from both.
set -euo pipefail
kind="${1:?usage: build.sh asm|lib OUT}"
out="$(realpath -m "${2:?usage: build.sh asm|lib OUT}")"
source="$(realpath "$(dirname "$0")/..")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

flags=(
    --edition 2024 -C "opt-level=${KFILTER_CORE_OPT:-3}" -C panic=abort -C codegen-units=1
    -C overflow-checks=off -C debug-assertions=off -C debuginfo=0
    -C force-unwind-tables=no -C symbol-mangling-version=v0 --cap-lints allow
    --remap-path-prefix "$source=kernel-vm"
)
features=()
if [ "${KFILTER_CORE_THREADED:-1}" = 1 ]; then features+=(--cfg 'feature="threaded"'); fi
if [ "$kind" = asm ]; then
    flags+=(
        -C no-redzone=yes -C code-model=kernel -C relocation-model=static
        -C jump-tables=no -C "target-feature=-sse,-sse2,-avx"
    )
    if [ "${KFILTER_CORE_FRAME_POINTERS:-0}" = 1 ]; then flags+=(-C force-frame-pointers=yes); fi
fi
rustc "${flags[@]}" --crate-type=rlib --crate-name kernel_vm -C embed-bitcode=yes \
    --cfg 'feature="ffi"' "${features[@]}" -o "$work/libkernel_vm.rlib" "$source/src/lib.rs"
link=(rustc "${flags[@]}" --crate-type=staticlib -C lto=fat --crate-name kfilter_vm
    --extern kernel_vm="$work/libkernel_vm.rlib" "$source/core/core.rs")
case "$kind" in
asm) "${link[@]}" --emit="asm=$out,link=$work/libcore.a" 2>"$work/log" ;;
lib) "${link[@]}" -o "$out" 2>"$work/log" ;;
*) echo "unknown kind $kind" >&2; exit 2 ;;
esac || { cat "$work/log" >&2; exit 1; }
