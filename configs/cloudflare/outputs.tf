output "neko_api" {
  description = "Settings that every neko-api has, besides --cloudflare-token-file. Its token is made by hand, so that it is in no state file: My Profile, API Tokens, Custom token, Zone - Cache Purge - Purge, this zone only."
  value = {
    NEKO_API_CLOUDFLARE_ZONE  = var.zone_id
    NEKO_API_CLOUDFLARE_HOSTS = var.hostname
  }
}

output "pools" {
  description = "The pool of each region: to take one out by hand, docs/deployment/worldwide.md."
  value       = { for name, pool in cloudflare_load_balancer_pool.region : name => pool.id }
}
