# The functions. What each may do stands in permissions.tf.

locals {
  environment = {
    SERPLINE_NAME    = var.name
    SERPLINE_LAKE    = local.lake
    SERPLINE_CONTACT = var.contact
    SERPLINE_TERMS   = jsonencode(local.terms)
  }
  horizon = tostring(floor(var.horizon_hours * 3600))

  # What every function is given alike.
  stage = {
    runtime            = var.function_runtime
    architecture       = var.architecture
    log_retention_days = var.log_retention_days
    kms_key_arn        = local.key_arn
    encrypted          = local.encrypted
  }
}

module "shard" {
  source = "./modules/stage"

  common      = local.stage
  name        = "${var.name}-shard"
  handler     = "lambdas.shard.handler"
  code        = local.code.heavy # the one that can read a Parquet file
  description = "Cuts a keyword file into batches of tasks"
  memory      = var.memory.shard
  timeout     = local.shard_timeout
  recursive   = true # a huge file's parts are sent to its own queue
  reserved    = lookup(var.reserved_concurrency, "shard", null)
  permissions = local.permissions.shard
  environment = merge(local.environment, {
    SERPLINE_SOURCE  = local.default_source
    SERPLINE_HORIZON = local.horizon
  }, var.function_environment)
}

module "fetch" {
  source   = "./modules/stage"
  for_each = local.lanes

  common      = local.stage
  name        = "${var.name}-fetch-${each.key}"
  handler     = "lambdas.fetch.handler"
  code        = local.code.light
  description = "Asks ${each.value.source} (lane ${each.value.lane}) and stages its pages"
  memory      = var.sources[each.value.source].memory
  timeout     = var.sources[each.value.source].timeout
  recursive   = true # a batch that waits is sent again; our own hop limit bounds it
  reserved    = lookup(var.reserved_concurrency, "fetch", null)
  permissions = local.fetch_permissions[each.value.source]
  environment = merge(local.environment, {
    SERPLINE_SOURCE = each.value.source
    SERPLINE_LANE   = tostring(each.value.lane)
    }, {
    for name, arn in var.sources[each.value.source].secrets : "SERPLINE_SECRET_ARN_${name}" => arn
  }, var.function_environment)
}

module "aggregate" {
  source = "./modules/stage"

  common      = local.stage
  name        = "${var.name}-aggregate"
  handler     = "lambdas.aggregate.handler"
  code        = local.code.heavy
  description = "Commits staged pages to the tables"
  memory      = var.memory.aggregate
  timeout     = local.aggregate_timeout
  reserved    = lookup(var.reserved_concurrency, "aggregate", null)
  permissions = local.permissions.aggregate
  environment = merge(local.environment, var.function_environment)
}

module "compact" {
  source = "./modules/stage"

  common      = local.stage
  name        = "${var.name}-compact"
  handler     = "lambdas.compact.handler"
  code        = local.code.heavy
  description = "Makes tables and views, makes small files few, marks complete runs"
  memory      = var.memory.compact
  timeout     = 900
  storage     = 4096
  # Its next turn comes by schedule: what failed or came late is not repeated.
  asynchronous = { retries = 0, seconds = 900 }
  reserved     = lookup(var.reserved_concurrency, "compact", null)
  permissions  = local.permissions.compact
  environment  = merge(local.environment, { SERPLINE_COMPACTION = var.compaction }, var.function_environment)
}

module "conduct" {
  source = "./modules/stage"

  common       = local.stage
  name         = "${var.name}-conduct"
  handler      = "lambdas.conduct.handler"
  code         = local.code.light
  description  = "Switches lanes, reopens sources, releases the backlog"
  memory       = var.memory.conduct
  timeout      = 60
  asynchronous = { retries = 0, seconds = 60 }
  reserved     = lookup(var.reserved_concurrency, "conduct", null)
  permissions  = local.conduct_permissions
  environment = merge(local.environment, {
    SERPLINE_HORIZON      = local.horizon
    SERPLINE_LANE_MINUTES = tostring(var.lane_minutes)
    # A function that took a message just before its lane's turn ended may ask until its timeout.
    SERPLINE_LANE_REST_MINUTES = tostring(var.lane_rest_minutes + max(0, [for source in var.sources : source.timeout if source.lanes > 1]...) / 60)
    SERPLINE_MAPPINGS = jsonencode({ for name, source in var.sources : name => [
      for lane in range(source.lanes) : aws_lambda_event_source_mapping.fetch["${name}-${lane}"].uuid
    ] })
  }, var.function_environment)
}
