# What each function may do: by name, nothing of another copy, nothing of another account's.
# Logs, and the key where there is one, are added by modules/stage.

locals {
  # Objects of a folder of the bucket.
  objects = { for folder, _ in local.folders : folder => "${local.bucket_arn}/${folder}/*" }

  fetch_queue_arns = { for name, _ in var.sources : name => local.queue_arns["fetch-${name}"] }

  glue = {
    database = ["arn:${local.partition}:glue:${local.where}:catalog", "arn:${local.partition}:glue:${local.where}:database/${local.database}"]
    tables   = [for table in ["pages", "shards", "closings"] : "arn:${local.partition}:glue:${local.where}:table/${local.database}/${table}"]
    all      = ["arn:${local.partition}:glue:${local.where}:table/${local.database}/*"]
  }

  # Without it S3 answers 403 for a key that is not there; with a condition on the prefix it would still.
  listing = { Listing = { actions = ["s3:ListBucket"], resources = [local.bucket_arn] } }

  # What a mapping needs of the role of its function, and what handlers do with messages themselves.
  taking = { for name, arn in local.queue_arns : name => {
    Taking = {
      actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
      resources = [arn]
    }
  } }

  sending_actions = ["sqs:GetQueueUrl", "sqs:SendMessage"]

  permissions = {
    shard = merge(local.listing, local.taking.keywords, {
      # A file is read as it was when it was dropped; which version of a list a schedule means is asked first.
      Files = {
        actions   = ["s3:GetObjectVersion"]
        resources = [local.objects.keywords, local.objects.lists]
      }
      Reading = {
        actions   = ["s3:GetObject"]
        resources = [local.objects.lists, local.objects.sources, local.objects.runs]
      }
      Writing = {
        actions   = ["s3:PutObject"]
        resources = [local.objects.runs, local.objects.unfinished, local.objects.staging, local.objects.backlog]
      }
      Sending = {
        actions   = local.sending_actions
        resources = concat([local.queue_arns.keywords, local.dead_arns.keywords, local.queue_arns.results], values(local.fetch_queue_arns))
      }
      Depths = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = values(local.fetch_queue_arns)
      }
    })

    aggregate = merge(local.listing, local.taking.results, {
      Staged = {
        actions   = ["s3:GetObject"]
        resources = [local.objects.staging]
      }
      Tables = {
        actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        resources = [local.objects.tables]
      }
      Catalog = {
        actions   = ["glue:GetTable", "glue:UpdateTable"]
        resources = concat(local.glue.database, local.glue.tables)
      }
      Sending = {
        actions   = local.sending_actions
        resources = [local.dead_arns.results]
      }
    })

    compact = merge(local.listing, {
      Tables = {
        actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        resources = [local.objects.tables]
      }
      Ledger = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = [local.objects.runs]
      }
      Unfinished = {
        actions   = ["s3:DeleteObject"]
        resources = [local.objects.unfinished]
      }
      Catalog = {
        actions   = ["glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"]
        resources = concat(local.glue.database, local.glue.all)
      }
      Complete = {
        actions   = ["events:PutEvents"]
        resources = ["arn:${local.partition}:events:${local.where}:event-bus/default"]
        condition = { test = "ForAllValues:StringEquals", variable = "events:source", values = ["serpline"] }
      }
    }, var.compaction == "athena" ? local.compacting : {})
  }

  # The lanes of a source may do the same.
  fetch_permissions = { for name, source in var.sources : name => merge(
    local.listing,
    local.taking["fetch-${name}"],
    {
      Reading = {
        actions   = ["s3:GetObject"]
        resources = [local.objects.staging, local.objects.runs, local.objects.sources, local.objects.robots]
      }
      Writing = {
        actions   = ["s3:PutObject"]
        resources = [local.objects.staging, local.objects.robots, local.objects.backlog]
      }
      Sending = {
        actions   = local.sending_actions
        resources = [local.fetch_queue_arns[name], local.dead_arns["fetch-${name}"], local.queue_arns.results]
      }
      Pace = {
        actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
        resources = [local.pace_arn]
        # A source's functions touch that source's pace.
        condition = { test = "ForAllValues:StringEquals", variable = "dynamodb:LeadingKeys", values = [name] }
      }
    },
    length([for arn in values(source.secrets) : arn if strcontains(arn, ":secretsmanager:")]) == 0 ? {} : {
      Secrets = {
        actions   = ["secretsmanager:GetSecretValue"]
        resources = [for arn in values(source.secrets) : arn if strcontains(arn, ":secretsmanager:")]
      }
    },
    length([for arn in values(source.secrets) : arn if strcontains(arn, ":ssm:")]) == 0 ? {} : {
      Parameters = {
        actions   = ["ssm:GetParameter"]
        resources = [for arn in values(source.secrets) : arn if strcontains(arn, ":ssm:")]
      }
    },
  ) }

  # Apart from the others, because it names the mappings, which need the others first.
  conduct_permissions = merge(local.listing, {
    # What a function closed or reopened and did not live to tell is told here: its row, a pointer, and that it was.
    Pace = {
      actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
      resources = [local.pace_arn]
    }
    Depths = {
      actions   = ["sqs:GetQueueAttributes"]
      resources = values(local.fetch_queue_arns)
    }
    Sending = {
      actions   = local.sending_actions
      resources = concat([local.queue_arns.results], values(local.fetch_queue_arns))
    }
    Reading = {
      actions   = ["s3:GetObject"]
      resources = [local.objects.backlog, local.objects.conduct, local.objects.runs, local.objects.sources]
    }
    Writing = {
      actions   = ["s3:PutObject"]
      resources = [local.objects.conduct, local.objects.staging]
    }
    Releasing = {
      actions   = ["s3:DeleteObject"]
      resources = [local.objects.backlog]
    }
    Lanes = {
      actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
      resources = [for mapping in aws_lambda_event_source_mapping.fetch : mapping.arn]
    }
  })
}
