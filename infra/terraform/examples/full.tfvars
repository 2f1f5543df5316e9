# Everything that can be said; what stands in comments would need something of your own.
name    = "serpline-team"
contact = "https://www.example.com/crawling"
region  = "eu-central-1"
tags    = { team = "search", stage = "production" }

sources = {
  wikipedia = {
    rate        = 2
    burst       = 2
    concurrency = 4
  }
  brave = {
    rate            = 1
    lanes           = 3 # they take turns; the rate is the same
    max_concurrency = 4
    timeout         = 300
    memory          = 512
    secrets = {
      BRAVE_API_KEY = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:brave-search-AbCdEf"
    }
  }
  searxng = {
    rate     = 0.2
    base_url = "https://search.example.com"
  }
}
default_source = "wikipedia"
# source_files = "../../my-sources"   # a folder of your own *.toml

schedules = {
  brand-daily = {
    file       = "lists/brand.csv"
    expression = "cron(0 6 * * ? *)"
    timezone   = "Europe/Berlin"
    source     = "wikipedia"
    locale     = "de-DE"
    device     = "desktop"
    pages      = 2
  }
  market-weekly = {
    file       = "lists/market.parquet"
    expression = "rate(7 days)"
    enabled    = false
  }
}

# bucket_name       = "my-own-bucket-name"
force_destroy       = false
deletion_protection = true
encrypt_with_kms    = true # or kms_key_arn = "arn:aws:kms:…"

raw_days             = 30
log_retention_days   = 90
bytes_scanned_cutoff = 50000000000
notify               = ["search-team@example.com"]
alarms               = true
monthly_budget_usd   = 50

compact_every     = "rate(30 minutes)"
compaction        = "function"
horizon_hours     = 6
lane_minutes      = 120
lane_rest_minutes = 45
shard_concurrency = 5
memory            = { aggregate = 3008 }
# reserved_concurrency = { aggregate = 2, conduct = 1 }

# measure        = true   # what serpline measure needs
# measure_copies = 3

architecture     = "arm64"
function_runtime = "python3.13"
packages         = "../../build/packages"
