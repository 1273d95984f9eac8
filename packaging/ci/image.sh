#!/usr/bin/env bash
# Makes a release's image of the programs that packages.sh has left for each architecture, and prints
# its digest.
#
#   image.sh VERSION FILES_DIR OUT_DIR
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0" >&2; exit 64; }
programs=()
for arch in amd64 arm64; do
    program="$2/twosec-processor-$1-$arch"
    [ -e "$program" ] || { echo "image.sh: \`$program\` is missing: a release's image is for both architectures" >&2; exit 66; }
    programs+=("$arch=$program")
done
exec "$(dirname "$0")/../image/build" "$1" "$3" "${programs[@]}"
