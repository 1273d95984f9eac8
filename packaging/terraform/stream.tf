# What lies between agent and processor: the stream, and the processor's place in it.

resource "aws_kinesis_stream" "this" {
  name             = var.name
  shard_count      = var.stream_shards == 0 ? null : var.stream_shards
  retention_period = var.stream_retention_hours
  encryption_type  = "KMS"
  kms_key_id       = coalesce(var.kms_key_arn, "alias/aws/kinesis")

  stream_mode_details {
    stream_mode = var.stream_shards == 0 ? "ON_DEMAND" : "PROVISIONED"
  }
}

# Rows of the Kinesis Client Library's kind. Terraform makes the table, so that the
# processor needs no permission to make one.
resource "aws_dynamodb_table" "leases" {
  name                        = "${var.name}-leases"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "leaseKey"
  deletion_protection_enabled = var.protect_data

  attribute {
    name = "leaseKey"
    type = "S"
  }

  # Who deletes a row by mistake can have it back; without it the archive's own objects
  # tell the processor where to go on.
  point_in_time_recovery {
    enabled = true
  }

  # `false` is DynamoDB's own key, not plain text.
  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }
}
