# The engines: what is asked, how fast, and by which keyword files again and again.

variable "sources" {
  description = <<-TEXT
    The engines to ask, by the name of their source file. `rate` is requests a second for the whole fleet,
    whatever the number of functions, `quota` requests a day (null: what the source file says, 0: none). `lanes` are identical functions that take turns; they never raise the rate.
    `secrets` are ARNs of Secrets Manager secrets or SSM parameters by the name that the source file uses.
  TEXT
  type = map(object({
    rate            = number
    quota           = optional(number)
    burst           = optional(number, 1)
    concurrency     = optional(number, 2)
    lanes           = optional(number, 1)
    max_concurrency = optional(number, 2)
    base_url        = optional(string, "")
    secrets         = optional(map(string), {})
    timeout         = optional(number, 300)
    memory          = optional(number, 512)
  }))
  nullable = false

  validation {
    condition     = length(var.sources) >= 1 && length(var.sources) <= 20
    error_message = "One deployment asks 1 to 20 sources; more need another copy with another name."
  }

  validation {
    condition     = alltrue([for name, _ in var.sources : can(regex("^[a-z][a-z0-9_]{0,39}$", name))])
    error_message = "A source's name has up to 40 lower-case letters, digits and underscores and begins with a letter, as its file does."
  }

  validation {
    condition     = alltrue([for name, _ in var.sources : length("${var.name}-fetch-${name}-0") <= 64])
    error_message = "A function's name <name>-fetch-<source>-<lane> has at most 64 characters: shorten the deployment's name or the source's."
  }

  validation {
    # Nobody writes 1/86400 to the last digit.
    condition     = alltrue([for source in var.sources : source.rate >= 0.0000115 && source.rate <= 200])
    error_message = "A source's rate is 1/86400 (one request a day) to 200 requests a second for the whole fleet."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.burst >= 1 && source.burst <= 100 && floor(source.burst) == source.burst])
    error_message = "A source's burst is a whole number of requests from 1 to 100."
  }

  validation {
    condition     = alltrue([for source in var.sources : try(source.quota >= 0 && source.quota <= 1000000000 && floor(source.quota) == source.quota, source.quota == null)])
    error_message = "A source's quota is a whole number of requests a day, 0 for none, or left out for that of the source file."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.concurrency >= 1 && source.concurrency <= 64 && floor(source.concurrency) == source.concurrency])
    error_message = "A source's concurrency (open requests of one function) is a whole number from 1 to 64."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.lanes >= 1 && source.lanes <= 5 && floor(source.lanes) == source.lanes])
    error_message = "A source has 1 to 5 lanes: they take turns, they do not make it faster."
  }

  validation {
    condition     = sum(concat([0], [for source in var.sources : source.lanes])) <= 40
    error_message = "The sources have at most 40 lanes together: conduct knows each by its mapping, and a function's settings end at 4 KB."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.max_concurrency >= 2 && source.max_concurrency <= 1000 && floor(source.max_concurrency) == source.max_concurrency])
    error_message = "A source's max_concurrency (functions at once) is a whole number from 2, the least that SQS mappings know, to 1000."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.base_url == "" || can(regex("^https?://[^\\s/]+(/[^\\s]*)?$", source.base_url))])
    error_message = "A source's base_url begins with https:// or http://, or is left out for that of the source file."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.timeout >= 60 && source.timeout <= 900 && floor(source.timeout) == source.timeout])
    error_message = "A source's timeout is a whole number of seconds from 60 to 900 (a batch waits up to two minutes for its lease)."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.memory >= 256 && source.memory <= 10240 && floor(source.memory) == source.memory])
    error_message = "A source's memory is a whole number of MB from 256 to 10240."
  }

  validation {
    condition     = alltrue(flatten([for source in var.sources : [for name, _ in source.secrets : can(regex("^[A-Z][A-Z0-9_]{0,63}$", name))]]))
    error_message = "A secret is called as in the source file's {secret:NAME}: upper-case letters, digits and underscores, a letter first."
  }

  validation {
    condition = alltrue(flatten([for source in var.sources : [
      for arn in values(source.secrets) :
      can(regex("^arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:|ssm:[a-z0-9-]+:[0-9]{12}:parameter/)[A-Za-z0-9/_+=.@-]+$", arn))
    ]]))
    error_message = "A secret is given by the full ARN of a Secrets Manager secret or an SSM parameter, never by its value."
  }
}

variable "default_source" {
  description = "The source of keyword files that name none; null is the only one there is."
  type        = string
  default     = null

  validation {
    condition     = try(contains(keys(var.sources), var.default_source), var.default_source == null && length(var.sources) <= 1)
    error_message = "With several sources, default_source names one of them: it is asked where a keyword file names none."
  }
}

variable "source_files" {
  description = "A folder of your own source files (*.toml), put into the bucket's sources/; null leaves that folder to you."
  type        = string
  default     = null

  validation {
    condition     = var.source_files == null || try(length(fileset(var.source_files, "*.toml")) > 0, false)
    error_message = "The folder source_files holds at least one source file <name>.toml."
  }
}

variable "schedules" {
  description = <<-TEXT
    Keyword files dropped again and again. `file` lies in the bucket's lists/, `expression` is EventBridge
    Scheduler's: cron(0 6 * * ? *), rate(1 day) or at(2026-01-31T06:00:00), in `timezone`. What is left out comes from the
    file's rows and the deployment's defaults. `spread` is how long a run should last, as in 6h.
  TEXT
  type = map(object({
    file       = string
    expression = string
    timezone   = optional(string, "UTC")
    enabled    = optional(bool, true)
    source     = optional(string)
    locale     = optional(string)
    device     = optional(string)
    pages      = optional(number)
    spread     = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name, _ in var.schedules : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "A schedule's name has up to 31 lower-case letters, digits and hyphens and begins with a letter."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : can(regex("^lists/[^<>]*[^<>/]$", schedule.file))])
    error_message = "A schedule's file is the key of an object in the bucket's lists/, as in lists/brand.csv."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : can(regex("^(cron\\([^()]+\\)|rate\\([1-9][0-9]* (minute|hour|day)s?\\)|at\\([0-9T:-]+\\))$", schedule.expression))])
    error_message = "A schedule's expression is cron(…), rate(…) or at(…) as EventBridge Scheduler writes them."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : schedule.source == null || try(contains(keys(var.sources), schedule.source), false)])
    error_message = "A schedule's source is one of the deployment's sources."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : schedule.device == null || try(contains(["desktop", "mobile", "tablet"], schedule.device), false)])
    error_message = "A schedule's device is desktop, mobile or tablet."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : schedule.locale == null || can(regex("^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$", schedule.locale))])
    error_message = "A schedule's locale is a language tag, as in en-US."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : schedule.pages == null || try(schedule.pages >= 1 && schedule.pages <= 100 && floor(schedule.pages) == schedule.pages, false)])
    error_message = "A schedule's pages is a whole number from 1 to 100."
  }

  validation {
    condition     = alltrue([for schedule in var.schedules : schedule.spread == null || can(regex("^[0-9]{1,9}(\\.[0-9]{1,3})?[smhd]$", schedule.spread))])
    error_message = "A schedule's spread is how long its run should last, as in 90s, 45m, 6h or 2d."
  }
}
