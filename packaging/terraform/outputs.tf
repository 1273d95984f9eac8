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

output "next_commands" {
  description = "What to type next."
  value = join("\n", concat(
    [
      var.search_master_arn == null ? "# 1. Index templates, dashboards, monitors, and the processor's rights in the domain (waits for the password of ${var.search_master_user}):" : "# 1. Index templates, dashboards, monitors, and the processor's rights in the domain, as ${var.search_master_arn}:",
      join(" ", [
        var.search_master_arn == null ? "read -rs TWOSEC_OPENSEARCH_PASSWORD && export TWOSEC_OPENSEARCH_PASSWORD &&" : "AWS_REGION=${local.region}",
        "TWOSEC_OPENSEARCH_URL=${local.search_endpoint} TWOSEC_INDEX_PREFIX=${var.index_prefix}",
        var.search_master_arn == null ? "TWOSEC_OPENSEARCH_AUTH=basic TWOSEC_OPENSEARCH_USER=${var.search_master_user}" : "TWOSEC_OPENSEARCH_AUTH=sigv4",
        "twosec-processor setup --retention-days 90 --dashboards-url ${local.search_endpoint}/_dashboards --writer ${aws_iam_role.processor.arn} --writer ${aws_iam_role.operator.arn} --alerts-to ${aws_sns_topic.alarms.arn} --alerts-role ${aws_iam_role.alerts.arn}",
      ]),
    ],
    var.processor_image_digest != null ? [] : [
      "# 2. The image: build and push it (from the top of the repository), then apply its digest, with the variables of before:",
      "aws ecr get-login-password | skopeo login --username AWS --password-stdin ${split("/", aws_ecr_repository.processor.repository_url)[0]}",
      "packaging/image/build VERSION out arm64=PROGRAM && packaging/image/build --push out ${aws_ecr_repository.processor.repository_url}:VERSION && terraform apply -var processor_image_digest=$(cat out/image.digest)",
    ],
    [
      "# Any other command of the processor, as a task of its own (here: check):",
      join(" ", [
        "aws ecs run-task --cluster ${aws_ecs_cluster.this.name} --launch-type FARGATE --task-definition ${aws_ecs_task_definition.operator.family}",
        "--network-configuration 'awsvpcConfiguration={subnets=[${join(",", local.task_nets)}],securityGroups=[${aws_security_group.processor.id}],assignPublicIp=${local.has_nat ? "DISABLED" : "ENABLED"}}'",
        "--overrides '{\"containerOverrides\":[{\"name\":\"processor\",\"command\":[\"check\"]}]}'",
      ]),
      "# What the processor says:",
      "aws logs tail ${local.processor_log_group} --follow",
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
