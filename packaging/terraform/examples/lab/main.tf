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

module "twosec" {
  source = "../.."

  agent_package          = var.agent_package
  processor_image_digest = var.processor_image_digest
  dvwa_allowed_cidrs     = ["${var.my_ip}/32"]

  # Dashboards without a VPN: a public address, which lets in yours alone.
  search_in_vpc          = false
  search_allowed_cidrs   = ["${var.my_ip}/32"]
  search_master_password = var.search_master_password

  # A lab is thrown away: `terraform destroy` takes archive and index with it.
  protect_data          = false
  log_days              = 7
  agent_silence_minutes = 0
}

output "next_commands" {
  value = module.twosec.next_commands
}

output "monthly_cost_usd" {
  value = module.twosec.monthly_cost_usd
}

output "dashboards_url" {
  value = module.twosec.dashboards_url
}
