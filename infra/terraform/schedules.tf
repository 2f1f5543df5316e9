# What happens again and again: compaction, the ledger, conduct, and recurring keyword files.

locals {
  lists_role_arn = "arn:${local.partition}:iam::${local.account}:role/${var.name}-schedule-lists"
  group_arn      = "arn:${local.partition}:scheduler:${local.where}:schedule-group/${var.name}"

  turns = {
    compact = { every = var.compact_every, arn = module.compact.function_arn, input = { action = "compact" } }
    ledger  = { every = "rate(5 minutes)", arn = module.compact.function_arn, input = { action = "ledger" } }
    conduct = { every = "rate(1 minute)", arn = module.conduct.function_arn, input = { action = "conduct" } }
  }
}

resource "aws_scheduler_schedule_group" "this" {
  name = var.name
}

data "aws_iam_policy_document" "schedule_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.group_arn]
    }
  }
}

data "aws_iam_policy_document" "schedule_functions" {
  statement {
    sid       = "Turns"
    actions   = ["lambda:InvokeFunction"]
    resources = [for stage in ["compact", "conduct"] : "arn:${local.partition}:lambda:${local.where}:function:${var.name}-${stage}"]
  }
}

resource "aws_iam_role" "schedule_functions" {
  name               = "${var.name}-schedule-functions"
  description        = "Invokes compact and conduct by schedule"
  assume_role_policy = data.aws_iam_policy_document.schedule_trust.json
}

resource "aws_iam_role_policy" "schedule_functions" {
  name   = "${var.name}-schedule-functions"
  role   = aws_iam_role.schedule_functions.id
  policy = data.aws_iam_policy_document.schedule_functions.json
}

resource "aws_scheduler_schedule" "turn" {
  #checkov:skip=CKV_AWS_297:Holds one word and no data; Scheduler encrypts it with AWS's own key
  for_each = local.turns

  name                = "${var.name}-${each.key}"
  group_name          = aws_scheduler_schedule_group.this.name
  schedule_expression = each.value.every

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = each.value.arn
    role_arn = aws_iam_role.schedule_functions.arn
    input    = jsonencode(each.value.input)

    # The next turn comes anyway.
    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 0
    }
  }

  depends_on = [aws_iam_role_policy.schedule_functions, aws_lambda_invocation.tables]
}

data "aws_iam_policy_document" "schedule_lists" {
  statement {
    sid       = "Drops"
    actions   = ["sqs:SendMessage"]
    resources = [local.queue_arns.keywords, local.dead_arns.keywords]
  }

  dynamic "statement" {
    for_each = local.encrypted ? ["Key"] : []

    content {
      sid       = statement.value
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [local.key_arn]
    }
  }
}

resource "aws_iam_role" "schedule_lists" {
  count = length(var.schedules) > 0 ? 1 : 0

  name               = "${var.name}-schedule-lists"
  description        = "Drops keyword files by schedule"
  assume_role_policy = data.aws_iam_policy_document.schedule_trust.json
}

resource "aws_iam_role_policy" "schedule_lists" {
  count = length(var.schedules) > 0 ? 1 : 0

  name   = "${var.name}-schedule-lists"
  role   = aws_iam_role.schedule_lists[0].id
  policy = data.aws_iam_policy_document.schedule_lists.json
}

resource "aws_scheduler_schedule" "list" {
  #checkov:skip=CKV_AWS_297:Holds an object's key and no data; Scheduler encrypts it with AWS's own key
  for_each = var.schedules

  name                         = "${var.name}-list-${each.key}"
  group_name                   = aws_scheduler_schedule_group.this.name
  description                  = "Drops ${each.value.file}"
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.timezone
  state                        = each.value.enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sqs_queue.work["keywords"].arn
    role_arn = aws_iam_role.schedule_lists[0].arn

    # The time of the drop makes each one a run of its own. Scheduler fills it in where it finds the brackets,
    # which jsonencode would write as \u003c and \u003e.
    input = replace(replace(jsonencode({ for word, value in {
      key    = each.value.file
      drop   = "<aws.scheduler.scheduled-time>"
      source = each.value.source
      locale = each.value.locale
      device = each.value.device
      pages  = each.value.pages
      spread = each.value.spread
    } : word => value if value != null }), "\\u003c", "<"), "\\u003e", ">")

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 20
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead["keywords"].arn
    }
  }

  depends_on = [aws_iam_role_policy.schedule_lists]
}
