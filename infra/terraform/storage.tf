# The bucket: keyword files, what is on its way, and the tables.

locals {
  # Every folder of the bucket, and the days that its old versions live. S3 applies the shortest of overlapping
  # rules, so each folder has its own and none covers all.
  folders = merge({
    keywords   = 45 # a run reads the exact version that was dropped
    lists      = 45
    runs       = 7
    unfinished = 7
    staging    = 7
    backlog    = 7
    conduct    = 7
    robots     = 7
    sources    = 7
    tables     = 7
    athena     = 7
    packages   = 7
    raw        = 7
  }, var.measure ? { measurements = 7 } : {})

  # The days that objects live; those of other folders live for good.
  kept = {
    staging = 45 # queue, dead-letter queue and redrive together
    athena  = 7
    raw     = var.raw_days
  }
}

resource "aws_s3_bucket" "lake" {
  #checkov:skip=CKV_AWS_18:Access logs need a second bucket and double the requests' cost; CloudTrail data events serve where they are wanted
  #checkov:skip=CKV_AWS_144:A copy in another region is the operator's decision; nothing here needs one
  #checkov:skip=CKV_AWS_145:SSE-S3 by default; encrypt_with_kms or kms_key_arn use a key
  bucket        = local.bucket_name
  force_destroy = var.force_destroy

  # On destroy a bucket that still holds data stays, and what stands here stays with it: the key that opens it.
  depends_on = [aws_kms_key.lake]
}

resource "aws_s3_bucket_versioning" "lake" {
  bucket = aws_s3_bucket.lake.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "lake" {
  bucket                  = aws_s3_bucket.lake.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
  skip_destroy            = true # a bucket that survives destroy stays closed
}

resource "aws_s3_bucket_server_side_encryption_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    bucket_key_enabled = local.encrypted

    apply_server_side_encryption_by_default {
      sse_algorithm     = local.encrypted ? "aws:kms" : "AES256"
      kms_master_key_id = local.encrypted ? local.key_arn : null
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  dynamic "rule" {
    for_each = local.folders

    content {
      id     = rule.key
      status = "Enabled"

      filter {
        prefix = "${rule.key}/"
      }

      dynamic "expiration" {
        for_each = contains(keys(local.kept), rule.key) ? [local.kept[rule.key]] : []

        content {
          days = expiration.value
        }
      }

      dynamic "expiration" {
        for_each = contains(keys(local.kept), rule.key) ? [] : [true]

        content {
          expired_object_delete_marker = expiration.value
        }
      }

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }
    }
  }

  rule {
    id     = "abandoned-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.lake]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "lake" {
  bucket = aws_s3_bucket.lake.id
  policy = data.aws_iam_policy_document.bucket.json

  depends_on = [aws_s3_bucket_public_access_block.lake]
}

resource "aws_s3_bucket_notification" "keywords" {
  bucket = aws_s3_bucket.lake.id

  queue {
    id            = "keywords"
    queue_arn     = aws_sqs_queue.work["keywords"].arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "keywords/"
  }
}

resource "aws_s3_object" "source" {
  #checkov:skip=CKV_AWS_186:The bucket's default encryption applies, with the key where there is one
  for_each = var.source_files == null ? toset([]) : fileset(coalesce(var.source_files, "."), "*.toml")

  bucket       = aws_s3_bucket.lake.id
  key          = "sources/${each.key}"
  source       = "${var.source_files}/${each.key}"
  source_hash  = filemd5("${var.source_files}/${each.key}")
  content_type = "application/toml"

  depends_on = [aws_s3_bucket_versioning.lake, aws_s3_bucket_server_side_encryption_configuration.lake]
}

# The pace of each source, for workers and commands that work beside the functions.
resource "aws_s3_object" "terms" {
  #checkov:skip=CKV_AWS_186:The bucket's default encryption applies, with the key where there is one
  bucket       = aws_s3_bucket.lake.id
  key          = "packages/terms.json"
  content      = jsonencode(local.terms)
  content_type = "application/json"

  depends_on = [aws_s3_bucket_versioning.lake, aws_s3_bucket_server_side_encryption_configuration.lake]
}

# The functions' code goes up once a package, not once a function, and by this way has no limit of 50 MB.
resource "aws_s3_object" "package" {
  #checkov:skip=CKV_AWS_186:The bucket's default encryption applies, with the key where there is one
  for_each = local.packages

  bucket      = aws_s3_bucket.lake.id
  key         = "packages/${each.key}.zip"
  source      = each.value
  source_hash = filebase64sha256(each.value)

  depends_on = [aws_s3_bucket_versioning.lake, aws_s3_bucket_server_side_encryption_configuration.lake]
}
