# What is wrong where nobody looks. Each alarm says what it means and what to do.

locals {
  functions = concat(
    [for stage in ["shard", "aggregate", "compact", "conduct"] : "${var.name}-${stage}"],
    [for lane, _ in local.lanes : "${var.name}-fetch-${lane}"],
  )

  # Seconds after which a message is old. A fetch queue holds the work of the horizon, and waits for closed sources.
  oldest = merge(
    { keywords = 7200, results = 3600 },
    { for name, _ in var.sources : "fetch-${name}" => ceil(max(12, 2 * var.horizon_hours) * 3600) },
  )

  # An hour without a commit means something where an hour holds several pages.
  brisk = { for name, source in var.sources : name => source if source.rate >= 4 / 3600 }

  # Windows in which pages are looked at for drift, and the pages that one must hold: of a slow source, or of a short list,
  # an hour never holds enough. Where a day holds fewer than ten, half of them are enough.
  drift = merge([
    for name, source in var.sources : {
      (name)        = { source = name, alarm = "drift", window = "an hour's", period = 3600, least = 20 }
      "${name}-day" = { source = name, alarm = "drift-day", window = "a day's", period = 86400, least = min(5, max(1, floor(source.rate * 43200))) }
    }
  ]...)

  topic = [aws_sns_topic.notices.arn]
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  for_each = var.alarms ? local.queues : {}

  alarm_name          = "${var.name}-${each.key}-dead"
  alarm_description   = "Messages of ${var.name}-${each.key} were given up. The function's log has the reason; serpline redrive sends them again."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic
}

resource "aws_cloudwatch_metric_alarm" "oldest" {
  for_each = var.alarms ? local.queues : {}

  alarm_name          = "${var.name}-${each.key}-oldest"
  alarm_description   = "A message of ${var.name}-${each.key} waits for more than ${local.oldest[each.key]} s. Its function is failing, throttled or switched off, or its source is closed."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.work[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.oldest[each.key]
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = var.alarms ? toset(local.functions) : toset([])

  alarm_name          = "${each.key}-errors"
  alarm_description   = "${each.key} ended with errors in 10 of 15 minutes. Its log has them; queues deliver its work again."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = each.key }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic
}

resource "aws_cloudwatch_metric_alarm" "throttles" {
  for_each = var.alarms ? toset(local.functions) : toset([])

  alarm_name          = "${each.key}-throttles"
  alarm_description   = "${each.key} was throttled for 15 minutes: the account's concurrency is used up. Ask for a higher quota, or lower max_concurrency."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = each.key }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic
}

# No page committed while tasks wait. SUM over several series leaves out those that have no data, which FILL would not:
# a metric that was never sent has nothing to fill. A source that is closed has its own alarm.
resource "aws_cloudwatch_metric_alarm" "stalled" {
  for_each = var.alarms ? local.brisk : {}

  alarm_name          = "${var.name}-${each.key}-stalled"
  alarm_description   = "Tasks of ${each.key} wait, and no page of it was committed for an hour, although it is open. Look at the logs of fetch and aggregate, and at serpline status."
  evaluation_periods  = 4
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic

  metric_query {
    id          = "stalled"
    label       = "Stalled"
    expression  = "IF(SUM([committed, zero]) == 0 AND SUM([closed, zero]) == 0 AND SUM([waiting, delayed]) > 0, 1, 0)"
    return_data = true
  }

  metric_query {
    id         = "zero"
    expression = "waiting * 0"
  }

  dynamic "metric_query" {
    for_each = {
      waiting = { metric = "ApproximateNumberOfMessagesVisible", stat = "Minimum" }
      delayed = { metric = "ApproximateNumberOfMessagesDelayed", stat = "Minimum" }
    }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value.metric
        dimensions  = { QueueName = aws_sqs_queue.work["fetch-${each.key}"].name }
        period      = 900
        stat        = metric_query.value.stat
      }
    }
  }

  dynamic "metric_query" {
    for_each = {
      committed = { metric = "pages_committed", stat = "Sum", stage = "aggregate" }
      closed    = { metric = "closed", stat = "Maximum", stage = "conduct" }
    }

    content {
      id = metric_query.key

      metric {
        namespace   = local.namespace
        metric_name = metric_query.value.metric
        dimensions  = { stage = metric_query.value.stage, source = each.key }
        period      = 900
        stat        = metric_query.value.stat
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "closed" {
  for_each = var.alarms ? var.sources : {}

  alarm_name          = "${var.name}-${each.key}-closed"
  alarm_description   = "${each.key} has refused for an hour and stays closed. The view refusals has the reasons; a lower rate is the remedy."
  namespace           = local.namespace
  metric_name         = "closed"
  dimensions          = { stage = "conduct", source = each.key }
  statistic           = "Minimum"
  period              = 900
  evaluation_periods  = 4
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic
}

# Pages that came and could not be read end as failed: an engine that changed its page shows here first.
resource "aws_cloudwatch_metric_alarm" "drift" {
  for_each = var.alarms ? local.drift : {}

  alarm_name          = "${var.name}-${each.value.source}-${each.value.alarm}"
  alarm_description   = "More than a fifth of ${each.value.window} pages of ${each.value.source} were answered and could not be read. The named query drift shows whether its page changed."
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 20
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topic
  ok_actions          = local.topic

  metric_query {
    id          = "share"
    label       = "Unreadable pages, percent"
    expression  = "IF(SUM([ok, unreadable]) >= ${each.value.least}, 100 * unreadable / SUM([ok, unreadable]), 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["ok", "unreadable"])

    content {
      id = metric_query.key

      metric {
        namespace   = local.namespace
        metric_name = "pages_${metric_query.key}"
        dimensions  = { stage = "fetch", source = each.value.source }
        period      = each.value.period
        stat        = "Sum"
      }
    }
  }
}
