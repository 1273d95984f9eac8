#!/usr/bin/env bash
# Makes what a release holds from programs of build.sh: packages, programs, lists of parts.
#
#   packages.sh VERSION PROGRAMS_DIR ARCH OUT_DIR
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0" >&2; exit 64; }
version="$1" programs="$2/$3" arch="$3" out="$4"
packaging="$(cd "$(dirname "$0")/.." && pwd)"
case "$arch" in
    amd64) target=x86_64-unknown-linux-musl ;;
    arm64) target=aarch64-unknown-linux-musl ;;
    *) echo "packages.sh: the architecture is \`$arch\`: use amd64 or arm64" >&2; exit 64 ;;
esac
mkdir -p "$out"
"$packaging/nfpm/build" "$programs/twosec-agent" "$version" "$arch" "$out"
rm "$out/SHA256SUMS" # publish.sh writes one over all
for name in agent processor; do
    "$packaging/image/sbom" "$name" "$version" "$target" >"$out/twosec-$name-$version-$arch.cdx.json"
done
install -m 0755 "$programs/twosec-processor" "$out/twosec-processor-$version-$arch"
