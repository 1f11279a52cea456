// A module of its own: what reads licences and writes bills of materials is nothing that neko depends on.
module github.com/nekoctl/neko/scripts/licenses

go 1.26.0

require (
	github.com/CycloneDX/cyclonedx-go v0.12.0
	github.com/google/licensecheck v0.3.1
)
