# The optional key, and what AWS's own services must be allowed with any key.

locals {
  # An account's key is governed by IAM through its root; spelt out, because kms:* would also mean what is yet to come.
  key_administration = [
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:CreateGrant", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
    "kms:DisableKeyRotation", "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
    "kms:ListGrants", "kms:ListKeyPolicies", "kms:ListKeyRotations", "kms:ListResourceTags", "kms:PutKeyPolicy",
    "kms:RetireGrant", "kms:RevokeGrant", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion", "kms:TagResource",
    "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
  ]
  key_use = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
}

# "*" as the resource of a key's policy is that key.
data "aws_iam_policy_document" "key_statements" {
  #checkov:skip=CKV_AWS_109:The policy of one key: its resource is that key
  #checkov:skip=CKV_AWS_111:The policy of one key: its resource is that key
  #checkov:skip=CKV_AWS_356:The policy of one key: its resource is that key

  # S3 puts events into the encrypted queue; alarms and budgets publish to the encrypted topic.
  statement {
    sid       = "ServicesSend"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }

  # EventBridge sends nothing for conditions to look at when it publishes to a topic.
  statement {
    sid       = "EventsSend"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }

  statement {
    sid       = "LogsWrite"
    actions   = concat(["kms:DescribeKey"], local.key_use)
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${local.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${local.partition}:logs:${local.where}:log-group:/aws/lambda/${var.name}-*"]
    }
  }
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:The policy of one key: its resource is that key
  #checkov:skip=CKV_AWS_111:The policy of one key: its resource is that key
  #checkov:skip=CKV_AWS_356:The policy of one key: its resource is that key
  source_policy_documents = [data.aws_iam_policy_document.key_statements.json]

  statement {
    sid       = "AccountGoverns"
    actions   = concat(local.key_administration, local.key_use)
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }
}

resource "aws_kms_key" "lake" {
  count = var.encrypt_with_kms ? 1 : 0

  description             = "${var.name}: bucket, queues, topic, logs and function settings"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "lake" {
  count = var.encrypt_with_kms ? 1 : 0

  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.lake[0].key_id
}
