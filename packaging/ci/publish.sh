#!/usr/bin/env bash
# Publishes a folder of release files: checksums, a signature over them, a release on GitHub, and a
# copy in the bucket from which hosts install.
#
#   publish.sh FILES_DIR VERSION BUCKET
#
# AWS_ROLE_ARN, AWS_REGION: see aws-login.sh. GH_TOKEN: of the workflow.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0" >&2; exit 64; }
here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=packaging/ci/aws-login.sh
. "$here/aws-login.sh"
cd "$1"
# Everything else is named by its hash in here, so one signature is enough.
rm -f SHA256SUMS SHA256SUMS.sigstore.json
find . -maxdepth 1 -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >../SHA256SUMS.part
mv ../SHA256SUMS.part SHA256SUMS
cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS
aws_login
aws s3 cp --recursive --only-show-errors . "s3://$3/release/$2/"
# A workflow that failed after this, or in the midst of it, is run again.
if gh release view "v$2" >/dev/null 2>&1; then
    gh release upload "v$2" --clobber ./*
    # Until all its files are there a release is a draft.
    gh release edit "v$2" --draft=false
    exit 0
fi
gh release create "v$2" --verify-tag --title "v$2" --notes "See CHANGELOG.md. Check files with \`sha256sum -c SHA256SUMS\`, and that with \`cosign verify-blob --bundle SHA256SUMS.sigstore.json\`." ./*
