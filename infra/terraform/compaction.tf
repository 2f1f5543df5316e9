# Compaction by Athena (compaction = "athena"): a workgroup of its own, and what the function needs for it.

locals {
  compacting_arn = "arn:${local.partition}:athena:${local.where}:workgroup/${var.name}-compact"

  # Athena works with the rights of who asks: beside the tables and the catalog, which compact has anyway, it wants
  # to know where the bucket is, to write large files in parts, and to leave each statement's result.
  compacting = {
    Statements = {
      actions = [
        "athena:BatchGetQueryExecution", "athena:GetQueryExecution", "athena:ListQueryExecutions", "athena:StartQueryExecution"
      ]
      resources = [local.compacting_arn]
    }
    Place = {
      actions   = ["s3:GetBucketLocation"]
      resources = [local.bucket_arn]
    }
    Parts = {
      actions   = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
      resources = [local.objects.athena, local.objects.tables]
    }
    Answers = {
      actions   = ["s3:GetObject", "s3:PutObject"]
      resources = [local.objects.athena]
    }
  }
}

# Nobody else's statements are waited for there, and no query's limit of bytes ends the rewriting of a large partition.
resource "aws_athena_workgroup" "compact" {
  #checkov:skip=CKV_AWS_159:Results are encrypted by S3; encrypt_with_kms or kms_key_arn use a key
  count = var.compaction == "athena" ? 1 : 0

  name          = "${var.name}-compact"
  description   = "OPTIMIZE and VACUUM of ${local.database}"
  force_destroy = true

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true

    engine_version {
      selected_engine_version = "Athena engine version 3" # VACUUM is not in those before
    }

    result_configuration {
      output_location       = "${local.lake}/athena/"
      expected_bucket_owner = local.account

      encryption_configuration {
        encryption_option = local.encrypted ? "SSE_KMS" : "SSE_S3"
        kms_key_arn       = local.encrypted ? local.key_arn : null
      }
    }
  }
}
