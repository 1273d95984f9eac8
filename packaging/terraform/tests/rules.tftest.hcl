# Rules that must hold whatever is set. The provider is mocked: no account, no network.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_ssm_parameter" {
    defaults = { insecure_value = "ami-0123456789abcdef0" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mock" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:cluster/twosec" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/mock:1" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/twosec-processor" }
  }
  mock_resource "aws_ssm_parameter" {
    defaults = { arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/mock" }
  }
  mock_resource "aws_opensearch_domain" {
    defaults = { endpoint = "search-twosec.eu-central-1.es.amazonaws.com" }
  }
}

variables {
  search_master_password = "Only-4-a-test"
  agent_package          = "tests/package.rpm"
}

run "defaults" {
  command = apply

  # ---- nobody gets in who was not named
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.dvwa) == 0
    error_message = "DVWA is open to nobody by default"
  }
  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the VPC's default security group lets nothing through"
  }
  assert {
    condition = alltrue([
      for bucket in aws_s3_bucket_public_access_block.this :
      bucket.block_public_acls && bucket.block_public_policy && bucket.ignore_public_acls && bucket.restrict_public_buckets
    ])
    error_message = "no bucket can become public"
  }
  assert {
    condition = alltrue([
      for bucket in aws_s3_bucket_policy.tls_only :
      jsondecode(bucket.policy).Statement[0].Effect == "Deny" && jsondecode(bucket.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    ])
    error_message = "buckets are reached by TLS only"
  }
  assert {
    condition     = one(aws_opensearch_domain.this.advanced_security_options).enabled && one(aws_opensearch_domain.this.domain_endpoint_options).enforce_https
    error_message = "the domain asks who calls, and by TLS"
  }
  assert {
    condition     = length(aws_opensearch_domain.this.vpc_options) == 1
    error_message = "the domain stands in the VPC by default"
  }

  # ---- all that is kept is encrypted
  assert {
    condition     = aws_kinesis_stream.this.encryption_type == "KMS"
    error_message = "the stream is encrypted"
  }
  assert {
    condition     = one(aws_opensearch_domain.this.encrypt_at_rest).enabled && one(aws_opensearch_domain.this.node_to_node_encryption).enabled
    error_message = "the domain is encrypted, on its disks and between its nodes"
  }
  assert {
    condition     = aws_instance.host[0].root_block_device[0].encrypted
    error_message = "the host's disk is encrypted"
  }
  assert {
    condition     = length(aws_s3_bucket_server_side_encryption_configuration.this) == 2 && one(aws_ecr_repository.processor.encryption_configuration).encryption_type == "AES256"
    error_message = "both buckets and the repository are encrypted"
  }

  # ---- the host
  assert {
    condition     = aws_instance.host[0].metadata_options[0].http_tokens == "required" && aws_instance.host[0].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "a container on the host cannot get the host's role"
  }
  assert {
    condition     = aws_instance.host[0].key_name == null || aws_instance.host[0].key_name == "" || !can(regex("^key", aws_instance.host[0].key_name))
    error_message = "the host has no SSH key"
  }
  assert {
    condition     = length(aws_instance.host[0].user_data_base64) < 16384
    error_message = "EC2 takes 16 KB of user data"
  }
  assert {
    condition     = strcontains(local.user_data, "export TWOSEC_PACKAGE_SHA256='${filesha256("tests/package.rpm")}'")
    error_message = "the host is told the hash of its package"
  }

  # ---- policies
  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.processor.policy, aws_iam_role_policy.operator.policy, aws_iam_role_policy.execution.policy, aws_iam_role_policy.setup_execution[0].policy, aws_iam_role_policy.alerts.policy] :
      alltrue([for s in jsondecode(policy).Statement : alltrue([for action in flatten([s.Action]) : !strcontains(action, "*")])])
    ])
    error_message = "no policy has a wildcard action"
  }
  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.processor.policy, aws_iam_role_policy.operator.policy, aws_iam_role_policy.execution.policy, aws_iam_role_policy.setup_execution[0].policy, aws_iam_role_policy.alerts.policy] :
      alltrue([for s in jsondecode(policy).Statement : s.Resource != "*" || s.Action == "ecr:GetAuthorizationToken"])
    ])
    error_message = "each statement names its resource; ECR's log-in alone knows none"
  }
  assert {
    condition = !anytrue([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.processor.policy, aws_iam_role_policy.operator.policy] :
      anytrue([for s in jsondecode(policy).Statement : anytrue([for action in flatten([s.Action]) : startswith(action, "s3:Delete")])])
    ])
    error_message = "nobody deletes from the archive"
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.alerts.policy).Statement[*].Action == ["sns:Publish"] && jsondecode(aws_iam_role.alerts.assume_role_policy).Statement[*].Principal == [{ Service = "es.amazonaws.com" }]
    error_message = "the domain may tell the topic of alarms, and nothing else"
  }
  assert {
    condition     = toset(flatten([for s in jsondecode(aws_iam_role_policy.agent.policy).Statement : s.Action])) == toset(["kinesis:ListShards", "kinesis:PutRecords", "s3:GetObject"])
    error_message = "the agent writes one stream and fetches its package and databases"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.agent.policy).Statement : s.Resource if s.Sid == "Install"]) == [
      for folder in ["agent", "release"] : "arn:aws:s3:::twosec-artifacts-123456789012-eu-central-1/${folder}/*"
    ]
    error_message = "a host fetches what Terraform put there and what a release published, and nothing else"
  }

  # ---- the domain's set-up, as a task
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.setup[0].container_definitions)[0].secrets == [{ name = "TWOSEC_OPENSEARCH_PASSWORD", valueFrom = "arn:aws:ssm:eu-central-1:123456789012:parameter/mock" }]
      && !strcontains(nonsensitive(aws_ecs_task_definition.setup[0].container_definitions), var.search_master_password)
      && !strcontains(nonsensitive(output.next_commands), var.search_master_password)
      && aws_ssm_parameter.search_master[0].type == "SecureString"
    )
    error_message = "the password comes to the task from an encrypted parameter, and stands in no task definition and no command"
  }
  assert {
    condition     = length(aws_iam_role_policy.setup) == 0
    error_message = "who calls by name and password needs no right of IAM"
  }
  assert {
    condition = (
      contains(flatten([for s in jsondecode(aws_iam_role_policy.setup_execution[0].policy).Statement : s.Action]), "ssm:GetParameters")
      && !contains(flatten([for s in jsondecode(aws_iam_role_policy.execution.policy).Statement : s.Action]), "ssm:GetParameters")
    )
    error_message = "the password is handed to the task that sets up the domain, and to no other"
  }
  assert {
    condition = jsondecode(aws_ecs_task_definition.setup[0].container_definitions)[0].command == [
      "setup", "--retention-days", "90", "--dashboards-url", "https://search-twosec.eu-central-1.es.amazonaws.com/_dashboards",
      "--writer", "arn:aws:iam::123456789012:role/mock", "--writer", "arn:aws:iam::123456789012:role/mock",
      "--alerts-to", "arn:aws:sns:eu-central-1:123456789012:mock", "--alerts-role", "arn:aws:iam::123456789012:role/mock",
    ]
    error_message = "the task sets up all of it"
  }
  assert {
    condition     = strcontains(output.next_commands, "aws ecs run-task --region eu-central-1 --cluster twosec ") && strcontains(output.next_commands, "--task-definition twosec-setup\n") && !strcontains(output.next_commands, "TWOSEC_OPENSEARCH_PASSWORD")
    error_message = "a domain in the VPC is set up by a task: a laptop does not reach it"
  }
  assert {
    condition = strcontains(output.next_commands, join("\n", [
      "\"$top\"/packaging/image/build VERSION \"$top\"/out arm64=PROGRAM &&",
      "\"$top\"/packaging/image/build --push \"$top\"/out 123456789012.dkr.ecr.eu-central-1.amazonaws.com/twosec-processor:VERSION &&",
      "echo \"processor_image_digest = \\\"$(cat \"$top\"/out/image.digest)\\\"\" > image.auto.tfvars && terraform apply",
    ])) && strcontains(output.next_commands, "\ntop=$(git rev-parse --show-toplevel)\n")
    error_message = "the image is built and pushed from Terraform's folder, and its digest kept for later applies"
  }
  assert {
    condition     = output.processor_image_digest == null
    error_message = "no digest is applied"
  }
  assert {
    condition     = [for s in jsondecode(aws_opensearch_domain_policy.this.access_policies).Statement : s.Principal.AWS] == ["*"]
    error_message = "in the VPC nobody must sign who has a name and a password: security groups and the domain's own users decide"
  }

  # ---- the task
  assert {
    condition = alltrue([
      for c in jsondecode(aws_ecs_task_definition.processor.container_definitions) :
      c.readonlyRootFilesystem && c.user == "65532:65532" && c.linuxParameters.capabilities.drop == ["ALL"] && !can(c.privileged)
    ])
    error_message = "the task is nobody, writes nothing and has no capability"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].healthCheck.command == ["CMD", "/twosec-processor", "health"]
    error_message = "ECS asks a task whether it lives, and needs no shell for it"
  }
  assert {
    condition     = !can(jsondecode(aws_ecs_task_definition.operator.container_definitions)[0].healthCheck)
    error_message = "a command that runs once has nobody to ask"
  }
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].environment, { name = "TWOSEC_EMF", value = "true" })
    error_message = "the processor tells CloudWatch its metrics"
  }
  assert {
    condition = {
      for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.namespace} ${alarm.metric_name} ${alarm.threshold}"
      if contains(["index-behind", "index-refuses", "documents-refused"], name)
      } == {
      index-behind      = "twosec IndexLag 900"
      index-refuses     = "twosec IndexRefuses 0"
      documents-refused = "twosec DeadLetters 100"
    }
    error_message = "what the processor tells is watched, in the namespace of the stream's name"
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_event_rule.this["tasks-ended"].event_pattern).detail["$or"]) == 2
    error_message = "a task that is ended because it was stuck counts as a restart"
  }
  assert {
    condition     = aws_ecs_service.processor.desired_count == 0
    error_message = "without a digest no task runs"
  }
  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "no-task")
    error_message = "without a digest nobody is told that no task runs"
  }
  assert {
    condition     = length(aws_eip.nat) == 0 && one(aws_ecs_service.processor.network_configuration).assign_public_ip
    error_message = "without NAT, tasks have public addresses"
  }
  assert {
    condition     = length(aws_iam_role.release) == 0 && length(aws_iam_openid_connect_provider.github) == 0
    error_message = "no role for GitHub unless asked for"
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : strcontains(alarm.alarm_description, "runbook.md#")])
    error_message = "each alarm names its page in the runbook"
  }
}

run "with_everything" {
  command = apply
  variables {
    kms_key_arn                   = "arn:aws:kms:eu-central-1:123456789012:key/0f0f0f0f-0000-4000-8000-000000000000"
    zones                         = 3
    nat                           = "per_az"
    search_nodes                  = 3
    flow_log_days                 = 30
    archive_lock_days             = 30
    archive_deep_days             = 200
    archive_expire_days           = 400
    search_readers                = ["arn:aws:iam::123456789012:role/analysts"]
    dvwa_allowed_cidrs            = ["198.51.100.7/32"]
    processor_image_digest        = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    processor_count               = 2
    processor_count_max           = 4
    processor_secrets             = { TWOSEC_REDACT_KEY = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mask-AbCdEf" }
    github_repository             = "2sec/2sec"
    deploy_state                  = { bucket = "states", key = "twosec.tfstate" }
    deploy_policy_arns            = ["arn:aws:iam::123456789012:policy/more"]
    alarm_emails                  = ["soc@example.com"]
    budget_usd                    = 300
    search_client_security_groups = ["sg-0123456789abcdef0"]
  }

  assert {
    condition     = strcontains(join(" ", jsondecode(aws_ecs_task_definition.setup[0].container_definitions)[0].command), " --reader arn:aws:iam::123456789012:role/analysts --alerts-to ")
    error_message = "the set-up lets in who may look"
  }
  assert {
    condition     = jsondecode(aws_iam_role.release[0].assume_role_policy).Statement[0].Condition == { StringEquals = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:2sec/2sec:environment:release" } }
    error_message = "only this repository in this environment may release, word for word"
  }
  assert {
    condition = alltrue([
      for s in jsondecode(aws_iam_role_policy.release[0].policy).Statement :
      alltrue([for action in flatten([s.Action]) : !strcontains(action, "*")]) && (s.Resource != "*" || s.Action == "ecr:GetAuthorizationToken")
    ])
    error_message = "the release role has no wildcard, and each of its statements names its resource"
  }
  assert {
    condition = (
      aws_iam_role.deploy[0].assume_role_policy == aws_iam_role.release[0].assume_role_policy
      && alltrue([for s in jsondecode(aws_iam_role_policy.deploy[0].policy).Statement : alltrue([for action in flatten([s.Action]) : !strcontains(action, "*")])])
      && { for s in jsondecode(aws_iam_role_policy.deploy[0].policy).Statement : s.Sid => s.Resource if contains(["FindState", "KeepState", "LockState", "RunIt"], s.Sid) } == {
        FindState = "arn:aws:s3:::states"
        KeepState = "arn:aws:s3:::states/twosec.tfstate"
        LockState = "arn:aws:s3:::states/twosec.tfstate.tflock"
        RunIt     = "arn:aws:ecs:eu-central-1:123456789012:service/twosec/twosec-processor"
      }
    )
    error_message = "only this repository may deploy: the service's new image, with the state in its place"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.deploy[0].policy).Statement : s if s.Sid == "AsWhomTasksRun"]) == {
      Sid       = "AsWhomTasksRun"
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = [for role in ["processor", "execution", "operator", "setup", "setup-execution"] : "arn:aws:iam::123456789012:role/twosec-${role}"]
      Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
    }
    error_message = "who deploys hands the roles of tasks to ECS, and no role to anybody else"
  }
  assert {
    condition = !anytrue([
      for action in flatten([for s in jsondecode(aws_iam_role_policy.deploy[0].policy).Statement : s.Action if !contains(["KeepState", "LockState", "WatchTasks", "NameTheImage", "RunIt", "AsWhomTasksRun"], s.Sid)]) :
      !can(regex("^[a-z0-9-]+:(Describe|Get|List|View|Deregister|Decrypt)", replace(action, "kms:GenerateDataKey", "kms:Decrypt")))
    ])
    error_message = "all else that it may is to read"
  }
  assert {
    condition     = output.release_variables.AWS_DEPLOY_ROLE == aws_iam_role.deploy[0].arn && output.release_variables.REPOSITORY == aws_ecr_repository.processor.repository_url
    error_message = "what the workflow wants to know is put out"
  }
  assert {
    condition     = alltrue([for bucket in aws_s3_bucket_server_side_encryption_configuration.this : one(one(bucket.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"])
    error_message = "with a key of one's own, both buckets are encrypted with it"
  }
  assert {
    condition     = output.processor_image_digest == var.processor_image_digest && !strcontains(output.next_commands, "image.auto.tfvars")
    error_message = "what is applied now is put out, and nobody is told to apply it again"
  }
  assert {
    condition     = endswith(jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].image, "@sha256:0000000000000000000000000000000000000000000000000000000000000000")
    error_message = "the image is named by its digest"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].healthCheck.command == ["CMD", "/twosec-processor", "health"]
    error_message = "the health check needs no shell, whatever else is set"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].secrets == [{ name = "TWOSEC_REDACT_KEY", valueFrom = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mask-AbCdEf" }]
    error_message = "secrets come from Secrets Manager"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && !one(aws_ecs_service.processor.network_configuration).assign_public_ip
    error_message = "with NAT, tasks have no public address"
  }
  assert {
    condition     = aws_ecs_service.processor.desired_count == 2 && contains(keys(aws_cloudwatch_metric_alarm.this), "no-task")
    error_message = "with a digest, the tasks run and are watched"
  }
  assert {
    condition     = aws_kinesis_stream.this.kms_key_id == var.kms_key_arn && aws_dynamodb_table.leases.server_side_encryption[0].kms_key_arn == var.kms_key_arn && aws_sns_topic.alarms.kms_master_key_id == var.kms_key_arn
    error_message = "a key of one's own is used"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["behind"].metric_name == "GetRecords.IteratorAgeMilliseconds"
      && one(one(aws_appautoscaling_policy.behind[0].target_tracking_scaling_policy_configuration).customized_metric_specification).metric_name == "GetRecords.IteratorAgeMilliseconds"
    )
    error_message = "without a consumer of its own the processor is watched by the age of what it gets"
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.dvwa : rule.cidr_ipv4] == ["198.51.100.7/32"]
    error_message = "DVWA is open to whom it was opened for"
  }
}

run "without_a_password_the_task_is_the_domains_first_user" {
  command = apply
  variables {
    search_master_password = null
    search_in_vpc          = false
  }
  assert {
    condition = (
      one(one(aws_opensearch_domain.this.advanced_security_options).master_user_options).master_user_arn == aws_iam_role.setup[0].arn
      && !one(aws_opensearch_domain.this.advanced_security_options).internal_user_database_enabled
    )
    error_message = "the role of the set-up is the domain's master, and the domain has no users of its own"
  }
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.setup[0].container_definitions)[0].environment, { name = "TWOSEC_OPENSEARCH_AUTH", value = "sigv4" }) && jsondecode(aws_ecs_task_definition.setup[0].container_definitions)[0].secrets == [] && length(aws_ssm_parameter.search_master) == 0
    error_message = "it signs, and there is no password"
  }
  assert {
    condition = { for s in jsondecode(aws_opensearch_domain_policy.this.access_policies).Statement : s.Sid => s.Action } == {
      SetUp = ["es:ESHttpGet", "es:ESHttpPost", "es:ESHttpPut"]
      Roles = "es:ESHttpPost"
    }
    error_message = "a public domain lets in who signs: the set-up, and the processor's roles for _bulk alone"
  }
  assert {
    condition = { for s in jsondecode(aws_iam_role_policy.setup[0].policy).Statement : s.Sid => s.Resource } == {
      SetUp               = "arn:aws:es:eu-central-1:123456789012:domain/twosec/*"
      NameTheRoleOfAlerts = "arn:aws:iam::123456789012:role/mock"
    }
    error_message = "the set-up may call the domain, hand it the role of alerts, and nothing else"
  }
  assert {
    condition     = strcontains(output.next_commands, "--task-definition twosec-setup")
    error_message = "it is set up by the task"
  }
}

run "a_master_of_ones_own_lets_the_task_in" {
  command = apply
  variables {
    search_master_password = null
    search_master_arn      = "arn:aws:iam::123456789012:role/admin"
  }
  assert {
    condition     = one(one(aws_opensearch_domain.this.advanced_security_options).master_user_options).master_user_arn == "arn:aws:iam::123456789012:role/admin"
    error_message = "the domain's master is who was named"
  }
  assert {
    condition     = strcontains(output.next_commands, "# arn:aws:iam::123456789012:role/admin lets in arn:aws:iam::123456789012:role/twosec-setup, once") && strcontains(output.next_commands, "--task-definition twosec-setup")
    error_message = "and is told to let in the task"
  }
}

run "a_public_domain_with_a_password_is_set_up_from_a_named_network" {
  command = apply
  variables {
    search_in_vpc        = false
    search_allowed_cidrs = ["198.51.100.0/24"]
    index_retention_days = 0
  }
  assert {
    condition     = length(aws_ecs_task_definition.setup) == 0 && length(aws_iam_role.setup) == 0 && length(aws_ssm_parameter.search_master) == 0
    error_message = "no task, no role and no copy of the password are made for nothing"
  }
  assert {
    condition     = strcontains(output.next_commands, "TWOSEC_OPENSEARCH_USER=twosec-admin twosec-processor setup --dashboards-url https://search-twosec") && !strcontains(output.next_commands, "twosec-setup")
    error_message = "the command asks for the password, and nothing deletes indices where retention is 0"
  }
}

run "the_whole_internet_must_be_asked_for" {
  command = plan
  variables {
    dvwa_allowed_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.dvwa_allowed_cidrs]
}

run "two_halves_are_the_whole_internet" {
  command = plan
  variables {
    dvwa_allowed_cidrs   = ["0.0.0.0/1", "128.0.0.0/1"]
    search_in_vpc        = false
    search_allowed_cidrs = ["11.0.0.0/7"]
  }
  expect_failures = [var.dvwa_allowed_cidrs, var.search_allowed_cidrs]
}

run "networks_are_of_ipv4" {
  command = plan
  variables {
    dvwa_allowed_cidrs   = ["2001:db8::/64"]
    search_in_vpc        = false
    search_allowed_cidrs = ["2001:db8::/64"]
  }
  expect_failures = [var.dvwa_allowed_cidrs, var.search_allowed_cidrs]
}

run "a_provider_of_ones_own_can_be_let_in" {
  command = plan
  variables {
    dvwa_allowed_cidrs   = ["11.0.0.0/8"]
    search_in_vpc        = false
    search_allowed_cidrs = ["11.0.0.0/8"]
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.dvwa["11.0.0.0/8"].cidr_ipv4 == "11.0.0.0/8"
    error_message = "a /8 is the largest network that is taken"
  }
}

run "the_whole_internet_can_be_asked_for" {
  command = plan
  variables {
    dvwa_allowed_cidrs     = ["0.0.0.0/0"]
    dvwa_open_to_the_world = true
  }
}

run "geoip_databases_lie_where_the_host_may_read" {
  command = plan
  variables {
    geoip_files = ["tests/asn.mmdb"]
  }
  assert {
    condition     = aws_s3_object.geoip["asn.mmdb"].key == "agent/geoip/asn.mmdb" && strcontains(local.user_data, "export TWOSEC_GEOIP='s3://${local.artifacts_bucket}/agent/geoip/asn.mmdb'")
    error_message = "the host fetches what was put there, with the rights that it has for its package"
  }
}

run "images_that_are_named_by_tag_are_told_of" {
  command = plan
  variables {
    dvwa_image = "ghcr.io/digininja/dvwa:latest"
  }
  expect_failures = [check.images_are_pinned]
}

run "a_domain_is_never_open_to_all" {
  command = plan
  variables {
    search_in_vpc        = false
    search_allowed_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.search_allowed_cidrs]
}

run "secrets_are_no_plain_settings" {
  command = plan
  variables {
    processor_environment = { TWOSEC_REDACT_KEY = "00" }
  }
  expect_failures = [var.processor_environment]
}

run "a_part_of_a_secret_is_handed_by_the_whole" {
  command = apply
  variables {
    processor_secrets = { TWOSEC_REDACT_KEY = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mask-AbCdEf:key::" }
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].secrets[0].valueFrom == "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mask-AbCdEf:key::"
      && one([for s in jsondecode(aws_iam_role_policy.execution.policy).Statement : s.Resource if s.Sid == "HandSecrets"]) == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:mask-AbCdEf"]
    )
    error_message = "ECS gets the secret and takes the part"
  }
}

run "a_consumer_of_its_own_is_watched_by_its_own_metric" {
  command = apply
  variables {
    processor_image_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    processor_count_max    = 2
    processor_environment  = { TWOSEC_FAN_OUT_CONSUMER = "processor" }
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["behind"].metric_name == "SubscribeToShardEvent.MillisBehindLatest"
      && aws_cloudwatch_metric_alarm.this["behind"].dimensions == tomap({ StreamName = "twosec", ConsumerName = "processor" })
    )
    error_message = "by enhanced fan-out nobody calls GetRecords, whose metric then stays empty"
  }
  assert {
    condition = one(one(aws_appautoscaling_policy.behind[0].target_tracking_scaling_policy_configuration).customized_metric_specification).metric_name == "SubscribeToShardEvent.MillisBehindLatest" && {
      for d in one(one(aws_appautoscaling_policy.behind[0].target_tracking_scaling_policy_configuration).customized_metric_specification).dimensions : d.name => d.value
    } == { StreamName = "twosec", ConsumerName = "processor" }
    error_message = "autoscaling looks at the same metric"
  }
}

run "metrics_can_be_switched_off_and_their_alarms_with_them" {
  command = apply
  variables {
    processor_health_check = false
    processor_environment  = { TWOSEC_EMF = "false", TWOSEC_HTTP_LISTEN = "off" }
  }
  assert {
    condition     = length(setintersection(keys(aws_cloudwatch_metric_alarm.this), ["index-behind", "index-refuses", "documents-refused"])) == 0
    error_message = "no alarm waits for a metric that nobody tells"
  }
  assert {
    condition     = !can(jsondecode(aws_ecs_task_definition.processor.container_definitions)[0].healthCheck)
    error_message = "without somebody who answers nobody is asked"
  }
}

run "a_health_check_needs_somebody_who_answers" {
  command = plan
  variables {
    processor_environment = { TWOSEC_HTTP_LISTEN = "off" }
  }
  expect_failures = [var.processor_health_check]
}

run "the_domain_has_one_first_user" {
  command = plan
  variables {
    search_master_arn = "arn:aws:iam::123456789012:role/admin"
  }
  expect_failures = [var.search_master_password]
}

run "a_session_is_nobody_who_stays" {
  command = plan
  variables {
    search_master_password = null
    search_master_arn      = "arn:aws:sts::123456789012:assumed-role/admin/me"
  }
  expect_failures = [var.search_master_arn]
}

run "a_users_name_ends_before_a_colon" {
  command = plan
  variables {
    search_master_user = "admin:"
  }
  expect_failures = [var.search_master_user]
}

run "a_name_is_no_security_group" {
  command = plan
  variables {
    search_client_security_groups = ["vpn"]
  }
  expect_failures = [var.search_client_security_groups]
}

run "the_name_of_an_image_is_no_id" {
  command = plan
  variables {
    host_ami = "debian-12"
  }
  expect_failures = [var.host_ami]
}

run "the_provider_is_githubs" {
  command = plan
  variables {
    github_repository        = "2sec/2sec"
    github_oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com.example.com"
  }
  expect_failures = [var.github_oidc_provider_arn]
}

run "an_index_is_packed_before_it_is_deleted" {
  command = plan
  variables {
    index_retention_days = 3
  }
  expect_failures = [var.index_retention_days]
}

run "the_place_of_the_state_is_one_object" {
  command = plan
  variables {
    github_repository = "2sec/2sec"
    deploy_state      = { bucket = "states", key = "*" }
  }
  expect_failures = [var.deploy_state]
}

run "nobody_deploys_from_nowhere" {
  command = plan
  variables {
    deploy_state       = { bucket = "states", key = "twosec.tfstate" }
    deploy_policy_arns = ["arn:aws:iam::123456789012:policy/deploy"]
  }
  expect_failures = [var.deploy_state, var.deploy_policy_arns]
}

run "a_policy_is_named_by_its_arn" {
  command = plan
  variables {
    github_repository  = "2sec/2sec"
    deploy_policy_arns = ["AdministratorAccess"]
  }
  expect_failures = [var.deploy_policy_arns]
}

run "a_weak_password_is_refused" {
  command = plan
  variables {
    search_master_password = "password"
  }
  expect_failures = [var.search_master_password]
}

run "type_and_architecture_fit" {
  command = plan
  variables {
    host_instance_type = "t3.small"
  }
  expect_failures = [var.host_instance_type]
}

run "a_host_needs_the_package" {
  command = plan
  variables {
    agent_package = null
  }
  expect_failures = [var.agent_package]
}

run "a_digest_is_a_digest" {
  command = plan
  variables {
    processor_image_digest = "latest"
  }
  expect_failures = [var.processor_image_digest]
}

run "a_pattern_of_repositories_is_refused" {
  command = plan
  variables {
    github_repository = "2sec/*"
  }
  expect_failures = [var.github_repository]
}

run "memory_fits_the_cpu" {
  command = plan
  variables {
    processor_cpu    = 1024
    processor_memory = 512
  }
  expect_failures = [var.processor_memory]
}

run "a_budget_tells_somebody" {
  command = plan
  variables {
    budget_usd = 100
  }
  expect_failures = [var.budget_usd]
}

run "nodes_are_spread_evenly" {
  command = plan
  variables {
    search_nodes = 3
  }
  expect_failures = [var.search_nodes]
}

# The sums stand in packaging/docs/sizing.md.
run "the_lab_costs_what_the_docs_say" {
  command = plan
  variables {
    search_in_vpc          = false
    processor_image_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    agent_silence_minutes  = 0
  }
  assert {
    condition     = output.monthly_cost_usd.sum == "72.34"
    error_message = "the lab costs ${output.monthly_cost_usd.sum}, and not 72.34"
  }
}

run "production_costs_what_the_docs_say" {
  command = plan
  variables {
    zones                    = 3
    nat                      = "per_az"
    stream_shards            = 2
    search_nodes             = 3
    search_instance_type     = "r6g.large.search"
    search_disk_gib          = 100
    search_dedicated_masters = true
    host_enabled             = false
    agent_package            = null
    processor_count          = 2
    processor_image_digest   = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
  assert {
    condition     = output.monthly_cost_usd.sum == "832.87"
    error_message = "production costs ${output.monthly_cost_usd.sum}, and not 832.87"
  }
}
