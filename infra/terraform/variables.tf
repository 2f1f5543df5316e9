# What a deployment is called, where it stands and how it is kept. The engines are in variables_sources.tf,
# what only some need in variables_extra.tf.

variable "name" {
  description = "Begins every name of this copy; copies of one account differ in it, in all regions (IAM roles are global)."
  type        = string
  default     = "serpline"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,24}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 26 lower-case letters, digits and hyphens, begins with a letter and ends with a letter or a digit."
  }
}

variable "contact" {
  description = "Where the operator can be reached: an e-mail address or an https page. It stands in the User-Agent of every request."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[^\\s@]+@[^\\s@]+\\.[^\\s@]+$", var.contact)) || can(regex("^https://[^\\s]+$", var.contact))
    error_message = "The contact is an e-mail address or a page that begins with https://: engines are asked openly or not at all."
  }

  validation {
    condition     = can(regex("^[ -~]{1,200}$", var.contact))
    error_message = "The contact has at most 200 plain ASCII characters: it travels in a header."
  }
}

variable "region" {
  description = "AWS region; null takes that of the environment."
  type        = string
  default     = null

  validation {
    condition     = var.region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region is written as AWS writes it, as in eu-central-1."
  }
}

variable "tags" {
  description = "Tags of everything, beside serpline = name."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "bucket_name" {
  description = "The bucket; null is <name>-<account>-<region>."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "The bucket's name has 3 to 63 lower-case letters, digits and hyphens (no dots: they break TLS)."
  }
}

variable "force_destroy" {
  description = "Whether destroy may delete the bucket with everything in it. False: the data survives."
  type        = bool
  default     = false
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether the pacer's table refuses to be deleted."
  type        = bool
  default     = false
  nullable    = false
}

variable "encrypt_with_kms" {
  description = "Whether to make a KMS key and encrypt bucket, queues, topic, logs and function settings with it."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "A KMS key of yours for the same; its policy needs the statements of output kms_key_statements."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "The KMS key is given by its ARN, as in arn:aws:kms:eu-central-1:111122223333:key/1234abcd-… (an alias is not enough)."
  }

  validation {
    condition     = var.kms_key_arn == null || !var.encrypt_with_kms
    error_message = "Give kms_key_arn for a key of yours or encrypt_with_kms for a new one, not both."
  }
}

variable "raw_days" {
  description = "Days that raw pages are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.raw_days >= 1 && var.raw_days <= 3650 && floor(var.raw_days) == var.raw_days
    error_message = "Raw pages are kept for a whole number of days from 1 to 3650."
  }
}

variable "log_retention_days" {
  description = "Days that the functions' logs are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 days or whole years in days up to 3653."
  }
}

variable "bytes_scanned_cutoff" {
  description = "Bytes after which Athena ends a query of the workgroup (10 GB: 5 US cents at 5 USD a TB)."
  type        = number
  default     = 10000000000
  nullable    = false

  validation {
    condition     = var.bytes_scanned_cutoff >= 10000000 && floor(var.bytes_scanned_cutoff) == var.bytes_scanned_cutoff
    error_message = "Athena's cutoff is a whole number of bytes, 10000000 (10 MB) at least."
  }
}

variable "notify" {
  description = "E-mail addresses that alarms and run-complete messages go to; each is asked to confirm."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.notify : can(regex("^[^\\s@]+@[^\\s@]+\\.[^\\s@]+$", address))])
    error_message = "Each entry of notify is an e-mail address."
  }
}

variable "alarms" {
  description = "Whether to make the alarms (about 0.10 USD each a month)."
  type        = bool
  default     = true
  nullable    = false
}

variable "monthly_budget_usd" {
  description = "A monthly budget in US dollars for what carries the tag serpline = name; null makes none."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget_usd == null || try(var.monthly_budget_usd > 0, false)
    error_message = "The monthly budget is more than 0 US dollars."
  }
}
