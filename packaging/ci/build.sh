#!/usr/bin/env bash
# Builds both programs as releases hold them: static (musl), profile `dist`, for the architecture
# of this machine.
#
#   build.sh OUT_DIR       writes OUT_DIR/ARCH/twosec-agent and OUT_DIR/ARCH/twosec-processor
set -euo pipefail
out="${1:?the folder to write to is missing}"
cd "$(dirname "$0")/../.."
case "$(uname -m)" in
    x86_64) arch=amd64 target=x86_64-unknown-linux-musl ;;
    aarch64) arch=arm64 target=aarch64-unknown-linux-musl ;;
    *) echo "build.sh: releases are for x86_64 and aarch64, and this is $(uname -m)" >&2; exit 65 ;;
esac
command -v musl-gcc >/dev/null || {
    sudo apt-get update -qq
    sudo apt-get install -y -qq --no-install-recommends musl-tools
}
rustup target add "$target"
# The C of ring and libdeflate is compiled for musl, too. musl-gcc must not link: Rust brings its own
# start files, and programs with both crash at once. Paths of this machine stay out of the programs,
# so that others can build the same bytes.
export "CC_${target//-/_}=musl-gcc"
export RUSTFLAGS="--remap-path-prefix=$PWD=/twosec --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
cargo build --locked --profile "${TWOSEC_PROFILE:-dist}" --target "$target" -p agent -p processor --bin twosec-agent --bin twosec-processor
mkdir -p "$out/$arch"
for program in twosec-agent twosec-processor; do
    install -m 0755 "${CARGO_TARGET_DIR:-target}/$target/${TWOSEC_PROFILE:-dist}/$program" "$out/$arch/$program"
    strip --strip-all "$out/$arch/$program" 2>/dev/null || true
    "$out/$arch/$program" --version
done
