# Roles for the release workflow on GitHub. No key is kept anywhere: GitHub's token is traded
# for credentials of some minutes, if its subject is this repository in this environment.

locals {
  has_ci = var.github_repository != null
  # Word for word: a pattern here is how others get in (a fork, another branch, a similar name).
  github_subject = local.has_ci ? "repo:${var.github_repository}:environment:${var.github_environment}" : ""
  oidc_provider  = local.has_ci ? coalesce(var.github_oidc_provider_arn, "arn:${local.partition}:iam::${local.account}:oidc-provider/token.actions.githubusercontent.com") : ""
  github_trust   = templatefile("${path.module}/iam/trust-github.json.tftpl", { provider = local.oidc_provider, subject = local.github_subject })
}

resource "aws_iam_openid_connect_provider" "github" {
  count          = local.has_ci && var.github_oidc_provider_arn == null ? 1 : 0
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

# Pushes the image and the packages, and nothing else.
resource "aws_iam_role" "release" {
  count                = local.has_ci ? 1 : 0
  name                 = "${var.name}-release"
  assume_role_policy   = local.github_trust
  max_session_duration = 3600
  depends_on           = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role_policy" "release" {
  count  = local.has_ci ? 1 : 0
  name   = "release"
  role   = aws_iam_role.release[0].id
  policy = templatefile("${path.module}/iam/release.json.tftpl", local.policy_values)
}

# Applies this module with the new digest.
resource "aws_iam_role" "deploy" {
  count                = local.has_ci && length(var.deploy_policy_arns) > 0 ? 1 : 0
  name                 = "${var.name}-deploy"
  assume_role_policy   = local.github_trust
  max_session_duration = 3600
  depends_on           = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role_policy_attachment" "deploy" {
  for_each   = toset(local.has_ci ? var.deploy_policy_arns : [])
  role       = aws_iam_role.deploy[0].name
  policy_arn = each.key
}
