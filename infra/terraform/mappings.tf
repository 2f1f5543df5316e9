# Which function takes from which queue. Made after the tables, so that destroy ends the mappings first and
# nothing is committed while the tables' last metadata is written down.

resource "aws_lambda_event_source_mapping" "shard" {
  event_source_arn        = aws_sqs_queue.work["keywords"].arn
  function_name           = module.shard.function_name
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.shard_concurrency
  }

  depends_on = [aws_lambda_invocation.tables]
}

resource "aws_lambda_event_source_mapping" "fetch" {
  for_each = local.lanes

  event_source_arn        = aws_sqs_queue.work["fetch-${each.value.source}"].arn
  function_name           = module.fetch[each.key].function_name
  batch_size              = 1
  enabled                 = each.value.lane == 0
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.sources[each.value.source].max_concurrency
  }

  lifecycle {
    ignore_changes = [enabled] # conduct switches the lanes, and closes a source that refused
  }

  depends_on = [aws_lambda_invocation.tables]
}

resource "aws_lambda_event_source_mapping" "aggregate" {
  event_source_arn                   = aws_sqs_queue.work["results"].arn
  function_name                      = module.aggregate.function_name
  batch_size                         = 1000
  maximum_batching_window_in_seconds = local.aggregate_window
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = 2
  }

  depends_on = [aws_lambda_invocation.tables]
}
