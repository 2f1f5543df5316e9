variable "name" {
  description = "The function's name, and its role's."
  type        = string
}

variable "description" {
  description = "What the function does, in a line."
  type        = string
}

variable "handler" {
  description = "Where its code begins, as in lambdas.fetch.handler."
  type        = string
}

variable "code" {
  description = "The zip with its code: an object's version, and the hash of what is in it."
  type        = object({ bucket = string, key = string, version = string, hash = string })
}

variable "common" {
  description = "What all functions are given alike."
  type = object({
    runtime            = string
    architecture       = string
    log_retention_days = number
    kms_key_arn        = string
    encrypted          = bool
  })
}

variable "memory" {
  description = "MB of memory."
  type        = number
}

variable "timeout" {
  description = "Seconds that one invocation may take."
  type        = number
}

variable "storage" {
  description = "MB of disk."
  type        = number
  default     = 512
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)
}

variable "permissions" {
  description = "What the function may do, by a word for it."
  type = map(object({
    actions   = list(string)
    resources = list(string)
    condition = optional(object({ test = string, variable = string, values = list(string) }))
  }))
}

variable "recursive" {
  description = "Whether it may send to the queue that it takes from. Otherwise Lambda ends such a chain after about 16 turns."
  type        = bool
  default     = false
}

variable "asynchronous" {
  description = "How often an asynchronous invocation is tried again, and how many seconds old it may get."
  type        = object({ retries = number, seconds = number })
  default     = null
}

variable "reserved" {
  description = "Reserved concurrency; null is none."
  type        = number
  default     = null
}
