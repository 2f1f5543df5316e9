# One function with what belongs to it alone: its role, what the role may do, its log group.

locals {
  log_group = "/aws/lambda/${var.name}"
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "permissions" {
  statement {
    sid     = "Logs"
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [join(":", [
      "arn:${data.aws_partition.this.partition}:logs",
      data.aws_region.this.region,
      data.aws_caller_identity.this.account_id,
      "log-group:${local.log_group}:*",
    ])]
  }

  dynamic "statement" {
    for_each = var.permissions

    content {
      sid       = statement.key
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = statement.value.condition[*]

        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = condition.value.values
        }
      }
    }
  }

  dynamic "statement" {
    for_each = var.common.encrypted ? ["Key"] : []

    content {
      sid       = statement.value
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.common.kms_key_arn]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  description        = var.description
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "this" {
  name   = var.name
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.permissions.json
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:The operator says how long logs are kept (log_retention_days); the record of what happened is in the tables
  #checkov:skip=CKV_AWS_158:Encrypted by CloudWatch itself; encrypt_with_kms or kms_key_arn use a key
  name              = local.log_group
  retention_in_days = var.common.log_retention_days
  kms_key_id        = var.common.encrypted ? var.common.kms_key_arn : null
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:Tracing would need a permission on every resource; a keyword's way is in the logs and serpline trace
  #checkov:skip=CKV_AWS_115:Reserved concurrency is optional: the mappings' maximum bounds it, and small accounts cannot reserve
  #checkov:skip=CKV_AWS_116:Its work comes from queues with dead-letter queues, or again by schedule
  #checkov:skip=CKV_AWS_117:Nothing here stands in a network of one's own: S3, SQS and the engines are reached over TLS
  #checkov:skip=CKV_AWS_173:Its settings hold no secret, only ARNs of secrets; encrypt_with_kms or kms_key_arn use a key
  #checkov:skip=CKV_AWS_272:The packages are built from the lock by whoever applies them; signing needs a profile of the operator's
  function_name                  = var.name
  description                    = var.description
  role                           = aws_iam_role.this.arn
  handler                        = var.handler
  runtime                        = var.common.runtime
  architectures                  = [var.common.architecture]
  s3_bucket                      = var.code.bucket
  s3_key                         = var.code.key
  s3_object_version              = var.code.version
  source_code_hash               = var.code.hash
  memory_size                    = var.memory
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved
  kms_key_arn                    = var.common.encrypted ? var.common.kms_key_arn : null

  ephemeral_storage {
    size = var.storage
  }

  environment {
    variables = var.environment
  }

  lifecycle {
    precondition {
      condition     = length(join("", [for name, value in var.environment : "${name}${value}"])) <= 4000
      error_message = "The settings of ${var.name} do not fit in the 4 KB that Lambda has for them: fewer sources, fewer lanes or shorter base_urls."
    }
  }

  # A function works from its first moment, and its log group is not made behind Terraform's back.
  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]
}

resource "aws_lambda_function_recursion_config" "this" {
  count = var.recursive ? 1 : 0

  function_name  = aws_lambda_function.this.function_name
  recursive_loop = "Allow"
}

resource "aws_lambda_function_event_invoke_config" "this" {
  count = var.asynchronous == null ? 0 : 1

  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = var.asynchronous.retries
  maximum_event_age_in_seconds = var.asynchronous.seconds
}
