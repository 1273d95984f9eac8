# 2SeC on AWS: everything from the host that is attacked to the index that is searched.
#
# The provider is configured by whoever uses this module: region and credentials come from
# its own chain (AWS_REGION, AWS_PROFILE, ...). examples/ holds two complete uses.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Checked with 5.100.0 (real) and with the names and types of 6.62.0.
      version = ">= 5.100, < 7.0"
    }
  }
}

data "aws_caller_identity" "here" {}
data "aws_region" "here" {}
data "aws_partition" "here" {}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.id
  partition = data.aws_partition.here.partition

  # ARNs are built from names and not taken from resources: so a plan shows policies in
  # full, and a policy may name a resource that names the policy's role.
  arn = {
    stream     = "arn:${local.partition}:kinesis:${local.region}:${local.account}:stream/${var.name}"
    leases     = "arn:${local.partition}:dynamodb:${local.region}:${local.account}:table/${var.name}-leases"
    archive    = "arn:${local.partition}:s3:::${local.archive_bucket}"
    artifacts  = "arn:${local.partition}:s3:::${local.artifacts_bucket}"
    domain     = "arn:${local.partition}:es:${local.region}:${local.account}:domain/${var.name}"
    repository = "arn:${local.partition}:ecr:${local.region}:${local.account}:repository/${var.name}-processor"
    log_group  = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.processor_log_group}"
    role       = "arn:${local.partition}:iam::${local.account}:role/${var.name}"
  }

  archive_bucket      = coalesce(var.archive_bucket, "${var.name}-archive-${local.account}-${local.region}")
  artifacts_bucket    = "${var.name}-artifacts-${local.account}-${local.region}"
  processor_log_group = "/${var.name}/processor"

  # What every policy template may use. An empty key means: none of your own.
  policy_values = {
    stream     = local.arn.stream
    leases     = local.arn.leases
    archive    = local.arn.archive
    artifacts  = local.arn.artifacts
    domain     = local.arn.domain
    repository = local.arn.repository
    log_group  = local.arn.log_group
    name       = var.name
    kms_key    = var.kms_key_arn == null ? "" : var.kms_key_arn
    consumer   = lookup(var.processor_environment, "TWOSEC_FAN_OUT_CONSUMER", "")
  }
}
