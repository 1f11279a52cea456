# Copy it to terraform.tfvars, which is yours. There is no secret in it.
account_id = "00000000000000000000000000000001"
zone_id    = "00000000000000000000000000000002"
zone       = "example.com"
hostname   = "api.example.com"

regions = {
  us-east-1 = {
    address   = "192.0.2.10"
    latitude  = 38.9
    longitude = -77.4
    serves    = ["WNAM", "ENAM", "NSAM", "SSAM"]
    next      = ["eu-west-1", "ap-northeast-1"]
  }
  eu-west-1 = {
    address   = "198.51.100.10"
    latitude  = 53.3
    longitude = -6.3
    serves    = ["WEU", "EEU", "ME", "NAF", "SAF"]
    next      = ["us-east-1", "ap-northeast-1"]
  }
  ap-northeast-1 = {
    address   = "203.0.113.10"
    latitude  = 35.7
    longitude = 139.7
    serves    = ["NEAS", "SEAS", "SAS", "OC"]
    next      = ["us-east-1", "eu-west-1"]
  }
}

fallback_region = "us-east-1"
