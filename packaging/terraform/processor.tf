# The processor on Fargate: its repository, its roles, and the service.

resource "aws_ecr_repository" "processor" {
  name                 = "${var.name}-processor"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.protect_data

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}

# Releases stay: a rollback needs them. What has no tag is a leftover of a push.
resource "aws_ecr_lifecycle_policy" "processor" {
  repository = aws_ecr_repository.processor.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "images of multi-architecture pushes that were replaced"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 180 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
}

resource "aws_cloudwatch_log_group" "processor" {
  name              = local.processor_log_group
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# ---- roles ----------------------------------------------------------------------------------

locals {
  ecs_trust = templatefile("${path.module}/iam/trust-service.json.tftpl", { service = "ecs-tasks.amazonaws.com", account = local.account })
}

# What the processor itself may.
resource "aws_iam_role" "processor" {
  name               = "${var.name}-processor"
  assume_role_policy = local.ecs_trust
}

resource "aws_iam_role_policy" "processor" {
  name   = "processor"
  role   = aws_iam_role.processor.id
  policy = templatefile("${path.module}/iam/processor.json.tftpl", local.policy_values)
}

locals {
  # A setting may be one value of a secret (Amazon ECS, "secrets": ARN:KEY:STAGE:VERSION); what is
  # granted is the secret.
  secrets = distinct([for arn in values(var.processor_secrets) : join(":", slice(split(":", arn), 0, 7))])
}

# What ECS may do to start it: get the image, write its messages, hand it secrets.
resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  assume_role_policy = local.ecs_trust
}

resource "aws_iam_role_policy" "execution" {
  name   = "execution"
  role   = aws_iam_role.execution.id
  policy = templatefile("${path.module}/iam/execution.json.tftpl", merge(local.policy_values, { secrets = local.secrets, parameters = [] }))
}

# What people may who run the processor's other commands (`replay`, `redrive`, `verify`,
# `shards`) as one-off tasks: they read the whole archive and write to the index.
resource "aws_iam_role" "operator" {
  name               = "${var.name}-operator"
  assume_role_policy = local.ecs_trust
}

resource "aws_iam_role_policy" "operator" {
  name   = "operator"
  role   = aws_iam_role.operator.id
  policy = templatefile("${path.module}/iam/operator.json.tftpl", local.policy_values)
}

# ---- the service ----------------------------------------------------------------------------

locals {
  processor_image = var.processor_image_digest == null ? "${aws_ecr_repository.processor.repository_url}:none-yet" : "${aws_ecr_repository.processor.repository_url}@${var.processor_image_digest}"

  processor_environment = merge({
    AWS_REGION            = local.region
    TWOSEC_STREAM         = var.name
    TWOSEC_LEASE_TABLE    = "${var.name}-leases"
    TWOSEC_BUCKET         = local.archive_bucket
    TWOSEC_OPENSEARCH_URL = local.search_endpoint
    TWOSEC_INDEX_PREFIX   = var.index_prefix
    # A line a minute in the log group, of which CloudWatch makes the metrics that alarms look at.
    TWOSEC_EMF = "true"
  }, var.processor_environment)

  # Empty lists are written out: ECS answers with them, and what is left out would look like a
  # change in each plan.
  processor_container = {
    name                   = "processor"
    image                  = local.processor_image
    command                = ["run"]
    essential              = true
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    # SIGTERM: the processor drains, saves its cursors and ends in less than 30 s.
    stopTimeout     = 120
    environment     = [for name in sort(keys(local.processor_environment)) : { name = name, value = local.processor_environment[name] }]
    secrets         = [for name in sort(keys(var.processor_secrets)) : { name = name, valueFrom = var.processor_secrets[name] }]
    mountPoints     = []
    volumesFrom     = []
    portMappings    = []
    systemControls  = []
    linuxParameters = { initProcessEnabled = true, capabilities = { add = [], drop = ["ALL"] } }
    ulimits         = [{ name = "nofile", softLimit = 4096, hardLimit = 4096 }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = local.processor_log_group
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = "processor"
        # A log service that is slow may not stop the processor.
        "mode"            = "non-blocking"
        "max-buffer-size" = "1m"
      }
    }
  }

  # `health` tells whether this task lives, never whether OpenSearch does: or an outage there
  # would end all tasks. The image holds no shell, so the form is CMD.
  processor_health = var.processor_health_check ? {
    healthCheck = { command = ["CMD", "/twosec-processor", "health"], interval = 30, timeout = 5, retries = 3, startPeriod = 30 }
  } : {}
}

resource "aws_ecs_task_definition" "processor" {
  family                   = "${var.name}-processor"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.processor_cpu
  memory                   = var.processor_memory
  task_role_arn            = aws_iam_role.processor.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = jsonencode([merge(local.processor_container, local.processor_health)])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.processor_arch
  }
}

# The same program with the operator's role, for one-off commands. Output `next_commands` shows
# how it is started.
resource "aws_ecs_task_definition" "operator" {
  family                   = "${var.name}-operator"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.processor_cpu
  memory                   = var.processor_memory
  task_role_arn            = aws_iam_role.operator.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = jsonencode([merge(local.processor_container, { command = ["check"] })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.processor_arch
  }
}

resource "aws_ecs_service" "processor" {
  name            = "${var.name}-processor"
  cluster         = aws_ecs_cluster.this.arn
  task_definition = aws_ecs_task_definition.processor.arn
  launch_type     = "FARGATE"
  # Without an image there is nothing to start.
  desired_count                      = var.processor_image_digest == null ? 0 : var.processor_count
  deployment_minimum_healthy_percent = 50
  deployment_maximum_percent         = 200
  enable_execute_command             = false
  propagate_tags                     = "SERVICE"

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = local.task_nets
    security_groups  = [aws_security_group.processor.id]
    assign_public_ip = !local.has_nat
  }

  depends_on = [aws_iam_role_policy.processor, aws_iam_role_policy.execution, aws_cloudwatch_log_group.processor]
}

# ---- autoscaling ----------------------------------------------------------------------------

locals {
  autoscales = var.processor_count_max != null && var.processor_image_digest != null
}

resource "aws_appautoscaling_target" "processor" {
  count              = local.autoscales ? 1 : 0
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.processor.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.processor_count
  max_capacity       = var.processor_count_max
}

resource "aws_appautoscaling_policy" "behind" {
  count              = local.autoscales ? 1 : 0
  name               = "${var.name}-behind"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.processor[0].service_namespace
  resource_id        = aws_appautoscaling_target.processor[0].resource_id
  scalable_dimension = aws_appautoscaling_target.processor[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    # One minute behind is the aim: archive objects are closed at that age, too.
    target_value       = 60000
    scale_out_cooldown = 120
    scale_in_cooldown  = 900

    customized_metric_specification {
      namespace   = "AWS/Kinesis"
      metric_name = local.lag.metric
      statistic   = "Maximum"
      dynamic "dimensions" {
        for_each = local.lag.dimensions
        content {
          name  = dimensions.key
          value = dimensions.value
        }
      }
    }
  }
}
