# A budget for the account, and what this module costs by list price.

resource "aws_budgets_budget" "monthly" {
  count        = var.budget_usd > 0 ? 1 : 0
  name         = "${var.name}-monthly"
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  notification {
    comparison_operator        = "GREATER_THAN"
    notification_type          = "ACTUAL"
    threshold                  = 80
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = var.alarm_emails
  }

  notification {
    comparison_operator        = "GREATER_THAN"
    notification_type          = "FORECASTED"
    threshold                  = 100
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = var.alarm_emails
  }
}

locals {
  # USD, us-east-1, on-demand list prices, without free tiers and taxes. Other types than
  # these are not known here, and the estimate says so.
  hours = 730
  price = {
    shard_hour       = 0.015
    on_demand_hour   = 0.04
    vcpu_hour        = { ARM64 = 0.03238, X86_64 = 0.04048 }
    gb_hour          = { ARM64 = 0.00356, X86_64 = 0.004445 }
    nat_hour         = 0.045
    public_ipv4_hour = 0.005
    ebs_gib_month    = 0.08
    search_gib_month = 0.122
    alarm_month      = 0.10
    metric_month     = 0.30
    host_hour        = { "t4g.micro" = 0.0084, "t4g.small" = 0.0168, "t4g.medium" = 0.0336, "t3.micro" = 0.0104, "t3.small" = 0.0208, "t3.medium" = 0.0416 }
    search_hour      = { "t3.small.search" = 0.036, "t3.medium.search" = 0.073, "m6g.large.search" = 0.128, "r6g.large.search" = 0.167 }
  }

  tasks = local.runs ? var.processor_count : 0
  # What is counted of events, and what the processor tells (processor/src/metrics/emf.rs).
  metrics = length(local.events) + (local.tells && local.runs ? 8 : 0)
  costs = {
    stream    = var.stream_shards == 0 ? local.price.on_demand_hour * local.hours : var.stream_shards * local.price.shard_hour * local.hours
    processor = local.tasks * local.hours * (local.price.vcpu_hour[var.processor_arch] * var.processor_cpu / 1024 + local.price.gb_hour[var.processor_arch] * var.processor_memory / 1024)
    search = var.search_nodes * (lookup(local.price.search_hour, var.search_instance_type, 0) * local.hours + var.search_disk_gib * local.price.search_gib_month) + (
      var.search_dedicated_masters ? 3 * local.price.search_hour["m6g.large.search"] * local.hours : 0
    )
    host      = var.host_enabled ? lookup(local.price.host_hour, var.host_instance_type, 0) * local.hours + var.host_disk_gib * local.price.ebs_gib_month : 0
    nat       = local.nat_count * local.price.nat_hour * local.hours
    addresses = local.price.public_ipv4_hour * local.hours * ((var.host_enabled ? 1 : 0) + local.nat_count + (local.has_nat ? 0 : local.tasks))
    alarms    = length(local.alarms) * local.price.alarm_month + local.metrics * local.price.metric_month
  }
  unknown_prices = concat(
    contains(keys(local.price.search_hour), var.search_instance_type) ? [] : [var.search_instance_type],
    !var.host_enabled || contains(keys(local.price.host_hour), var.host_instance_type) ? [] : [var.host_instance_type],
  )
}
