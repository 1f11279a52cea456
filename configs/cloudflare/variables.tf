variable "account_id" {
  description = "The account's id."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.account_id))
    error_message = "An account's id has 32 hexadecimal digits: dashboard, Overview, API."
  }
}

variable "zone_id" {
  description = "The zone's id, which neko-api has as --cloudflare-zone."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.zone_id))
    error_message = "A zone's id has 32 hexadecimal digits: dashboard, Overview, API."
  }
}

variable "zone" {
  description = "The zone's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.zone))
    error_message = "Write a name like example.com."
  }
}

variable "hostname" {
  description = "The name by which clients ask, in the zone; neko-api has it as --cloudflare-hosts."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.hostname))
    error_message = "Write a name like api.example.com, in small letters and without https://."
  }
  validation {
    condition     = endswith(var.hostname, ".${var.zone}")
    error_message = "It must be in the zone."
  }
}

variable "regions" {
  description = "The regions: where each one's gateway is, and which of Cloudflare's regions ask it first."
  type = map(object({
    address   = string       # of the gateway: an IP address, or a name that is not proxied
    latitude  = number       # for who looks at the map in the dashboard, and for proximity steering
    longitude = number       #
    serves    = list(string) # codes of Cloudflare's regions
    next      = list(string) # the other regions, nearest first: who answers if this one does not
  }))
  validation {
    condition     = length(var.regions) > 0 && alltrue([for name, _ in var.regions : can(regex("^[a-z0-9-]+$", name))])
    error_message = "Name at least one region, in small letters, digits and hyphens."
  }
  validation {
    condition = alltrue([for name, r in var.regions :
      toset(concat([name], r.next)) == toset(keys(var.regions)) && length(r.next) == length(var.regions) - 1
    ])
    error_message = "next of each region names each other region once: who is not there answers nobody when all others are gone."
  }
  validation {
    condition = length(flatten([for r in values(var.regions) : r.serves])) == length(distinct(flatten([for r in values(var.regions) : r.serves]))) && alltrue([
      for code in flatten([for r in values(var.regions) : r.serves]) :
      contains(["WNAM", "ENAM", "WEU", "EEU", "NSAM", "SSAM", "OC", "ME", "NAF", "SAF", "SAS", "SEAS", "NEAS"], code)
    ])
    error_message = "serves has codes of https://developers.cloudflare.com/load-balancing/reference/region-mapping-api/, each in one region only."
  }
}

variable "fallback_region" {
  description = "Where requests go of whom nothing else is said, and all if all regions are unhealthy: the region of MongoDB's primary."
  type        = string
  validation {
    condition     = contains(keys(var.regions), var.fallback_region)
    error_message = "It must be one of the regions."
  }
}

variable "monitor_interval" {
  description = "Seconds between two looks at a region. The least is the plan's: 60 on Pro, 15 on Business, 10 on Enterprise."
  type        = number
  default     = 15
  validation {
    condition     = var.monitor_interval >= 10 && var.monitor_interval <= 3600
    error_message = "10 to 3600."
  }
}

variable "check_regions" {
  description = "From where regions are looked at. More cost more requests: all of a code's data centers ask."
  type        = list(string)
  default     = ["ENAM", "WEU", "NEAS"]
}

variable "managed_waf" {
  description = "Run Cloudflare's managed rules and OWASP's. Pro or more."
  type        = bool
  default     = true
}

variable "owasp_action" {
  description = "What is done with what OWASP's rules find: this API's content is about attacks, and its mutations look like them. Begin with log (Enterprise), look for a week, and then block."
  type        = string
  default     = "log"
  validation {
    condition     = contains(["log", "block"], var.owasp_action)
    error_message = "log or block: no client of an API solves a challenge."
  }
}

variable "rate_limit" {
  description = "Requests of one address at one data center in rate_limit_period. It is for floods: what a client may have neko-api's own limits say, and these must be lower, or clients get Cloudflare's 429 and not neko-api's."
  type        = number
  default     = 1000
  validation {
    condition     = var.rate_limit >= 10
    error_message = "10 or more."
  }
}

variable "rate_limit_period" {
  description = "Seconds: 10 on Free, 10 or 60 on Pro, more on Business."
  type        = number
  default     = 10
  validation {
    condition     = contains([10, 60, 120, 300, 600, 3600], var.rate_limit_period)
    error_message = "10, 60, 120, 300, 600 or 3600."
  }
}

variable "max_body" {
  description = "The largest body of a request in bytes, neko-api's --max-body; 0 leaves it to neko-api, which refuses too. Only Enterprise can look at it here."
  type        = number
  default     = 0
}

variable "ddos_sensitivity" {
  description = "How soon the HTTP DDoS rules act: default is high, medium and low are for clients that ask in bursts."
  type        = string
  default     = "default"
  validation {
    condition     = contains(["default", "medium", "low"], var.ddos_sensitivity)
    error_message = "default, medium or low."
  }
}

variable "paths" {
  description = "What can be asked from outside. /readyz and /metrics are not among them: monitors ask the origins themselves."
  type        = list(string)
  default     = ["/graphql", "/health", "/.well-known/jwks.json"]
}
