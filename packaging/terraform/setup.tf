# `twosec-processor setup` as a one-off task with a role of its own: it puts templates, roles of the
# security plugin, dashboards and monitors into the domain, also where a laptop cannot reach it.
# Output `next_commands` shows how it is started.

locals {
  has_password = nonsensitive(var.search_master_password != null)

  # A name and a password cannot be signed, so a public domain knows such a call by its address
  # alone, and a task has a new one each time: somebody whom search_allowed_cidrs names sets it up.
  has_setup_task = var.search_in_vpc || !local.has_password
  # With a password, who calls is the password's user, and IAM is not asked.
  setup_signs = local.has_setup_task && !local.has_password
  # The task as the domain's first user. A role or user of your own must let it in first.
  setup_is_master = local.setup_signs && var.search_master_arn == null

  setup_arguments = concat(
    ["setup"],
    var.index_retention_days > 0 ? ["--retention-days", tostring(var.index_retention_days)] : [],
    ["--dashboards-url", "${local.search_endpoint}/_dashboards"],
    ["--writer", aws_iam_role.processor.arn, "--writer", aws_iam_role.operator.arn],
    flatten([for reader in var.search_readers : ["--reader", reader]]),
    ["--alerts-to", aws_sns_topic.alarms.arn, "--alerts-role", aws_iam_role.alerts.arn],
  )
  setup_environment = merge(
    local.processor_environment,
    local.has_password ? { TWOSEC_OPENSEARCH_AUTH = "basic", TWOSEC_OPENSEARCH_USER = var.search_master_user } : { TWOSEC_OPENSEARCH_AUTH = "sigv4" },
  )
  setup_container = merge(local.processor_container, {
    command     = local.setup_arguments
    environment = [for name in sort(keys(local.setup_environment)) : { name = name, value = local.setup_environment[name] }]
    secrets     = [for parameter in aws_ssm_parameter.search_master : { name = "TWOSEC_OPENSEARCH_PASSWORD", valueFrom = parameter.arn }]
  })
}

# ECS hands it to the task; it stands in no task definition and in no command.
resource "aws_ssm_parameter" "search_master" {
  count       = local.has_setup_task && local.has_password ? 1 : 0
  name        = "/${var.name}/search-master-password"
  description = "Password of the first user of the domain ${var.name}"
  type        = "SecureString"
  value       = var.search_master_password
  key_id      = var.kms_key_arn
}

resource "aws_iam_role" "setup" {
  count              = local.has_setup_task ? 1 : 0
  name               = "${var.name}-setup"
  assume_role_policy = local.ecs_trust
}

resource "aws_iam_role_policy" "setup" {
  count  = local.setup_signs ? 1 : 0
  name   = "setup"
  role   = aws_iam_role.setup[0].id
  policy = templatefile("${path.module}/iam/setup.json.tftpl", merge(local.policy_values, { alerts_role = aws_iam_role.alerts.arn }))
}

# Apart from the other tasks' role: that one cannot read the password.
resource "aws_iam_role" "setup_execution" {
  count              = local.has_setup_task ? 1 : 0
  name               = "${var.name}-setup-execution"
  assume_role_policy = local.ecs_trust
}

resource "aws_iam_role_policy" "setup_execution" {
  count  = local.has_setup_task ? 1 : 0
  name   = "setup-execution"
  role   = aws_iam_role.setup_execution[0].id
  policy = templatefile("${path.module}/iam/execution.json.tftpl", merge(local.policy_values, { secrets = [], parameters = aws_ssm_parameter.search_master[*].arn }))
}

resource "aws_ecs_task_definition" "setup" {
  count                    = local.has_setup_task ? 1 : 0
  family                   = "${var.name}-setup"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  task_role_arn            = aws_iam_role.setup[0].arn
  execution_role_arn       = aws_iam_role.setup_execution[0].arn
  container_definitions    = jsonencode([local.setup_container])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.processor_arch
  }
}
