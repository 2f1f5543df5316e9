# The names of everything, spelt once. ARNs are put together from names, so that a plan shows whole policies
# and no two things wait for each other.

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.region
  where     = "${local.region}:${local.account}"

  bucket_name = coalesce(var.bucket_name, "${var.name}-${local.account}-${local.region}")
  bucket_arn  = "arn:${local.partition}:s3:::${local.bucket_name}"
  lake        = "s3://${local.bucket_name}"
  database    = replace(var.name, "-", "_")
  namespace   = "Serpline/${var.name}"
  pace_arn    = "arn:${local.partition}:dynamodb:${local.where}:table/${var.name}-pace"

  encrypted = var.encrypt_with_kms || var.kms_key_arn != null
  key_arn   = var.kms_key_arn != null ? var.kms_key_arn : one(aws_kms_key.lake[*].arn)

  default_source = coalesce(var.default_source, keys(var.sources)[0])

  # What the functions know of the deployed sources.
  terms = { for name, source in var.sources : name => {
    rate        = source.rate
    quota       = source.quota
    burst       = source.burst
    concurrency = source.concurrency
    base_url    = source.base_url
  } }

  # One fetch function a source and lane.
  lanes = merge([for name, source in var.sources : {
    for lane in range(source.lanes) : "${name}-${lane}" => { source = name, lane = lane }
  }]...)

  packages = { for weight in ["light", "heavy"] :
    weight => "${var.packages}/${weight}-${coalesce(var.package_build, var.architecture)}.zip"
  }

  # Each package as the functions find it.
  code = { for weight, package in local.packages : weight => {
    bucket  = local.bucket_name
    key     = aws_s3_object.package[weight].key
    version = aws_s3_object.package[weight].version_id
    hash    = filebase64sha256(package)
  } }
}
