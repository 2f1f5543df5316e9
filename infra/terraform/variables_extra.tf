# What most deployments leave as it is.

variable "compact_every" {
  description = "How often small files are made few."
  type        = string
  default     = "rate(1 hour)"
  nullable    = false

  validation {
    condition     = can(regex("^(rate\\(([1-9][0-9]* (minutes|hours|days)|1 (minute|hour|day))\\)|cron\\([^()]+\\))$", var.compact_every))
    error_message = "How often to compact is written rate(1 hour), rate(30 minutes) or cron(…)."
  }
}

variable "compaction" {
  description = "Who makes small files few: function, or athena (OPTIMIZE and VACUUM) for tables beyond one function."
  type        = string
  default     = "function"
  nullable    = false

  validation {
    condition     = contains(["function", "athena"], var.compaction)
    error_message = "Compaction is done by function or by athena."
  }
}

variable "horizon_hours" {
  description = "How many hours of work a source's queue holds; what the rate cannot reach by then waits in the backlog."
  type        = number
  default     = 6
  nullable    = false

  validation {
    condition     = var.horizon_hours >= 0.01 && var.horizon_hours <= 72
    error_message = "The horizon is 0.01 to 72 hours: queues keep a message ten days."
  }
}

variable "lane_minutes" {
  description = "Minutes after which the next lane of a source takes over."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.lane_minutes >= 5 && var.lane_minutes <= 1440
    error_message = "A lane works for 5 to 1440 minutes before the next one does."
  }
}

variable "lane_rest_minutes" {
  description = "Minutes that a lane rests at least, from the last request that it can have made; the lane before it works on until then."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.lane_rest_minutes >= 0 && var.lane_rest_minutes <= 1440
    error_message = "A lane rests for 0 to 1440 minutes before its next turn."
  }
}

variable "shard_concurrency" {
  description = "Keyword files (or parts of one) that are sharded at once."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.shard_concurrency >= 2 && var.shard_concurrency <= 1000 && floor(var.shard_concurrency) == var.shard_concurrency
    error_message = "The shard concurrency is a whole number from 2, the least that SQS mappings know, to 1000."
  }
}

variable "memory" {
  description = "MB of memory by function; a source's fetch functions have theirs in sources."
  type = object({
    shard     = optional(number, 1769)
    aggregate = optional(number, 2048)
    compact   = optional(number, 3008)
    conduct   = optional(number, 256)
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([for megabytes in values(var.memory) :
    megabytes >= 256 && megabytes <= 10240 && floor(megabytes) == megabytes])
    error_message = "A function's memory is a whole number of MB from 256 to 10240 (new accounts: to 3008)."
  }
}

variable "reserved_concurrency" {
  description = "Reserved concurrency by function (shard, fetch, aggregate, compact, conduct; fetch: each lane); none by default."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([for stage, reserved in var.reserved_concurrency :
      contains(["shard", "fetch", "aggregate", "compact", "conduct"], stage) && reserved >= 1 && reserved <= 1000 && floor(reserved) == reserved
    ])
    error_message = "Reserved concurrency is a whole number from 1 to 1000 for shard, fetch, aggregate, compact or conduct."
  }

  validation {
    condition = alltrue([
      try(var.reserved_concurrency.shard, 1000) >= var.shard_concurrency,
      try(var.reserved_concurrency.fetch, 1000) >= max(2, [for source in var.sources : source.max_concurrency]...),
      try(var.reserved_concurrency.aggregate, 1000) >= 2,
    ])
    error_message = "Reserved concurrency is at least what the function's mapping may use (shard_concurrency, max_concurrency, aggregate 2): less sends healthy messages to the dead-letter queue."
  }
}

variable "measure" {
  description = "Whether to make what serpline measure needs: probe functions, their queue, a group for one-time schedules."
  type        = bool
  default     = false
  nullable    = false
}

variable "measure_copies" {
  description = "Copies of the probe function, which measure lifetime takes in turn, so that each rests meanwhile."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.measure_copies >= 1 && var.measure_copies <= 10 && floor(var.measure_copies) == var.measure_copies
    error_message = "The copies of the probe are a whole number from 1 to 10."
  }
}

variable "packages" {
  description = "The folder of the functions' zips, as make package leaves them."
  type        = string
  default     = "../../build/packages"
  nullable    = false

  validation {
    condition = alltrue([for weight in ["light", "heavy"] :
      fileexists("${var.packages}/${weight}-${coalesce(var.package_build, var.architecture)}.zip")
    ])
    error_message = "The folder of packages has no light-<build>.zip or no heavy-<build>.zip for this build: run `make package` first."
  }
}

variable "package_build" {
  description = "Which build of the zips: null is that of the architecture; local is this machine's Python, for an emulator."
  type        = string
  default     = null

  validation {
    condition     = var.package_build == null || try(contains(["arm64", "x86_64", "local"], var.package_build), false)
    error_message = "The build of the packages is arm64, x86_64 or local."
  }
}

variable "architecture" {
  description = "The functions' processor: arm64 (cheaper) or x86_64."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "function_runtime" {
  description = "The functions' runtime; an emulator that brings its own Python takes provided.al2023 with package_build local."
  type        = string
  default     = "python3.13"
  nullable    = false

  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13", "python3.14", "provided.al2023"], var.function_runtime)
    error_message = "The runtime is python3.11 to python3.14 or provided.al2023; the packages are built for python3.13."
  }
}

variable "function_environment" {
  description = "Environment variables of every function beside Serpline's own, which they override: for local emulators and trials."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name, _ in var.function_environment : can(regex("^[A-Za-z][A-Za-z0-9_]+$", name))])
    error_message = "An environment variable's name has letters, digits and underscores and begins with a letter."
  }
}
