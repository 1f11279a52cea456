# Settings of the zone, on any plan. They are the zone's, and so of all names in it.
locals {
  zone_settings = {
    ssl                      = "strict" # the origin's certificate is looked at: cert-manager's, or Cloudflare's origin CA
    min_tls_version          = "1.2"
    tls_1_3                  = "on"
    always_use_https         = "on"
    automatic_https_rewrites = "off" # answers are JSON
    http3                    = "on"
    "0rtt"                   = "off" # a request that can be sent again by somebody else
    brotli                   = "on"
    websockets               = "off" # there are no subscriptions
    always_online            = "off" # it would send old answers, and has stale-while-revalidate ignored
    development_mode         = "off"
    browser_check            = "off" # clients are programs
    email_obfuscation        = "off" # it would change answers
    security_level           = "medium"
  }
}

resource "cloudflare_zone_setting" "this" {
  for_each   = local.zone_settings
  zone_id    = var.zone_id
  setting_id = each.key
  value      = each.value
}

# What one data center does not have it asks another for, and only that one an origin: origins are asked once for
# the world, and not once for each of 330 cities. Any plan.
resource "cloudflare_argo_tiered_caching" "this" {
  zone_id = var.zone_id
  value   = "on"
}

# Which one is found by latency to the origin. With several regions behind a load balancer Cloudflare knows no single
# one, and takes several. Any plan.
resource "cloudflare_tiered_cache" "this" {
  zone_id = var.zone_id
  value   = "on"
}

# Origins let in who shows Cloudflare's certificate: the gateway must ask for it (docs/deployment/worldwide.md). It is
# that of all of Cloudflare's customers, so it keeps out who goes around Cloudflare, and not who has an account there.
resource "cloudflare_authenticated_origin_pulls_settings" "this" {
  zone_id = var.zone_id
  enabled = true
}
