#!/usr/bin/env bash
# Prints the version of the workspace, and fails if a tag that is given says another one.
#
#   version.sh [vX.Y.Z]
set -euo pipefail
cd "$(dirname "$0")/../.."
version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
[ -n "$version" ] || { echo "version.sh: Cargo.toml tells no version" >&2; exit 1; }
if [ $# -gt 0 ] && [ "$1" != "v$version" ]; then
    echo "version.sh: the tag is \`$1\`, and Cargo.toml says $version: they must agree" >&2
    exit 1
fi
echo "$version"
