locals {
  # A slot of the pacer is forfeited after 0.25 s; another 0.25 s covers how far the functions' clocks lie apart.
  slack = 0.5

  seen = { for name, source in var.sources : name => { for window, seconds in { second = 1, minute = 60, day = 86400 } :
    window => floor(source.rate * (seconds + local.slack) + source.burst)
  } }
}

output "highest_request_rate" {
  description = "The most that each source can see: no window of w seconds holds more than rate·(w+0.5)+burst requests."
  value = { for name, source in var.sources : name => {
    rate          = source.rate
    burst         = source.burst
    in_any_second = local.seen[name].second
    in_any_minute = local.seen[name].minute
    in_any_day    = local.seen[name].day
    words = join("", [
      "${name} sees at most ${local.seen[name].second} requests in any second, ${local.seen[name].minute} in any minute and ",
      "${local.seen[name].day} in any day: ${source.rate}·(w+${local.slack})+${source.burst} in any w seconds, ",
      "however many functions, lanes and files there are.",
    ])
  } }
}

output "next_steps" {
  description = "What to do now."
  value       = <<-TEXT
    export SERPLINE_LAKE=${local.lake} SERPLINE_NAME=${var.name} AWS_REGION=${local.region}

    # drop a keyword file, either way:
    serpline submit keywords.csv --source ${local.default_source}
    aws s3 cp keywords.csv ${local.lake}/keywords/

    # see how far it is, then ask:
    serpline status
    serpline query --athena "SELECT * FROM runs"
    aws athena start-query-execution --work-group ${aws_athena_workgroup.this.name} --query-execution-context Database=${local.database} --query-string "SELECT * FROM runs"

    # how fast each source is asked at most: terraform output highest_request_rate
  TEXT
}

output "bucket" {
  description = "The bucket with keyword files and tables."
  value       = aws_s3_bucket.lake.id
}

output "lake" {
  description = "The bucket as SERPLINE_LAKE."
  value       = local.lake
}

output "name" {
  description = "The prefix of every name, as SERPLINE_NAME."
  value       = var.name
}

output "queue_urls" {
  description = "The queues' addresses, by keywords, results and fetch-<source>."
  value       = { for name, queue in aws_sqs_queue.work : name => queue.url }
}

output "dead_letter_queue_urls" {
  description = "The dead-letter queues' addresses, by the same names."
  value       = { for name, queue in aws_sqs_queue.dead : name => queue.url }
}

output "functions" {
  description = "Every function's name."
  value = concat(
    [module.shard.function_name, module.aggregate.function_name, module.compact.function_name, module.conduct.function_name],
    [for lane in module.fetch : lane.function_name],
    [for probe in module.probe : probe.function_name],
  )
}

output "database" {
  description = "The Glue database of tables and views."
  value       = aws_glue_catalog_database.lake.name
}

output "workgroup" {
  description = "The Athena workgroup to query in."
  value       = aws_athena_workgroup.this.name
}

output "pace_table" {
  description = "The DynamoDB table with each source's pace."
  value       = aws_dynamodb_table.pace.name
}

output "topic" {
  description = "The SNS topic of alarms and run-complete messages."
  value       = aws_sns_topic.notices.arn
}

output "dashboard_url" {
  description = "The dashboard in the console."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
}

output "measure" {
  description = "What serpline measure works with: the probe functions, their queue's address, the schedules' group and role."
  value = !var.measure ? null : {
    functions = [for probe in module.probe : probe.function_name]
    queue_url = aws_sqs_queue.probe[0].url
    group     = aws_scheduler_schedule_group.measure[0].name
    role_arn  = aws_iam_role.schedule_measure[0].arn
  }
}

output "kms_key_statements" {
  description = "What the policy of a key of yours (kms_key_arn) must allow AWS's services, as JSON: a plan shows it."
  value       = var.kms_key_arn == null ? null : data.aws_iam_policy_document.key_statements.json
}
