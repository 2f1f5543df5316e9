# What measures the ground that functions stand on; nothing of it is there without measure = true. A probe asks no
# engine: it is told neither sources nor a contact, and may only write down what it saw and send to its own queue.

locals {
  # The function of every experiment, and further copies that lifetime takes in turn.
  probes = var.measure ? toset([for copy in range(var.measure_copies) : copy == 0 ? "probe" : "probe-${copy}"]) : toset([])

  probe_timeout     = 120
  probe_arns        = [for probe in local.probes : "arn:${local.partition}:lambda:${local.where}:function:${var.name}-${probe}"]
  probe_queue_arn   = "arn:${local.partition}:sqs:${local.where}:${var.name}-probe"
  measure_group_arn = "arn:${local.partition}:scheduler:${local.where}:schedule-group/${var.name}-measure"

  probe_permissions = {
    Writing = {
      actions   = ["s3:PutObject"]
      resources = ["${local.bucket_arn}/measurements/*"]
    }
  }

  # The tree of scaling goes through the queue of the first copy alone.
  tree_permissions = {
    Taking = {
      actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
      resources = [local.probe_queue_arn]
    }
    Sending = {
      actions   = ["sqs:SendMessage"]
      resources = [local.probe_queue_arn]
    }
  }
}

module "probe" {
  source   = "./modules/stage"
  for_each = local.probes

  common      = local.stage
  name        = "${var.name}-${each.key}"
  handler     = "lambdas.probe.handler"
  code        = local.code.light
  description = "Writes down what it runs on, for serpline measure"
  memory      = 512
  timeout     = local.probe_timeout
  recursive   = each.key == "probe" # a tree's levels are sent to its own queue; how many they are is in each message
  # A probe that comes late still says when it was sent; one that died is missing, and a repeat would tell of another moment.
  asynchronous = { retries = 0, seconds = 60 } # the least; the command waits so long for a late one
  permissions  = each.key == "probe" ? merge(local.probe_permissions, local.tree_permissions) : local.probe_permissions
  environment = merge({
    SERPLINE_NAME = var.name
    SERPLINE_LAKE = local.lake
  }, var.function_environment)
}

resource "aws_sqs_queue" "probe" {
  #checkov:skip=CKV_AWS_27:SQS encrypts every new queue with its own key; encrypt_with_kms or kms_key_arn use another
  count = var.measure ? 1 : 0

  name                              = "${var.name}-probe"
  visibility_timeout_seconds        = 6 * local.probe_timeout
  message_retention_seconds         = 3600 # of an experiment that was given up nothing goes on for long
  receive_wait_time_seconds         = 20
  policy                            = data.aws_iam_policy_document.probe_queue["probe"].json
  kms_master_key_id                 = local.encrypted ? local.key_arn : null
  kms_data_key_reuse_period_seconds = local.encrypted ? 3600 : null

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.probe_dead[0].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "probe_dead" {
  #checkov:skip=CKV_AWS_27:SQS encrypts every new queue with its own key; encrypt_with_kms or kms_key_arn use another
  count = var.measure ? 1 : 0

  name                              = "${var.name}-probe-dead"
  message_retention_seconds         = 14 * 86400
  policy                            = data.aws_iam_policy_document.probe_queue["probe-dead"].json
  kms_master_key_id                 = local.encrypted ? local.key_arn : null
  kms_data_key_reuse_period_seconds = local.encrypted ? 3600 : null

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.probe_queue_arn]
  })
}

data "aws_iam_policy_document" "probe_queue" {
  for_each = var.measure ? { probe = local.probe_queue_arn, "probe-dead" = "${local.probe_queue_arn}-dead" } : {}

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]

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

# A message a probe, so that each is an invocation of its own. Whatever a tree asks for, half of an account's usual
# 1000 invocations at once is left to everything else in it.
resource "aws_lambda_event_source_mapping" "probe" {
  count = var.measure ? 1 : 0

  event_source_arn        = aws_sqs_queue.probe[0].arn
  function_name           = module.probe["probe"].function_name
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = 500
  }

  depends_on = [aws_lambda_invocation.tables]
}

# The one-time schedules that carry an experiment over hours are made in this group by serpline measure, and end with it.
resource "aws_scheduler_schedule_group" "measure" {
  count = var.measure ? 1 : 0

  name = "${var.name}-measure"
}

data "aws_iam_policy_document" "schedule_measure_trust" {
  count = var.measure ? 1 : 0

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
      values   = [local.measure_group_arn]
    }
  }
}

data "aws_iam_policy_document" "schedule_measure" {
  count = var.measure ? 1 : 0

  statement {
    sid       = "Probes"
    actions   = ["lambda:InvokeFunction"]
    resources = local.probe_arns
  }
}

resource "aws_iam_role" "schedule_measure" {
  count = var.measure ? 1 : 0

  name               = "${var.name}-schedule-measure"
  description        = "Invokes the probes by schedule"
  assume_role_policy = data.aws_iam_policy_document.schedule_measure_trust[0].json
}

resource "aws_iam_role_policy" "schedule_measure" {
  count = var.measure ? 1 : 0

  name   = "${var.name}-schedule-measure"
  role   = aws_iam_role.schedule_measure[0].id
  policy = data.aws_iam_policy_document.schedule_measure[0].json
}
