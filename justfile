# `just` lists the recipes. Each is a plain command: `just` itself is a convenience.

default:
    @just --list

# The release binary: target/release/kfilter
build:
    cargo build --release --locked -p kfilter -p kfilter-capi

# Every test. Those that need root, BTF or other programs say SKIPPED where these are missing.
test *ARGS:
    cargo test --workspace --locked {{ARGS}}

# Format and lints, as CI checks them.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    @if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed"; fi

# Every fuzz target for a bounded time on the kept corpus.
fuzz SECONDS="20":
    KFILTER_FUZZ_SECONDS={{SECONDS}} .ci/fuzz

# Every operator of the verifier's domain on every abstract value: under an hour on two CPUs.
exhaustive:
    cargo test --release --locked -p kernel-vm --lib exhaustive -- --ignored --nocapture --test-threads 1

# The figures of docs/performance.md.
bench:
    cargo bench --workspace --locked
    tests/bench-cli
    tests/benches/sweep

# Pages that are made from the sources, then the book if mdbook is installed.
docs: build
    target/release/kfilter fields --format markdown > docs/tables.md
    @if command -v mdbook >/dev/null; then mdbook build docs; else echo "mdbook is not installed"; fi

# Boots Debian's kernels under qemu and runs the end-to-end cases in each: docs/kernels.md.
kernels *KERNELS: build
    cargo build --release --locked -p kfilter-tests --example module_guest
    KFILTER_KERNELS_DOC=docs/kernels.md KFILTER=target/release/kfilter \
        MODULE_GUEST=target/release/examples/module_guest tests/kernels/run {{KERNELS}}

# Compiles the shipped filters and asks the running kernel (and libbpf, if bpftool is there) to take them.
shipped: build
    tests/kernels/shipped

# Real servers under load for so many minutes, and what the shipped filters say about them.
soak MINUTES="10": build
    tests/soak {{MINUTES}}

# Installs the binary, its man pages, completions and the shipped filters below PREFIX.
install PREFIX="/usr/local": build
    install -Dm755 target/release/kfilter {{PREFIX}}/bin/kfilter
    install -d {{PREFIX}}/share/man/man1 {{PREFIX}}/share/kfilter/filters
    target/release/kfilter man {{PREFIX}}/share/man/man1
    install -Dm755 target/release/libkfilter.so {{PREFIX}}/lib/libkfilter.so
    install -Dm644 capi/kfilter.h {{PREFIX}}/include/kfilter.h
    install -d {{PREFIX}}/lib/pkgconfig
    sed -e 's,@PREFIX@,{{PREFIX}},' -e "s,@VERSION@,$(target/release/kfilter --version | cut -d' ' -f2)," capi/kfilter.pc.in > {{PREFIX}}/lib/pkgconfig/kfilter.pc
    install -m644 filters/*.kf {{PREFIX}}/share/kfilter/filters/
    install -d {{PREFIX}}/share/bash-completion/completions {{PREFIX}}/share/zsh/site-functions {{PREFIX}}/share/fish/vendor_completions.d
    target/release/kfilter completions bash > {{PREFIX}}/share/bash-completion/completions/kfilter
    target/release/kfilter completions zsh > {{PREFIX}}/share/zsh/site-functions/_kfilter
    target/release/kfilter completions fish > {{PREFIX}}/share/fish/vendor_completions.d/kfilter.fish
