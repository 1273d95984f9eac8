#!/usr/bin/env bash
# Applies Terraform with a new image. Terraform alone decides which image runs, so a rollback is
# the same with the digest of before.
#
#   deploy.sh TERRAFORM_DIR DIGEST
#
# AWS_ROLE_ARN, AWS_REGION: see aws-login.sh. The folder's other variables come as TF_VAR_... or
# from its own files.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0" >&2; exit 64; }
[[ "$2" =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "deploy.sh: \`$2\` is no digest" >&2; exit 64; }
# shellcheck source=packaging/ci/aws-login.sh
. "$(dirname "$0")/aws-login.sh"
aws_login
cd "$1"
export TF_IN_AUTOMATION=1
terraform init -input=false -lockfile=readonly
terraform plan -input=false -out=release.plan -var "processor_image_digest=$2"
terraform apply -input=false release.plan
