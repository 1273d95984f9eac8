output "stream" {
  description = "Name of the Kinesis stream: `stream.name` of the agent, TWOSEC_STREAM of the processor."
  value       = aws_kinesis_stream.this.name
}

output "lease_table" {
  description = "TWOSEC_LEASE_TABLE of the processor."
  value       = aws_dynamodb_table.leases.name
}

output "bucket" {
  description = "TWOSEC_BUCKET of the processor: the archive."
  value       = aws_s3_bucket.archive.bucket
}

output "artifacts_bucket" {
  description = "Where packages lie for hosts to fetch."
  value       = aws_s3_bucket.artifacts.bucket
}

output "opensearch_url" {
  description = "TWOSEC_OPENSEARCH_URL of the processor."
  value       = local.search_endpoint
}

output "dashboards_url" {
  description = "OpenSearch Dashboards."
  value       = "${local.search_endpoint}/_dashboards"
}

output "repository" {
  description = "Where the processor's image is pushed."
  value       = aws_ecr_repository.processor.repository_url
}

output "processor_image_digest" {
  description = "Digest of the image that is applied now, also where a release workflow applied it; null where none is."
  value       = var.processor_image_digest
}

output "agent_policy" {
  description = "What a host of your own may: attach it to its role."
  value       = local.agent_policy
}

output "agent_role" {
  description = "The role of the host with the agent."
  value       = aws_iam_role.agent.arn
}

output "processor_role" {
  description = "The role of the tasks; the domain must know it (`twosec-processor setup --writer`)."
  value       = aws_iam_role.processor.arn
}

output "operator_role" {
  description = "The role of one-off tasks."
  value       = aws_iam_role.operator.arn
}

output "setup_role" {
  description = "The role of the task that sets up the domain; null for a public domain with a password, which a person sets up."
  value       = one(aws_iam_role.setup[*].arn)
}

output "alerts_role" {
  description = "The role with which the domain tells the topic of alarms what its own monitors find (`twosec-processor setup --alerts-role`). Whoever sets that up by an IAM role must be allowed `iam:PassRole` on it."
  value       = aws_iam_role.alerts.arn
}

output "release_role" {
  description = "AWS_RELEASE_ROLE of the release workflow."
  value       = one(aws_iam_role.release[*].arn)
}

output "deploy_role" {
  description = "AWS_DEPLOY_ROLE of the release workflow."
  value       = one(aws_iam_role.deploy[*].arn)
}

output "release_variables" {
  description = "What the release workflow wants to know: variables of its environment on GitHub."
  value = local.has_ci ? {
    AWS_REGION       = local.region
    AWS_RELEASE_ROLE = aws_iam_role.release[0].arn
    AWS_DEPLOY_ROLE  = one(aws_iam_role.deploy[*].arn)
    REPOSITORY       = aws_ecr_repository.processor.repository_url
    ARTIFACTS_BUCKET = aws_s3_bucket.artifacts.bucket
  } : null
}

output "host_instance" {
  description = "The host with DVWA."
  value       = one(aws_instance.host[*].id)
}

output "monthly_cost_usd" {
  description = "Estimate by list price in us-east-1, without traffic, requests, log volume and archive: 30 GB of logs a month add less than a dollar."
  value = merge(
    { for part, usd in local.costs : part => format("%.2f", usd) },
    { sum = format("%.2f", sum(values(local.costs))) },
    length(local.unknown_prices) == 0 ? {} : { without = join(", ", local.unknown_prices) },
  )
}

locals {
  # A task of its own, in the network of the service's tasks.
  run_task = join(" ", [
    "aws ecs run-task --region ${local.region} --cluster ${aws_ecs_cluster.this.name} --launch-type FARGATE",
    "--network-configuration 'awsvpcConfiguration={subnets=[${join(",", local.task_nets)}],securityGroups=[${aws_security_group.processor.id}],assignPublicIp=${local.has_nat ? "DISABLED" : "ENABLED"}}'",
  ])

  what_setup_puts = "# Index templates, dashboards, monitors, and the processor's rights in the domain"
  push_image = var.processor_image_digest != null ? [] : [
    "# The image: build and push it, then apply its digest, with the variables of before. It is kept in a file that later applies read: one without a digest would stop the processor.",
    "top=$(git rev-parse --show-toplevel)",
    "aws ecr get-login-password --region ${local.region} | skopeo login --username AWS --password-stdin ${split("/", aws_ecr_repository.processor.repository_url)[0]}",
    # A line that ends with && goes on in the next one: what was not pushed is not applied.
    "\"$top\"/packaging/image/build VERSION \"$top\"/out ${var.processor_arch == "ARM64" ? "arm64" : "amd64"}=PROGRAM &&",
    "\"$top\"/packaging/image/build --push \"$top\"/out ${aws_ecr_repository.processor.repository_url}:VERSION &&",
    "echo \"processor_image_digest = \\\"$(cat \"$top\"/out/image.digest)\\\"\" > image.auto.tfvars && terraform apply",
  ]
  # The task is the image's, so the image comes first.
  set_up_by_task = concat(
    local.push_image,
    local.setup_signs && !local.setup_is_master ? [
      "# ${coalesce(var.search_master_arn, "-")} lets in ${local.arn.role}-setup, once: in Dashboards under Security, Roles, as a backend role of all_access and of security_manager.",
    ] : [],
    ["${local.what_setup_puts}, by a task of its own:", "${local.run_task} --task-definition ${var.name}-setup"],
  )
  set_up_from_here = concat(
    [
      "${local.what_setup_puts} (waits for the password of ${var.search_master_user}):",
      join(" ", [
        "read -rs TWOSEC_OPENSEARCH_PASSWORD && export TWOSEC_OPENSEARCH_PASSWORD &&",
        "TWOSEC_OPENSEARCH_URL=${local.search_endpoint} TWOSEC_INDEX_PREFIX=${var.index_prefix}",
        "TWOSEC_OPENSEARCH_AUTH=basic TWOSEC_OPENSEARCH_USER=${var.search_master_user}",
        "twosec-processor ${join(" ", local.setup_arguments)}",
      ]),
    ],
    local.push_image,
  )
}

output "next_commands" {
  description = "What to type next."
  value = join("\n", concat(
    local.has_setup_task ? local.set_up_by_task : local.set_up_from_here,
    [
      "# Any other command of the processor, as a task of its own (here: check):",
      "${local.run_task} --task-definition ${aws_ecs_task_definition.operator.family} --overrides '{\"containerOverrides\":[{\"name\":\"processor\",\"command\":[\"check\"]}]}'",
      "# What the processor says:",
      "aws logs tail ${local.processor_log_group} --region ${local.region} --follow",
    ],
    var.host_enabled ? [
      "# How the host's installation went, and a shell on it:",
      "aws ec2 get-console-output --latest --instance-id ${aws_instance.host[0].id} --output text | grep TWOSEC-USERDATA",
      "aws ssm start-session --target ${aws_instance.host[0].id}",
      "# DVWA for those whom dvwa_allowed_cidrs names: http://${aws_instance.host[0].public_ip}/. For everybody else who may use Session Manager, on http://localhost:8080:",
      "aws ssm start-session --target ${aws_instance.host[0].id} --document-name AWS-StartPortForwardingSession --parameters portNumber=80,localPortNumber=8080",
    ] : [],
  ))
}
