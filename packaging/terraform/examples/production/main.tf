# In earnest: your own web servers ship to it. Three zones, everything in private subnets, a
# key of your own, an archive that nobody can delete for a year, and a release workflow.
#
#   export AWS_REGION=eu-central-1
#   terraform init && terraform apply -var-file=production.tfvars

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
  # The state names everything there is: keep it in a bucket that is encrypted and locked.
  # backend "s3" { ... }
}

provider "aws" {
  default_tags {
    tags = { Project = "twosec" }
  }
}

variable "kms_key_arn" {
  description = "Your key. Its policy must allow logs.REGION.amazonaws.com and cloudwatch.amazonaws.com to use it."
  type        = string
}

variable "search_master_arn" {
  description = "The IAM role whose people run the domain; null leaves that to the role of the task that sets it up."
  type        = string
  default     = null
}

variable "search_service_linked_role" {
  description = "Whether to make AWSServiceRoleForAmazonOpenSearchService, without which there is no domain in a VPC: true in an account that has never had a domain."
  type        = bool
  default     = false
}

variable "vpn_security_groups" {
  description = "Security groups, in the VPC that is made, of those who search."
  type        = list(string)
  default     = []
}

variable "github_repository" {
  description = "OWNER/NAME of the repository that releases."
  type        = string
}

variable "deploy_state" {
  description = "Bucket and key of the backend above, and lock_table or kms_key_arn where it has them: with them a role is made, with which the release workflow applies the image's digest."
  type = object({
    bucket      = string
    key         = string
    lock_table  = optional(string)
    kms_key_arn = optional(string)
  })
  default = null
}

variable "alarm_emails" {
  description = "Who is told of alarms."
  type        = list(string)
}

variable "processor_image_digest" {
  description = "Digest of the processor's image: the release workflow gives it."
  type        = string
  default     = null
}

module "twosec" {
  source = "../.."

  kms_key_arn = var.kms_key_arn
  log_days    = 365

  zones         = 3
  nat           = "per_az"
  flow_log_days = 90

  stream_shards          = 2
  stream_retention_hours = 168

  archive_lock_days = 365
  archive_deep_days = 400

  search_nodes                  = 3
  search_instance_type          = "r6g.large.search"
  search_disk_gib               = 100
  search_dedicated_masters      = true
  search_master_arn             = var.search_master_arn
  search_client_security_groups = var.vpn_security_groups
  search_service_linked_role    = var.search_service_linked_role

  # Your own servers, not DVWA: give their role the output agent_policy.
  host_enabled = false

  # Each task has half of the shards, and takes over those of the other within seconds.
  processor_count        = 2
  processor_image_digest = var.processor_image_digest
  container_insights     = true

  github_repository = var.github_repository
  deploy_state      = var.deploy_state

  alarm_emails = var.alarm_emails
  budget_usd   = 1500
}

output "next_commands" {
  value = module.twosec.next_commands
}

# What is applied now. It belongs into image.auto.tfvars before you apply by hand.
output "processor_image_digest" {
  value = module.twosec.processor_image_digest
}

output "monthly_cost_usd" {
  value = module.twosec.monthly_cost_usd
}

output "agent_policy" {
  value = module.twosec.agent_policy
}

# Variables of the environment `release` on GitHub.
output "release_variables" {
  value = module.twosec.release_variables
}
