# Floods of one address, before they cost an origin anything: far above what neko-api's own limits allow (docs/limits.md),
# which count by identity, cost and operation, and tell the client what is left. Any plan: one rule on Free, of 10 s.
resource "cloudflare_ruleset" "rate" {
  zone_id = var.zone_id
  name    = "neko-api: floods"
  kind    = "zone"
  phase   = "http_ratelimit"

  rules = [{
    ref         = "neko_floods"
    description = "One address, at one data center"
    expression  = local.host
    action      = "block"
    ratelimit = {
      characteristics     = ["cf.colo.id", "ip.src"] # that it is counted by data center is a must
      period              = var.rate_limit_period
      requests_per_period = var.rate_limit
      mitigation_timeout  = var.rate_limit_period # as long as it must be on Free and Pro
    }
  }]
}
