# What the operator is told: the topic, run-complete messages, the budget.

resource "aws_sns_topic" "notices" {
  #checkov:skip=CKV_AWS_26:Messages name runs and alarms, and the key that AWS owns for SNS would shut out CloudWatch; encrypt_with_kms or kms_key_arn use a key
  name              = "${var.name}-notices"
  kms_master_key_id = local.encrypted ? local.key_arn : null
}

data "aws_iam_policy_document" "notices" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.notices.arn]

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

  statement {
    sid       = "AlarmsPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.notices.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:cloudwatch:${local.where}:alarm:${var.name}-*"]
    }
  }

  # EventBridge sends nothing for conditions to look at: with one, no message would ever arrive.
  statement {
    sid       = "EventsPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.notices.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }

  dynamic "statement" {
    for_each = var.monthly_budget_usd == null ? [] : ["BudgetPublishes"]

    content {
      sid       = statement.value
      actions   = ["sns:Publish"]
      resources = [aws_sns_topic.notices.arn]

      principals {
        type        = "Service"
        identifiers = ["budgets.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

resource "aws_sns_topic_policy" "notices" {
  arn    = aws_sns_topic.notices.arn
  policy = data.aws_iam_policy_document.notices.json
}

resource "aws_sns_topic_subscription" "operator" {
  for_each = var.notify

  topic_arn = aws_sns_topic.notices.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_event_rule" "run_complete" {
  name        = "${var.name}-run-complete"
  description = "A run of ${var.name} is complete"

  event_pattern = jsonencode({
    source      = ["serpline"]
    detail-type = ["Run complete"]
    detail      = { name = [var.name] }
  })
}

resource "aws_cloudwatch_event_target" "run_complete" {
  rule      = aws_cloudwatch_event_rule.run_complete.name
  target_id = "notices"
  arn       = aws_sns_topic.notices.arn

  input_transformer {
    input_paths = {
      failed  = "$.detail.pages.failed"
      file    = "$.detail.file"
      ok      = "$.detail.pages.ok"
      refused = "$.detail.pages.refused"
      run     = "$.detail.run_id"
    }
    input_template = "\"${var.name}: run <run> of <file> is complete: <ok> pages ok, <refused> refused, <failed> failed.\""
  }

  depends_on = [aws_sns_topic_policy.notices]
}

# Sees only what carries the tag, from the day on which the tag is activated for cost allocation.
resource "aws_budgets_budget" "this" {
  count = var.monthly_budget_usd == null ? 0 : 1

  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = ["user:serpline$${var.name}"]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.notices.arn]
    }
  }

  depends_on = [aws_sns_topic_policy.notices]
}
