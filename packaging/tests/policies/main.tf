# Renders every policy as the module does, with no provider: `packaging/tests/policies/check` looks
# at what comes out.

locals {
  account = "123456789012"
  values = {
    stream     = "arn:aws:kinesis:eu-central-1:${local.account}:stream/twosec"
    leases     = "arn:aws:dynamodb:eu-central-1:${local.account}:table/twosec-leases"
    archive    = "arn:aws:s3:::twosec-archive"
    artifacts  = "arn:aws:s3:::twosec-artifacts"
    domain     = "arn:aws:es:eu-central-1:${local.account}:domain/twosec"
    repository = "arn:aws:ecr:eu-central-1:${local.account}:repository/twosec-processor"
    log_group  = "arn:aws:logs:eu-central-1:${local.account}:log-group:/twosec/processor"
    bucket     = "arn:aws:s3:::twosec-archive"
    topic      = "arn:aws:sns:eu-central-1:${local.account}:twosec-alarms"
    provider   = "arn:aws:iam::${local.account}:oidc-provider/token.actions.githubusercontent.com"
    subject    = "repo:2sec/2sec:environment:release"
    service    = "ecs-tasks.amazonaws.com"
    account    = local.account
    region     = "eu-central-1"
    name       = "twosec"
    roles      = ["arn:aws:iam::${local.account}:role/twosec-processor"]
    setup      = ["arn:aws:iam::${local.account}:role/twosec-setup"]

    alerts_role = "arn:aws:iam::${local.account}:role/twosec-alerts"
    task_roles  = ["arn:aws:iam::${local.account}:role/twosec-processor", "arn:aws:iam::${local.account}:role/twosec-execution"]
    arn = merge({ for service in ["cloudwatch", "dynamodb", "ec2", "ecs", "events", "logs", "sns", "ssm"] : service => "arn:aws:${service}:eu-central-1:${local.account}" }, {
      autoscaling = "arn:aws:application-autoscaling:eu-central-1:${local.account}"
      budgets     = "arn:aws:budgets::${local.account}"
      iam         = "arn:aws:iam::${local.account}"
      s3          = "arn:aws:s3::"
      ssm_of_aws  = "arn:aws:ssm:eu-central-1:"
    })
  }
  bare = merge(local.values, { kms_key = "", consumer = "", secrets = [], parameters = [], in_vpc = false, cidrs = [], master = "", state = null })
  full = merge(local.values, {
    kms_key  = "arn:aws:kms:eu-central-1:${local.account}:key/0f0f0f0f-0000-4000-8000-000000000000"
    consumer = "processor"
    secrets  = ["arn:aws:secretsmanager:eu-central-1:${local.account}:secret:mask-AbCdEf"]
    in_vpc   = false
    cidrs    = ["198.51.100.0/24"]
    master   = "arn:aws:iam::${local.account}:role/admin"

    state      = { bucket = "states", key = "twosec/terraform.tfstate", lock_table = null, kms_key_arn = "arn:aws:kms:eu-central-1:${local.account}:key/1f1f1f1f-0000-4000-8000-000000000000" }
    parameters = ["arn:aws:ssm:eu-central-1:${local.account}:parameter/twosec/search-master-password"]
  })
  templates = fileset("${path.module}/../../terraform/iam", "*.json.tftpl")
}

output "bare" {
  value = { for name in local.templates : trimsuffix(name, ".json.tftpl") => templatefile("${path.module}/../../terraform/iam/${name}", local.bare) }
}

# Where the state is locked by a table.
output "locked" {
  value = { deploy = templatefile("${path.module}/../../terraform/iam/deploy.json.tftpl", merge(local.bare, { state = { bucket = "states", key = "twosec.tfstate", lock_table = "locks", kms_key_arn = null } })) }
}

output "full" {
  value = { for name in local.templates : trimsuffix(name, ".json.tftpl") => templatefile("${path.module}/../../terraform/iam/${name}", local.full) }
}
