#!/usr/bin/env bash
# build.sh KERNEL_HEADERS_DIR OUT_DIR [CORE]: builds OUT_DIR/kfilter.ko.
#
# CORE is what `core/build.sh asm` has written, for who builds for several kernels. One that
# unwinds its stacks by frame pointers has a core of its own.
#
# The build is the proof that kernel-vm cannot panic: rustc's assembly goes through the
# kernel's own assembler and objtool, and what is left undefined is looked at. A reachable
# panic, floating point, a bare return where the kernel wants its thunk, or any warning of
# the compiler, objtool or modpost fails it. Needs rustc, make and the kernel's compiler.
set -euo pipefail
usage="usage: build.sh KERNEL_HEADERS_DIR OUT_DIR [CORE]"
headers="$(realpath "${1:?$usage}")"
out="$(realpath -m "${2:?$usage}")"
here="$(realpath "$(dirname "$0")")"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

mkdir -p "$out"
cp "$here"/*.c "$here"/*.h "$here/Kbuild" "$here/../include/kfilter_vm.h" "$out/"
if grep -q '^CONFIG_FRAME_POINTER=y' "$headers/include/config/auto.conf"; then
    KFILTER_CORE_FRAME_POINTERS=1 "$here/../core/build.sh" asm "$out/core.s.raw"
elif [ -n "${3:-}" ]; then
    cp "$3" "$out/core.s.raw"
else
    "$here/../core/build.sh" asm "$out/core.s.raw"
fi
# A kernel that was built with a compiler that is not here takes the one that is.
if [ -z "${CC:-}" ]; then
    built_with="$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\).*/\1/p' "$headers/include/config/auto.conf")"
    command -v "${built_with:-gcc}" >/dev/null || CC=gcc
fi

# Returns and indirect calls become the kernel's thunks, functions get its padding, and
# symbols are reached directly: a module has no global offset table.
awk '
BEGIN {
    print "/* Made by build.sh from rustc'\''s assembly. */"
    print "#include <linux/version.h>"
    print ".macro KF_RET"
    print "#if defined(CONFIG_RETHUNK) || defined(CONFIG_MITIGATION_RETHUNK)"
    print "\tjmp __x86_return_thunk"
    print "#else"
    print "\tret\n\tint3"
    print "#endif"
    print ".endm"
    print ".macro KF_PAD"
    print "#ifdef CONFIG_FUNCTION_PADDING_BYTES"
    print "\t.skip CONFIG_FUNCTION_PADDING_BYTES, 0x90"
    print "#endif"
    print ".endm"
    print ".macro KF_ENTRY"
    print "#ifdef CONFIG_X86_KERNEL_IBT"
    print "\tendbr64"
    print "#endif"
    print ".endm"
    print "#if defined(CONFIG_RETPOLINE) || defined(CONFIG_MITIGATION_RETPOLINE)"
    print "#define KF_CALL(reg) call __x86_indirect_thunk_##reg"
    print "#define KF_JUMP(reg) jmp __x86_indirect_thunk_##reg"
    print "#else"
    print "#define KF_CALL(reg) call *%reg"
    print "#define KF_JUMP(reg) jmp *%reg"
    print "#endif"
}
/^[ \t]*#/ || /^[ \t]+\.cfi_/ { next }
/^[ \t]+retq?[ \t]*$/ { print "\tKF_RET"; next }
/^[ \t]+\.type[ \t]+.*@function/ {
    print; print "\tKF_PAD"; split($2, name, ","); entry = name[1] ":"; next
}
$0 == entry { print; print "\tKF_ENTRY"; next }
/^[ \t]+(callq?|jmpq?)[ \t]+\*[A-Za-z_][A-Za-z0-9_.]*@GOTPCREL\(%rip\)/ {
    sub(/\*/, ""); sub(/@GOTPCREL\(%rip\)/, ""); print; next
}
/^[ \t]+movq[ \t]+[A-Za-z_][A-Za-z0-9_.]*@GOTPCREL\(%rip\)/ {
    sub(/movq[ \t]+/, "movq\t$"); sub(/@GOTPCREL\(%rip\)/, ""); print; next
}
/^[ \t]+callq?[ \t]+\*%r/ { sub(/^.*\*%/, ""); print "\tKF_CALL(" $1 ")"; next }
/^[ \t]+jmpq?[ \t]+\*%r/ { sub(/^.*\*%/, ""); print "\tKF_JUMP(" $1 ")"; next }
/^[ \t]+callq?[ \t]+\*/ { sub(/^.*\*/, ""); print "\tmovq\t" $0 ", %r11\n\tKF_CALL(r11)"; next }
/^[ \t]+jmpq?[ \t]+\*/ { sub(/^.*\*/, ""); print "\tmovq\t" $0 ", %r11\n\tKF_JUMP(r11)"; next }
{ print }
' "$out/core.s.raw" >"$out/core.S"
if grep -q GOTPCREL "$out/core.S"; then fail "a symbol is reached through a global offset table"; fi

log="$out/build.log"
# No pahole is needed without the module's own BTF.
make -j"$(nproc)" -C "$headers" M="$out" ${CC:+"CC=$CC"} ${CC:+"HOSTCC=$CC"} CONFIG_DEBUG_INFO_BTF_MODULES= \
    CONFIG_GCC_PLUGINS= modules >"$log" 2>&1 || { tail -40 "$log" >&2; fail "the module does not build"; }
# What Kbuild says of headers without the kernel's image, and nothing else.
if grep -iE 'warning|undefined|error' "$log" | grep -vE 'the compiler differs|Skipping BTF generation'; then
    fail "the build is not silent: $log"
fi

# The kernel's own memory routines, its thunks, and nothing else.
for symbol in $(nm -u "$out/core.o" | awk '{ print $2 }'); do
    case "$symbol" in
    memcpy | memmove | memset | memcmp | bcmp) ;;
    __x86_return_thunk | __x86_indirect_thunk_*) ;;
    *) fail "$symbol must not be reachable" ;;
    esac
done
objdump -d "$out/core.o" >"$out/core.dis"
if grep -qE '%[xyz]mm[0-9]|%st\(|[[:space:]]f(ld|st|add|mul)' "$out/core.dis"; then
    fail "floating point or vector registers are used"
fi
if grep -qE 'CONFIG_(MITIGATION_)?RETHUNK=y' "$headers/include/config/auto.conf" &&
    grep -qE '[[:space:]]ret' "$out/core.dis"; then
    fail "a bare return"
fi
if grep -qE '(call|jmp) +\*' "$out/core.dis"; then fail "an indirect jump"; fi

# The largest stack frame: kernel stacks are 16 KiB.
frame="$(awk '/^[_A-Za-z].*:$/ { sum = 0 }
    $1 == "subq" && $3 == "%rsp" {
        sub(/^\$/, "", $2); sum += $2 + 0
        if (sum > most) most = sum
    }
    END { print most + 0 }' "$out/core.s.raw")"
[ "$frame" -le 8192 ] || fail "a stack frame of $frame bytes"

text() { size -A "$1" | awk '$1 ~ /^\.text/ { sum += $2 } END { print sum + 0 }'; }
printf 'core: %s bytes of text, largest frame %s; module: %s bytes of text\n' \
    "$(text "$out/core.o")" "$frame" "$(text "$out/kfilter.ko")"
