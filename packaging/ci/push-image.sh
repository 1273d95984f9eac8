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
digest="$(cat "$1/image.digest")"
[[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "push-image.sh: no digest but \`$digest\`" >&2; exit 1; }
# Tags of the repository are immutable, and ECR refuses even the same image under a tag that it has. So
# a workflow that runs again leaves what is there; another image of this version is refused.
manifest() { skopeo inspect --raw "docker://$1" 2>/dev/null; }
if [ "sha256:$(manifest "$3:$2" | sha256sum | cut -d ' ' -f 1)" != "$digest" ]; then
    "$here/../image/build" --push "$1" "$3:$2"
fi
# Keyless: the certificate names this workflow, and lies in the public log. A signature is a tag, too.
manifest "$3:${digest/:/-}.sig" >/dev/null || cosign sign --yes "$3@$digest"
echo "digest=$digest" >>"${GITHUB_OUTPUT:-/dev/stdout}"
