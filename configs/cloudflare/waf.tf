# What never gets to an origin. Custom rules: any plan, five on Free.
resource "cloudflare_ruleset" "custom" {
  zone_id = var.zone_id
  name    = "neko-api: who is let in"
  kind    = "zone"
  phase   = "http_request_firewall_custom"

  rules = concat([
    {
      ref         = "neko_methods"
      description = "Other methods than neko-api has"
      expression  = "${local.host} and not http.request.method in {\"GET\" \"POST\" \"HEAD\" \"OPTIONS\"}"
      action      = "block"
    },
    {
      ref         = "neko_paths"
      description = "Other paths"
      expression  = "${local.host} and not http.request.uri.path in {${join(" ", [for p in var.paths : "\"${p}\""])}}"
      action      = "block"
    },
    {
      ref         = "neko_types"
      description = "Bodies that are no JSON: what a form of another site can send is none"
      expression  = "${local.host} and http.request.method eq \"POST\" and not any(lower(http.request.headers[\"content-type\"][*])[*] contains \"json\")"
      action      = "block"
    },
    {
      ref         = "neko_urls"
      description = "URLs that are no persisted query, and longer than one is"
      expression  = "${local.host} and len(http.request.uri) gt 8192"
      action      = "block"
    },
    ], var.max_body == 0 ? [] : [
    {
      ref         = "neko_bodies"
      description = "Bodies that neko-api would refuse"
      expression  = "${local.host} and http.request.body.size gt ${var.max_body}"
      action      = "block"
    },
  ])
}

# Cloudflare's managed rules know what is exploited at the moment; OWASP's add up what looks like an attack. Pro or more;
# Free has a small set that is always on.
resource "cloudflare_ruleset" "managed" {
  count   = var.managed_waf ? 1 : 0
  zone_id = var.zone_id
  name    = "neko-api: managed rules"
  kind    = "zone"
  phase   = "http_request_firewall_managed"

  rules = [
    {
      ref         = "neko_cloudflare"
      description = "Cloudflare's"
      expression  = local.host
      action      = "execute"
      action_parameters = {
        id = "efb7b8c949ac4650a09736fc376e9aee"
      }
    },
    {
      ref         = "neko_owasp"
      description = "OWASP's core rules"
      expression  = local.host
      action      = "execute"
      action_parameters = {
        id = "4814384a9e5d4991b9815dcfc25d2f1f"
        overrides = {
          # Paranoia level 1: an indicator's pattern is what the others look for.
          categories = [for level in [2, 3, 4] : { category = "paranoia-level-${level}", enabled = false }]
          rules = [{
            id              = "6179ae15870a4bb7b2d480d4843b323c" # the one that decides by the score
            action          = var.owasp_action
            score_threshold = 60 # low sensitivity
          }]
        }
      }
    },
  ]
}

# HTTP DDoS protection is always on, on any plan; here only how soon it acts.
resource "cloudflare_ruleset" "ddos" {
  count   = var.ddos_sensitivity == "default" ? 0 : 1
  zone_id = var.zone_id
  name    = "neko-api: DDoS"
  kind    = "zone"
  phase   = "ddos_l7"

  rules = [{
    ref         = "neko_ddos"
    description = "Clients that ask in bursts are no attack"
    expression  = "true" # another one is Enterprise's, with Advanced DDoS
    action      = "execute"
    action_parameters = {
      id        = "4d21379b4f9f4bb088e0729962c8b3cf"
      overrides = { sensitivity_level = var.ddos_sensitivity }
    }
  }]
}
