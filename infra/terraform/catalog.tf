# The tables' catalog, and Athena over it.

resource "aws_glue_catalog_database" "lake" {
  name         = local.database
  description  = "${var.name}: pages, shards and closings (Iceberg), and views over them"
  location_uri = "${local.lake}/tables"
}

# Tables and views come from the one schema in stages/tables.py. The package's hash stands in the input, not among
# the triggers: those replace the invocation, which would drop and attach the tables at every upgrade.
resource "aws_lambda_invocation" "tables" {
  function_name   = module.compact.function_name
  lifecycle_scope = "CRUD"
  input = jsonencode(merge({
    action  = "tables"
    package = filebase64sha256(local.packages.heavy)
  }, var.measure ? { measure = true } : {})) # as it was for those who never measure: nothing is asked again for it

  # On destroy it is asked first (tf.action = delete) and finds all of this still there.
  depends_on = [
    module.compact,
    aws_athena_workgroup.this,
    aws_glue_catalog_database.lake,
    aws_s3_bucket_lifecycle_configuration.lake,
    aws_s3_bucket_ownership_controls.lake,
    aws_s3_bucket_policy.lake,
    aws_s3_bucket_server_side_encryption_configuration.lake,
    aws_s3_bucket_versioning.lake,
  ]
}

resource "aws_athena_workgroup" "this" {
  #checkov:skip=CKV_AWS_159:Results are encrypted by S3; encrypt_with_kms or kms_key_arn use a key
  name          = var.name
  description   = "Queries over ${local.database}"
  force_destroy = true # its history and its named queries go with it; results expire in the bucket

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.bytes_scanned_cutoff

    engine_version {
      selected_engine_version = "Athena engine version 3"
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

# Each file's first line says what it answers.
resource "aws_athena_named_query" "this" {
  for_each = fileset("${path.module}/queries", "*.sql")

  name        = "${var.name}-${trimsuffix(each.key, ".sql")}"
  description = trimprefix(split("\n", file("${path.module}/queries/${each.key}"))[0], "-- ")
  workgroup   = aws_athena_workgroup.this.id
  database    = aws_glue_catalog_database.lake.name
  query       = file("${path.module}/queries/${each.key}")
}
