# Which answers are kept. How long each says itself, by CDN-Cache-Control, and when it is not true any more neko-api
# tells, by its Cache-Tag (docs/caching.md). Any plan.
locals {
  host = "http.host eq \"${var.hostname}\""

  anonymous = "not any(lower(http.request.headers.names[*])[*] eq \"authorization\") and not any(lower(http.request.headers.names[*])[*] eq \"x-api-key\")"

  # Persisted queries by GET: a short URL, the same from all clients, of a document that neko-api knows.
  persisted = "(http.request.uri.query contains \"persistedQuery\" or http.request.uri.query contains \"documentId=\")"

  # Cloudflare ignores Vary: Accept, so only one type is kept: who takes the newer one, or anything, is given that.
  newer = "(any(http.request.headers[\"accept\"][*] contains \"application/graphql-response+json\") or any(http.request.headers[\"accept\"][*] contains \"*/*\"))"

  kept = "${local.host} and http.request.method eq \"GET\" and http.request.uri.path eq \"/graphql\" and ${local.anonymous} and ${local.persisted} and ${local.newer}"
}

resource "cloudflare_ruleset" "cache" {
  zone_id = var.zone_id
  name    = "neko-api: what is kept"
  kind    = "zone"
  phase   = "http_request_cache_settings"

  # The last rule that matches counts.
  rules = [
    {
      ref         = "neko_nothing"
      description = "Nothing is kept of neko-api, nor looked up"
      expression  = local.host
      action      = "set_cache_settings"
      action_parameters = {
        cache = false
      }
    },
    {
      ref         = "neko_persisted_queries"
      description = "but anonymous persisted queries by GET, as their answers say"
      expression  = local.kept
      action      = "set_cache_settings"
      action_parameters = {
        cache       = true
        edge_ttl    = { mode = "bypass_by_default" } # an answer that says nothing is not kept
        browser_ttl = { mode = "respect_origin" }
        serve_stale = { disable_stale_while_updating = false }
        # The key is scheme, host, path and the whole query, as it comes; and Origin, if it is sent. A cookie has no
        # say: neko-api looks at none.
        respect_strong_etags = true
      }
    },
  ]
}

resource "cloudflare_ruleset" "request_headers" {
  zone_id = var.zone_id
  name    = "neko-api: requests"
  kind    = "zone"
  phase   = "http_request_late_transform"

  rules = [{
    ref         = "neko_one_type"
    description = "One type for what is kept"
    expression  = local.kept
    action      = "rewrite"
    action_parameters = {
      headers = {
        "Accept" = { operation = "set", value = "application/graphql-response+json" }
      }
    }
  }]
}

resource "cloudflare_ruleset" "response_headers" {
  zone_id = var.zone_id
  name    = "neko-api: answers"
  kind    = "zone"
  phase   = "http_response_headers_transform"

  rules = [{
    ref         = "neko_nobodys"
    description = "What is kept says nothing of who asked first: CF-Ray names a request"
    expression  = local.kept
    action      = "rewrite"
    action_parameters = {
      headers = {
        "RateLimit"         = { operation = "remove" }
        "RateLimit-Policy"  = { operation = "remove" }
        "X-Request-Id"      = { operation = "remove" }
        "CDN-Cache-Control" = { operation = "remove" } # no other CDN is behind this one
      }
    }
  }]
}
