#!/usr/bin/env bash
# Pushes the image of packaging/image/build into the ECR repository, signs it by its digest, and
# writes the digest to GITHUB_OUTPUT.
#
#   push-image.sh IMAGE_DIR VERSION REPOSITORY
#
# AWS_ROLE_ARN, AWS_REGION: see aws-login.sh.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0" >&2; exit 64; }
here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=packaging/ci/aws-login.sh
. "$here/aws-login.sh"
aws_login
registry="${3%%/*}"
password="$(aws ecr get-login-password)"
skopeo login --username AWS --password-stdin "$registry" <<<"$password"
# cosign reads what `docker login` would have written.
cosign login --username AWS --password-stdin "$registry" <<<"$password"
digest="$("$here/../image/build" --push "$1" "$3:$2" | tail -n 1)"
[[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "push-image.sh: no digest but \`$digest\`" >&2; exit 1; }
# Keyless: the certificate names this workflow, and lies in the public log.
cosign sign --yes "$3@$digest"
echo "digest=$digest" >>"${GITHUB_OUTPUT:-/dev/stdout}"
