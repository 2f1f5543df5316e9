# One page: what is done, what waits, what refuses, what fails.

locals {
  source_names = sort(keys(var.sources))

  # Each graph has a title, a statistic and its lines: namespace, metric, then dimensions in pairs.
  graphs = [
    {
      title = "Pages a minute, by what became of them"
      stat  = "Sum"
      lines = concat([for name in local.source_names : [
        for status in ["ok", "refused", "failed"] : [local.namespace, "pages_${status}", "stage", "fetch", "source", name]
      ]]...)
    },
    {
      title = "Pages committed"
      stat  = "Sum"
      lines = [for name in local.source_names : [local.namespace, "pages_committed", "stage", "aggregate", "source", name]]
    },
    {
      title = "Messages that wait"
      stat  = "Maximum"
      lines = [for queue, _ in local.queues : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${var.name}-${queue}"]]
    },
    {
      title = "Tasks in the backlog"
      stat  = "Maximum"
      lines = [for name in local.source_names : [local.namespace, "backlog_tasks", "stage", "conduct", "source", name]]
    },
    {
      title = "Closed sources (1: refuses, and is left alone)"
      stat  = "Maximum"
      lines = [for name in local.source_names : [local.namespace, "closed", "stage", "conduct", "source", name]]
    },
    {
      title = "Latency of the engines, ms (median)"
      stat  = "p50"
      lines = [for name in local.source_names : [local.namespace, "latency_ms", "stage", "fetch", "source", name]]
    },
    {
      title = "Lag from drop to page, seconds (longest)"
      stat  = "Maximum"
      lines = [for name in local.source_names : [local.namespace, "lag_s", "stage", "fetch", "source", name]]
    },
    {
      title = "Commits, ms (95th percentile)"
      stat  = "p95"
      lines = [[local.namespace, "commit_ms", "stage", "aggregate"]]
    },
    {
      title = "Functions' errors"
      stat  = "Sum"
      lines = [for name in local.functions : ["AWS/Lambda", "Errors", "FunctionName", name]]
    },
    {
      title = "Functions' throttles"
      stat  = "Sum"
      lines = [for name in local.functions : ["AWS/Lambda", "Throttles", "FunctionName", name]]
    },
    {
      title = "Dead letters"
      stat  = "Maximum"
      lines = [for queue, _ in local.queues : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${var.name}-${queue}-dead"]]
    },
    {
      title = "Runs completed"
      stat  = "Sum"
      lines = [[local.namespace, "runs_completed", "stage", "compact"]]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    start = "-PT6H"
    widgets = [for index, graph in local.graphs : {
      type   = "metric"
      x      = 12 * (index % 2)
      y      = 6 * floor(index / 2)
      width  = 12
      height = 6
      properties = {
        title   = graph.title
        region  = local.region
        view    = "timeSeries"
        stacked = false
        period  = 60
        stat    = graph.stat
        metrics = graph.lines
      }
    }]
  })
}
