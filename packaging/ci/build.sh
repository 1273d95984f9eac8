#!/usr/bin/env bash
# Builds both programs as releases hold them: static (musl), profile `dist`, for the architecture
# of this machine, or for another one.
#
#   build.sh OUT_DIR [amd64|arm64]
#
# Writes OUT_DIR/ARCH/twosec-agent and OUT_DIR/ARCH/twosec-processor. What is built for another
# architecture runs under qemu-user: tests/arm64.
set -euo pipefail
out="${1:?the folder to write to is missing}"
cd "$(dirname "$0")/../.."
case "$(uname -m)" in
    x86_64) machine=amd64 ;;
    aarch64) machine=arm64 ;;
    *) echo "build.sh: releases are for x86_64 and aarch64, and this is $(uname -m)" >&2; exit 65 ;;
esac
arch="${2:-$machine}"
case "$arch" in
    amd64) target=x86_64-unknown-linux-musl ;;
    arm64) target=aarch64-unknown-linux-musl ;;
    *) echo "build.sh: the architecture is \`$arch\`: use amd64 or arm64" >&2; exit 64 ;;
esac
# Paths of this machine stay out of the programs, so that others can build the same bytes.
export RUSTFLAGS="--remap-path-prefix=$PWD=/twosec --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
# The C of ring, libdeflate and mimalloc is compiled for musl, too.
if [ "$arch" = "$machine" ]; then
    command -v musl-gcc >/dev/null || {
        sudo apt-get update -qq
        sudo apt-get install -y -qq --no-install-recommends musl-tools
    }
    # musl-gcc must not link: Rust brings its own start files, and programs with both crash at once.
    export "CC_${target//-/_}=musl-gcc"
else
    # zig holds musl for each architecture, and Rust's own lld links for each. A wheel for amd64, and
    # one for arm64.
    zig="${TWOSEC_PACKAGING_HOME:-$HOME/.cache/twosec-packaging}/zig"
    "$zig/bin/python" -m ziglang version 2>/dev/null | grep -qxF 0.17.1 || {
        python3 -m venv --clear "$zig"
        "$zig/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin <<'WHEELS'
ziglang==0.17.1 \
    --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54 \
    --hash=sha256:b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e
WHEELS
    }
    linker="CARGO_TARGET_${target//-/_}_LINKER"
    export "CC_${target//-/_}=$PWD/packaging/ci/zig-cc" "${linker^^}=rust-lld"
    # The machine's strip knows no other architecture.
    RUSTFLAGS+=' -C strip=symbols'
fi
rustup target add "$target"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
profile="${TWOSEC_PROFILE:-dist}"
# The folder of the profile `dev` has another name.
built="${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}"
cargo build --locked --profile "$profile" --target "$target" -p agent -p processor --bin twosec-agent --bin twosec-processor
mkdir -p "$out/$arch"
for program in twosec-agent twosec-processor; do
    install -m 0755 "$built/$program" "$out/$arch/$program"
    [ "$arch" = "$machine" ] || continue
    strip --strip-all "$out/$arch/$program" 2>/dev/null || true
    "$out/$arch/$program" --version
done
