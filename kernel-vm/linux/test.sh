#!/usr/bin/env bash
# test.sh [KERNEL]: builds kfilter.ko for a Debian kernel and tests it in a guest.
#
# KERNEL is a release such as 6.12.117+deb12-cloud-amd64, or a series such as 6.12, for
# which the newest cloud kernel of the configured package sources is taken. Packages are
# fetched and unpacked, never installed, and kept in target/kernels. Needs qemu-system-x86,
# busybox-static, cpio, a C compiler and cargo. KFILTER_GUEST_STEPS picks some of the steps.
set -euo pipefail
here="$(realpath "$(dirname "$0")")"
root="$(realpath "$here/../..")"
wanted="${1:-6.12}"
target="$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")"
cache="${KFILTER_KERNELS:-$target/kernels}"
profile="${KFILTER_GUEST_PROFILE:-dev}"
binaries="$target/${profile/dev/debug}"
mkdir -p "$cache"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# The release that a series stands for, by its meta package.
resolve() {
    case "$1" in *-amd64) echo "$1"; return ;; esac
    local meta="linux-image-$1-cloud-amd64" found
    apt-cache show "$meta" >/dev/null 2>&1 || meta=linux-image-cloud-amd64
    found="$(apt-cache depends "$meta" | sed -n 's/^ *Depends: linux-image-//p' | head -1)"
    case "$found" in "$1".*) echo "$found" ;; *) return 1 ;; esac
}

# Unpacks image and headers of a release below $cache/$release.
fetch() {
    local release="$1" tree="$cache/$1" packages kbuild
    [ -e "$tree/.complete" ] && return
    rm -rf "$tree"
    mkdir -p "$tree/debs"
    packages=("linux-image-$release" "linux-headers-$release")
    kbuild="$(apt-cache depends "linux-headers-$release" |
        sed -n 's/^ *Depends: \(linux-headers-.*-common\|linux-kbuild-.*\|linux-compiler-.*\)$/\1/p')"
    for package in $kbuild; do packages+=("$package"); done
    (cd "$tree/debs" && apt-get download -q "${packages[@]}" >../apt.log 2>&1) ||
        { cat "$tree/apt.log" >&2; fail "the packages of $release cannot be fetched"; }
    for package in "$tree"/debs/*.deb; do
        dpkg --fsys-tarfile "$package" |
            tar -x -C "$tree" --exclude='./lib/modules/*' --exclude='./usr/lib/modules/*' --exclude='./usr/share/*'
    done
    sed -i "s#include /usr/src/#include $tree/usr/src/#" "$tree/usr/src/linux-headers-$release/Makefile"
    rm -rf "$tree/debs"
    touch "$tree/.complete"
}

# A program and the libraries that it needs.
install_program() {
    install -D "$1" "$guest/$2"
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$guest$library" ] || install -D "$library" "$guest$library"
    done
}

release="$(resolve "$wanted")" || fail "no cloud kernel of series $wanted among the packages"
echo "== $release"
fetch "$release"
tree="$cache/$release"
"$here/build.sh" "$tree/usr/src/linux-headers-$release" "$tree/module"

cargo build -q --locked --profile "$profile" -p kfilter --manifest-path "$root/Cargo.toml"
cargo build -q --locked --profile "$profile" -p kfilter-tests --example module_guest \
    --manifest-path "$root/Cargo.toml"

guest="$(mktemp -d)"
trap 'rm -rf "$guest"' EXIT
mkdir -p "$guest"/{bin,proc,sys,dev,t,tmp}
install "$(command -v busybox)" "$guest/bin/busybox"
for name in sh mount insmod rmmod dmesg sleep cat sort cmp grep true poweroff ls kill ln uname cut wc; do
    ln -s busybox "$guest/bin/$name"
done
install_program "$binaries/kfilter" bin/kfilter
install_program "$binaries/examples/module_guest" t/module_guest
strip "$guest/bin/kfilter" "$guest/t/module_guest"
strip -g -o "$guest/t/kfilter.ko" "$tree/module/kfilter.ko"
cc -O2 -static -o "$guest/t/procwalk" "$here/test/procwalk.c"
install "$here/test/init" "$guest/init"
install -m644 "$here/test/steps" "$guest/t/steps"
cp "$root"/filters/*.kf "$guest/t/"
(cd "$guest" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$tree/initrd"

log="$tree/guest.log"
seconds="${KFILTER_GUEST_SECONDS:-900}"
timeout "$seconds" qemu-system-x86_64 -M q35 -cpu max -smp 2 -m "${KFILTER_GUEST_MIB:-4096}" \
    -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "$tree/boot/vmlinuz-$release" -initrd "$tree/initrd" \
    -append "console=ttyS0 quiet panic=-1 oops=panic rdinit=/init steps=${KFILTER_GUEST_STEPS:-} threads=${KFILTER_GUEST_THREADS:-100000} cases=${KFILTER_GUEST_CASES:-20000}" \
    </dev/null | tr -d '\r' | tee "$log" || true
grep -q '^GUEST PASSED' "$log" || fail "the guest did not pass: $log"
