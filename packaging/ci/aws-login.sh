# Sourced by the scripts that call AWS in the release workflow. Trades the workflow's OIDC token
# for the role in AWS_ROLE_ARN: aws and terraform do that by themselves when they are told of the
# token's file. No key is kept anywhere.
# shellcheck shell=bash
aws_login() {
    : "${AWS_ROLE_ARN:?is the role of the release}" "${AWS_REGION:?is the region}"
    : "${ACTIONS_ID_TOKEN_REQUEST_URL:?the job needs the permission id-token: write}" "${ACTIONS_ID_TOKEN_REQUEST_TOKEN:?}"
    local answer
    AWS_WEB_IDENTITY_TOKEN_FILE="$(mktemp)"
    # The request's own token goes by standard input: arguments are for all to see.
    answer="$(printf 'header = "authorization: bearer %s"\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" |
        curl -sSf --retry 3 --config - "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com")"
    (umask 077 && sed -n 's/.*"value": *"\([^"]*\)".*/\1/p' <<<"$answer" | tr -d '\n' >"$AWS_WEB_IDENTITY_TOKEN_FILE")
    [ -s "$AWS_WEB_IDENTITY_TOKEN_FILE" ] || { echo "aws_login: GitHub gave no token" >&2; return 1; }
    export AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME="release-${GITHUB_RUN_ID:-0}"
}
