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

# Applies this module with a new digest: it reads all of it, and changes what the image's digest
# stands in. tests/terraform-apply records the calls of the provider, and compares.
resource "aws_iam_role" "deploy" {
  count                = local.has_ci && (var.deploy_state != null || length(var.deploy_policy_arns) > 0) ? 1 : 0
  name                 = "${var.name}-deploy"
  assume_role_policy   = local.github_trust
  max_session_duration = 3600
  depends_on           = [aws_iam_openid_connect_provider.github]
}

locals {
  # ARNs of all but the last part, for what has no name that is known before it is made.
  here = { for service in ["application-autoscaling", "cloudwatch", "dynamodb", "ec2", "ecs", "events", "logs", "sns", "ssm"] : service => "arn:${local.partition}:${service}:${local.region}:${local.account}" }
}

resource "aws_iam_role_policy" "deploy" {
  count = length(aws_iam_role.deploy)
  name  = "deploy"
  role  = aws_iam_role.deploy[0].id
  policy = templatefile("${path.module}/iam/deploy.json.tftpl", merge(local.policy_values, {
    region     = local.region
    provider   = local.oidc_provider
    state      = var.deploy_state
    task_roles = [for role in concat(["processor", "execution", "operator"], local.has_setup_task ? ["setup", "setup-execution"] : []) : "${local.arn.role}-${role}"]
    arn = merge(local.here, {
      autoscaling = local.here["application-autoscaling"]
      budgets     = "arn:${local.partition}:budgets::${local.account}"
      iam         = "arn:${local.partition}:iam::${local.account}"
      s3          = "arn:${local.partition}:s3::"
      ssm_of_aws  = "arn:${local.partition}:ssm:${local.region}:"
    })
  }))
}

resource "aws_iam_role_policy_attachment" "deploy" {
  for_each   = toset(local.has_ci ? var.deploy_policy_arns : [])
  role       = aws_iam_role.deploy[0].name
  policy_arn = each.key
}
