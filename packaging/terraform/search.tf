# The index: an OpenSearch domain. It is a view that can be rebuilt from the archive.

locals {
  # The processor proves who it is by its role; people by the domain's own users, or their role.
  search_endpoint = "https://${aws_opensearch_domain.this.endpoint}"
}

resource "aws_iam_service_linked_role" "search" {
  count            = var.search_in_vpc && var.search_service_linked_role ? 1 : 0
  aws_service_name = "opensearchservice.amazonaws.com"
}

resource "aws_opensearch_domain" "this" {
  domain_name    = var.name
  engine_version = var.search_engine_version

  cluster_config {
    instance_type            = var.search_instance_type
    instance_count           = var.search_nodes
    zone_awareness_enabled   = var.search_nodes > 1
    dedicated_master_enabled = var.search_dedicated_masters
    dedicated_master_count   = var.search_dedicated_masters ? 3 : null
    dedicated_master_type    = var.search_dedicated_masters ? "m6g.large.search" : null

    dynamic "zone_awareness_config" {
      for_each = var.search_nodes > 1 ? [1] : []
      content {
        availability_zone_count = var.zones
      }
    }
  }

  ebs_options {
    ebs_enabled = true
    volume_type = "gp3"
    volume_size = var.search_disk_gib
  }

  dynamic "vpc_options" {
    for_each = var.search_in_vpc ? [1] : []
    content {
      # A single node stands in a single subnet.
      subnet_ids         = slice(aws_subnet.private[*].id, 0, var.search_nodes > 1 ? var.zones : 1)
      security_group_ids = aws_security_group.search[*].id
    }
  }

  domain_endpoint_options {
    enforce_https       = true
    tls_security_policy = "Policy-Min-TLS-1-2-PFS-2023-10"
  }

  encrypt_at_rest {
    enabled    = true
    kms_key_id = var.kms_key_arn
  }

  node_to_node_encryption {
    enabled = true
  }

  advanced_security_options {
    enabled                        = true
    internal_user_database_enabled = local.has_password

    master_user_options {
      master_user_arn      = local.setup_is_master ? aws_iam_role.setup[0].arn : var.search_master_arn
      master_user_name     = local.has_password ? var.search_master_user : null
      master_user_password = var.search_master_password
    }
  }

  dynamic "log_publishing_options" {
    for_each = toset(["ES_APPLICATION_LOGS", "INDEX_SLOW_LOGS", "SEARCH_SLOW_LOGS", "AUDIT_LOGS"])
    content {
      log_type                 = log_publishing_options.key
      cloudwatch_log_group_arn = aws_cloudwatch_log_group.search.arn
    }
  }

  depends_on = [aws_iam_service_linked_role.search, aws_cloudwatch_log_resource_policy.search]
}

# Apart from the domain: a policy that names roles must come after the roles, and a change of
# it must not look like a change of the domain. In the VPC it names none, for who is named must
# sign, and people log in there by name and password: security groups and the domain's own roles
# decide (OpenSearch Service, "Fine-grained access control").
resource "aws_opensearch_domain_policy" "this" {
  domain_name = aws_opensearch_domain.this.domain_name
  access_policies = templatefile("${path.module}/iam/domain.json.tftpl", {
    domain = local.arn.domain
    roles  = [aws_iam_role.processor.arn, aws_iam_role.operator.arn]
    setup  = local.setup_signs ? aws_iam_role.setup[*].arn : []
    master = var.search_master_arn == null ? "" : var.search_master_arn
    in_vpc = var.search_in_vpc
    cidrs  = var.search_allowed_cidrs
  })
}

resource "aws_cloudwatch_log_group" "search" {
  name              = "/${var.name}/search"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# OpenSearch Service writes into a log group only if the group's own policy lets it.
resource "aws_cloudwatch_log_resource_policy" "search" {
  policy_name = "${var.name}-search"
  policy_document = templatefile("${path.module}/iam/search-logs.json.tftpl", {
    log_group = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/${var.name}/search"
    account   = local.account
    domain    = local.arn.domain
  })
}
