# Two buckets. `archive` holds original lines for years; `artifacts` the packages that hosts
# install. They are apart because object lock and lifecycle are for the lines alone.

locals {
  buckets = { archive = aws_s3_bucket.archive, artifacts = aws_s3_bucket.artifacts }
}

resource "aws_s3_bucket" "archive" {
  bucket              = local.archive_bucket
  force_destroy       = !var.protect_data
  object_lock_enabled = var.archive_lock_days > 0
}

resource "aws_s3_bucket" "artifacts" {
  bucket        = local.artifacts_bucket
  force_destroy = true
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets
  bucket   = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = local.buckets
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets
  bucket   = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets
  bucket   = each.value.id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_policy" "tls_only" {
  for_each = local.buckets
  bucket   = each.value.id
  policy   = templatefile("${path.module}/iam/bucket.json.tftpl", { bucket = local.arn[each.key] })
  # Two changes of one bucket's access at once refuse each other.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_object_lock_configuration" "archive" {
  count  = var.archive_lock_days > 0 ? 1 : 0
  bucket = aws_s3_bucket.archive.id
  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.archive_lock_days
    }
  }
  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "archive" {
  bucket = aws_s3_bucket.archive.id

  # Lines only. Dead letters are few, and are read and redriven at any age.
  rule {
    id     = "lines"
    status = "Enabled"
    filter {
      prefix = "raw/"
    }

    dynamic "transition" {
      for_each = var.archive_instant_retrieval_days > 0 ? [1] : []
      content {
        days          = var.archive_instant_retrieval_days
        storage_class = "GLACIER_IR"
      }
    }
    dynamic "transition" {
      for_each = var.archive_deep_days > 0 ? [1] : []
      content {
        days          = var.archive_deep_days
        storage_class = "DEEP_ARCHIVE"
      }
    }
    dynamic "expiration" {
      for_each = var.archive_expire_days > 0 ? [1] : []
      content {
        days = var.archive_expire_days
      }
    }
  }

  rule {
    id     = "leftovers"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  rule {
    id     = "leftovers"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

# The name holds the hash, so a host never finds another package under the name it was told.
resource "aws_s3_object" "agent" {
  count       = var.agent_package == null ? 0 : 1
  bucket      = aws_s3_bucket.artifacts.id
  key         = local.agent_key
  source      = var.agent_package
  source_hash = local.agent_sha256
  depends_on  = [aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_versioning.this]
}

# Under one name whatever they hold: a host that runs its user data again gets the newest.
resource "aws_s3_object" "geoip" {
  for_each    = { for path in var.geoip_files : basename(path) => path }
  bucket      = aws_s3_bucket.artifacts.id
  key         = "agent/geoip/${each.key}"
  source      = each.value
  source_hash = filesha256(each.value)
  depends_on  = [aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_versioning.this]
}

locals {
  agent_sha256 = var.agent_package == null ? "" : filesha256(var.agent_package)
  agent_key    = var.agent_package == null ? "" : "agent/${substr(local.agent_sha256, 0, 12)}/${basename(var.agent_package)}"
}
