# The lab: a host with DVWA that you attack yourself, one small node to search in, and the
# cheapest of all else: some 72 USD a month.
#
#   export AWS_REGION=eu-central-1 TF_VAR_search_master_password=...
#   terraform init
#   terraform apply -var my_ip=198.51.100.7 -var agent_package=../../../../out/twosec-agent-0.1.0-1.aarch64.rpm

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
  # A release workflow that applies digests (deploy_state) needs the state where it finds it:
  # backend "s3" { ... }
}

provider "aws" {
  default_tags {
    tags = { Project = "twosec-lab" }
  }
}

variable "my_ip" {
  description = "The address from which you attack DVWA and look at Dashboards."
  type        = string
}

variable "agent_package" {
  description = "The agent's package on this machine: an .rpm for arm64."
  type        = string
}

variable "search_master_password" {
  description = "Password of the domain's first user."
  type        = string
  sensitive   = true
}

variable "processor_image_digest" {
  description = "Digest of the processor's image, once it has been pushed."
  type        = string
  default     = null
}

variable "github_repository" {
  description = "OWNER/NAME of the GitHub repository whose release workflow pushes the image and the packages; null makes no role for it."
  type        = string
  default     = null
}

variable "deploy_state" {
  description = "Bucket and key of the backend above, and lock_table or kms_key_arn where it has them: with them a role is made, with which the release workflow applies the image's digest. null: you apply it."
  type = object({
    bucket      = string
    key         = string
    lock_table  = optional(string)
    kms_key_arn = optional(string)
  })
  default = null
}

variable "alarm_emails" {
  description = "Who is told of alarms; nobody by default."
  type        = list(string)
  default     = []
}

variable "budget_usd" {
  description = "Monthly limit for the whole account in USD, of which alarm_emails are told. 0 makes no budget."
  type        = number
  default     = 0
}

module "twosec" {
  source = "../.."

  agent_package          = var.agent_package
  processor_image_digest = var.processor_image_digest
  dvwa_allowed_cidrs     = ["${var.my_ip}/32"]

  # Dashboards without a VPN: a public address, which lets in yours alone.
  search_in_vpc          = false
  search_allowed_cidrs   = ["${var.my_ip}/32"]
  search_master_password = var.search_master_password

  github_repository = var.github_repository
  deploy_state      = var.deploy_state

  # A lab is thrown away: `terraform destroy` takes archive and index with it.
  protect_data          = false
  log_days              = 7
  agent_silence_minutes = 0

  alarm_emails = var.alarm_emails
  budget_usd   = var.budget_usd
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

output "dashboards_url" {
  value = module.twosec.dashboards_url
}

# Variables of the environment `release` on GitHub.
output "release_variables" {
  value = module.twosec.release_variables
}
