# What somebody must be told. Each alarm has its page in packaging/docs/runbook.md: what it
# means, where to look, what helps.

resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
  # AWS's own key (alias/aws/sns) would keep CloudWatch's alarms out.
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = templatefile("${path.module}/iam/topic.json.tftpl", { topic = aws_sns_topic.alarms.arn, account = local.account })
}

# As whom the domain tells the topic what its own monitors find (`twosec-processor setup
# --alerts-to`). OpenSearch Service takes the role itself, as es.amazonaws.com, and names no
# account with it.
resource "aws_iam_role" "alerts" {
  name               = "${var.name}-alerts"
  assume_role_policy = templatefile("${path.module}/iam/trust-service.json.tftpl", { service = "es.amazonaws.com", account = "" })
}

resource "aws_iam_role_policy" "alerts" {
  name   = "alerts"
  role   = aws_iam_role.alerts.id
  policy = templatefile("${path.module}/iam/alerts.json.tftpl", merge(local.policy_values, { topic = aws_sns_topic.alarms.arn, region = local.region }))
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

locals {
  stream_dimensions = { StreamName = var.name }
  # Kinesis tells how far behind a reader is by another metric when it subscribes than when it asks
  # (Amazon Kinesis Data Streams, "Basic stream-level metrics").
  lag = local.policy_values.consumer == "" ? {
    metric     = "GetRecords.IteratorAgeMilliseconds"
    dimensions = tomap(local.stream_dimensions)
    } : {
    metric     = "SubscribeToShardEvent.MillisBehindLatest"
    dimensions = tomap(merge(local.stream_dimensions, { ConsumerName = local.policy_values.consumer }))
  }
  domain_dimensions = { DomainName = var.name, ClientId = local.account }
  # A service without an image runs nothing, and nobody need be woken for that.
  runs = var.processor_image_digest != null && var.processor_count > 0
  # Whoever switches the processor's metrics off has no alarms on them, either.
  tells = local.processor_environment["TWOSEC_EMF"] == "true"

  alarms = merge(
    {
      behind = {
        about      = "The processor is more than ${var.iterator_age_minutes} minutes behind the stream."
        namespace  = "AWS/Kinesis", metric = local.lag.metric, dimensions = local.lag.dimensions
        statistic  = "Maximum", period = 60, periods = 5, comparison = "GreaterThanThreshold", threshold = var.iterator_age_minutes * 60000
        if_missing = "notBreaching"
      }
      throttled = {
        about      = "The stream refuses records: it has too few shards. Nothing is lost, agents keep them and send them again."
        namespace  = "AWS/Kinesis", metric = "WriteProvisionedThroughputExceeded", dimensions = local.stream_dimensions
        statistic  = "Sum", period = 300, periods = 3, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
      dead-letters = {
        about      = "Something could not be read or indexed, and lies under dead-letter/ in the archive."
        namespace  = var.name, metric = "DeadLetterObjects", dimensions = {}
        statistic  = "Sum", period = 300, periods = 1, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
      task-restarts = {
        about      = "Tasks of the processor ended by themselves, or could not start, three times in a quarter of an hour."
        namespace  = var.name, metric = "TasksEnded", dimensions = {}
        statistic  = "Sum", period = 900, periods = 1, comparison = "GreaterThanOrEqualToThreshold", threshold = 3
        if_missing = "notBreaching"
      }
      disk = {
        about      = "A node of the domain has less than a fifth of its disk left."
        namespace  = "AWS/ES", metric = "FreeStorageSpace", dimensions = local.domain_dimensions
        statistic  = "Minimum", period = 300, periods = 3, comparison = "LessThanThreshold", threshold = floor(var.search_disk_gib * 1024 / 5)
        if_missing = "missing"
      }
      cluster-red = {
        about      = "The domain is red: a primary shard is missing, and what belongs there cannot be indexed or found."
        namespace  = "AWS/ES", metric = "ClusterStatus.red", dimensions = local.domain_dimensions
        statistic  = "Maximum", period = 60, periods = 3, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
      writes-blocked = {
        about      = "The domain refuses to write: its disk or memory is used up."
        namespace  = "AWS/ES", metric = "ClusterIndexWritesBlocked", dimensions = local.domain_dimensions
        statistic  = "Maximum", period = 300, periods = 1, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
      memory = {
        about      = "The domain's Java heap is almost full."
        namespace  = "AWS/ES", metric = "JVMMemoryPressure", dimensions = local.domain_dimensions
        statistic  = "Maximum", period = 300, periods = 3, comparison = "GreaterThanOrEqualToThreshold", threshold = 92
        if_missing = "notBreaching"
      }
      leases-throttled = {
        about      = "DynamoDB refuses to write lease rows: shards may change hands without need."
        namespace  = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = "${var.name}-leases" }
        statistic  = "Sum", period = 300, periods = 3, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
    },
    # What the processor tells of itself: names as in processor/src/metrics/emf.rs.
    local.tells ? {
      index-behind = {
        about     = "The index is more than ${var.index_lag_minutes} minutes behind the stream. The archive has the lines."
        namespace = var.name, metric = "IndexLag", dimensions = {}
        statistic = "Maximum", period = 60, periods = 5, comparison = "GreaterThanThreshold", threshold = var.index_lag_minutes * 60
        # Where no task runs, others say so: no-task and behind.
        if_missing = "notBreaching"
      }
      index-refuses = {
        about      = "The domain refuses the processor (401, 403): indexing pauses, archiving goes on."
        namespace  = var.name, metric = "IndexRefuses", dimensions = {}
        statistic  = "Maximum", period = 60, periods = 3, comparison = "GreaterThanThreshold", threshold = 0
        if_missing = "notBreaching"
      }
      documents-refused = {
        about     = "A hundred lines or records and more became dead letters within five minutes: that is no odd line, something is set up wrongly."
        namespace = var.name, metric = "DeadLetters", dimensions = {}
        # An attacker can write an odd line, so one letter alone is left to dead-letters.
        statistic  = "Sum", period = 300, periods = 1, comparison = "GreaterThanOrEqualToThreshold", threshold = 100
        if_missing = "notBreaching"
      }
    } : {},
    var.agent_silence_minutes > 0 ? {
      agent-silent = {
        about     = "For ${var.agent_silence_minutes} minutes no host has sent anything."
        namespace = "AWS/Kinesis", metric = "IncomingRecords", dimensions = local.stream_dimensions
        statistic = "Sum", period = 300, periods = ceil(var.agent_silence_minutes / 5), comparison = "LessThanThreshold", threshold = 1
        # A stream that nobody writes to has no such metric at all.
        if_missing = "breaching"
      }
    } : {},
    local.runs ? {
      no-task = {
        about     = "No task of the processor runs."
        namespace = "AWS/ECS", metric = "CPUUtilization", dimensions = { ClusterName = var.name, ServiceName = "${var.name}-processor" }
        # Each task counts as one sample a minute; Container Insights, which counts tasks, costs extra.
        statistic  = "SampleCount", period = 60, periods = 5, comparison = "LessThanThreshold", threshold = 1
        if_missing = "breaching"
      }
    } : {},
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.about} Runbook: packaging/docs/runbook.md#${each.key}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.if_missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# ---- dead letters and tasks that end: events, kept in a log group and counted there ------------

resource "aws_s3_bucket_notification" "archive" {
  bucket      = aws_s3_bucket.archive.id
  eventbridge = true
}

locals {
  events = {
    dead-letters = {
      metric  = "DeadLetterObjects"
      counted = "{ $.source = \"aws.s3\" }"
      pattern = {
        source      = ["aws.s3"]
        detail-type = ["Object Created"]
        detail      = { bucket = { name = [local.archive_bucket] }, object = { key = [{ prefix = "dead-letter/" }] } }
      }
    }
    tasks-ended = {
      metric  = "TasksEnded"
      counted = "{ $.source = \"aws.ecs\" }"
      # A deployment ends tasks, too; that is not counted. A task whose health check failed has the
      # same stop code as those of a deployment, and only the reason tells them apart.
      pattern = {
        source      = ["aws.ecs"]
        detail-type = ["ECS Task State Change"]
        detail = {
          clusterArn = ["arn:${local.partition}:ecs:${local.region}:${local.account}:cluster/${var.name}"]
          group      = ["service:${var.name}-processor"]
          lastStatus = ["STOPPED"]
          "$or" = [
            { stopCode = ["EssentialContainerExited", "TaskFailedToStart"] },
            { stoppedReason = [{ wildcard = "*failed container health checks*" }] },
          ]
        }
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "events" {
  name              = "/aws/events/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_cloudwatch_log_resource_policy" "events" {
  policy_name = "${var.name}-events"
  policy_document = templatefile("${path.module}/iam/events-logs.json.tftpl", {
    log_group = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/events/${var.name}"
    account   = local.account
  })
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each      = local.events
  name          = "${var.name}-${each.key}"
  event_pattern = jsonencode(each.value.pattern)
}

resource "aws_cloudwatch_event_target" "this" {
  for_each   = local.events
  rule       = aws_cloudwatch_event_rule.this[each.key].name
  arn        = aws_cloudwatch_log_group.events.arn
  depends_on = [aws_cloudwatch_log_resource_policy.events]
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each       = local.events
  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.events.name
  pattern        = each.value.counted
  metric_transformation {
    namespace = var.name
    name      = each.value.metric
    value     = "1"
  }
}
