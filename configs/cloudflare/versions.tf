# Terraform 1.9 or OpenTofu 1.9 and later: validations of variables refer to other variables.
terraform {
  required_version = ">= 1.9.0"

  required_providers {
    cloudflare = {
      source = "cloudflare/cloudflare"
      # 5 is another language than 4: blocks have become attributes.
      version = "~> 5.14"
    }
  }
}

# The token is in CLOUDFLARE_API_TOKEN, and in no file. It needs for the zone: Zone Settings, Zone WAF, Cache Rules,
# Transform Rules, Config Rules, Load Balancers, DNS, SSL and Certificates (all Edit); and for the account: Load
# Balancing: Monitors and Pools (Edit). It is not the token that neko-api has: that one may purge, and nothing else.
provider "cloudflare" {}
