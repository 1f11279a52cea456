# Load Balancing is an add-on of any plan but Free, and geo steering one of that. docs/deployment/worldwide.md says what
# makes up the bill.

# The name of each region's gateway, not proxied: for who looks at one region, and for its certificate.
resource "cloudflare_dns_record" "region" {
  for_each = var.regions
  zone_id  = var.zone_id
  name     = "${each.key}.${var.hostname}"
  type     = can(regex("^[0-9.]+$", each.value.address)) ? "A" : strcontains(each.value.address, ":") ? "AAAA" : "CNAME"
  content  = each.value.address
  ttl      = 60 # a gateway may move
  proxied  = false
}

# A region is healthy while one of its pods can be asked: /readyz is 503 while a worker drains, or has no store. Redis away
# is no reason: workers go on without it.
resource "cloudflare_load_balancer_monitor" "ready" {
  account_id       = var.account_id
  description      = "neko-api is ready"
  type             = "https"
  method           = "GET"
  path             = "/readyz"
  port             = 443
  expected_codes   = "200"
  header           = { Host = [var.hostname] } # the gateway knows no other name
  interval         = var.monitor_interval
  timeout          = 5
  retries          = 2
  consecutive_down = 2
  consecutive_up   = 2
  follow_redirects = false
  allow_insecure   = false
  probe_zone       = var.zone # with its authenticated origin pulls
}

resource "cloudflare_load_balancer_pool" "region" {
  for_each      = var.regions
  account_id    = var.account_id
  name          = "neko-${each.key}"
  description   = "neko-api in ${each.key}"
  monitor       = cloudflare_load_balancer_monitor.ready.id
  check_regions = var.check_regions
  latitude      = each.value.latitude
  longitude     = each.value.longitude
  # One gateway: what is behind it is Kubernetes's business.
  minimum_origins = 1
  origins = [{
    name    = each.key
    address = each.value.address
    enabled = true
    weight  = 1
    header  = { host = [var.hostname] }
  }]
}

locals {
  # For each region its pool, and then those of its next.
  failover = { for name, r in var.regions : name => [for n in concat([name], r.next) : cloudflare_load_balancer_pool.region[n].id] }
}

resource "cloudflare_load_balancer" "api" {
  zone_id         = var.zone_id
  name            = var.hostname
  description     = "neko-api, the nearest region that is well"
  proxied         = true
  steering_policy = "geo"
  default_pools   = local.failover[var.fallback_region]
  fallback_pool   = cloudflare_load_balancer_pool.region[var.fallback_region].id
  region_pools    = merge([for name, r in var.regions : { for code in r.serves : code => local.failover[name] }]...)

  # Any worker of any region answers anybody: a token is good everywhere.
  session_affinity = "none"

  # What fails between two looks is asked of another region at once, if nothing was answered yet.
  adaptive_routing = { failover_across_pools = true }
}
