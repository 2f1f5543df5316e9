# The queues, each with its dead-letter queue: N-keywords, N-fetch-<source>, N-results.

locals {
  shard_timeout     = 900
  aggregate_timeout = 300
  aggregate_window  = 60

  # Seconds that the function may take, and that its mapping collects before.
  queues = merge(
    {
      keywords = { timeout = local.shard_timeout, window = 0 }
      results  = { timeout = local.aggregate_timeout, window = local.aggregate_window }
    },
    { for name, source in var.sources : "fetch-${name}" => { timeout = source.timeout, window = 0 } },
  )

  queue_arns = { for name, _ in local.queues : name => "arn:${local.partition}:sqs:${local.where}:${var.name}-${name}" }
  dead_arns  = { for name, arn in local.queue_arns : name => "${arn}-dead" }
}

# Without a key SQS encrypts with its own, which is how it makes every queue.
resource "aws_sqs_queue" "work" {
  #checkov:skip=CKV_AWS_27:SQS encrypts every new queue with its own key; encrypt_with_kms or kms_key_arn use another
  for_each = local.queues

  name                       = "${var.name}-${each.key}"
  visibility_timeout_seconds = 6 * each.value.timeout + each.value.window
  message_retention_seconds  = 10 * 86400
  max_message_size           = 1048576
  receive_wait_time_seconds  = 20
  policy                     = data.aws_iam_policy_document.queue[each.key].json
  kms_master_key_id          = local.encrypted ? local.key_arn : null

  # An hour of a data key instead of five minutes: a twelfth of the calls to KMS.
  kms_data_key_reuse_period_seconds = local.encrypted ? 3600 : null

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead" {
  #checkov:skip=CKV_AWS_27:SQS encrypts every new queue with its own key; encrypt_with_kms or kms_key_arn use another
  for_each = local.queues

  name                              = "${var.name}-${each.key}-dead"
  message_retention_seconds         = 14 * 86400
  max_message_size                  = 1048576
  policy                            = data.aws_iam_policy_document.dead_queue[each.key].json
  kms_master_key_id                 = local.encrypted ? local.key_arn : null
  kms_data_key_reuse_period_seconds = local.encrypted ? 3600 : null

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.queue_arns[each.key]]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queues

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.queue_arns[each.key]]

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

  # Only the bucket's own events enter from S3 …
  dynamic "statement" {
    for_each = each.key == "keywords" ? [local.bucket_arn] : []

    content {
      sid       = "BucketSends"
      actions   = ["sqs:SendMessage"]
      resources = [local.queue_arns[each.key]]

      principals {
        type        = "Service"
        identifiers = ["s3.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }

  # … and only the role of the schedules from Scheduler.
  dynamic "statement" {
    for_each = each.key == "keywords" && length(var.schedules) > 0 ? [local.lists_role_arn] : []

    content {
      sid       = "SchedulesSend"
      actions   = ["sqs:SendMessage"]
      resources = [local.queue_arns[each.key]]

      principals {
        type        = "AWS"
        identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:PrincipalArn"
        values   = [statement.value]
      }
    }
  }
}

data "aws_iam_policy_document" "dead_queue" {
  for_each = local.queues

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.dead_arns[each.key]]

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
