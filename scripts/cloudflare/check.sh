#!/bin/sh
# check.sh looks at configs/cloudflare with a real OpenTofu: fmt -check, init, validate, and plan with example.tfvars; and
# that what is wrong on purpose is found. It needs the Go module proxy and npm, and some minutes and 3 GB at the first
# time; what it builds stays in ~/.cache/neko/cloudflare.
#
# The provider is a stand-in (main.go): its schema is that of Cloudflare's, its plan asks no API.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/neko/cloudflare
tofu_version=v1.12.6     # opentofu
cdktf_version=13.9.1     # @cdktf/provider-cloudflare, made from
provider_version=5.14.0  # this version of the provider
mkdir -p "$cache"

tofu=$cache/tofu-$tofu_version
if [ ! -x "$tofu" ]; then
	build=$(mktemp -d)
	trap 'rm -rf "$build"' EXIT
	cd "$build"
	go mod init build >/dev/null 2>&1
	go get "github.com/opentofu/opentofu@$tofu_version" >/dev/null 2>&1
	# OpenTofu has its own HCL, by a replace that holds only in its own module.
	own=$(sed -n 's|^replace github.com/hashicorp/hcl/v2.*=> \(.*\) \(.*\)$|\1@\2|p' "$(go list -m -f '{{.Dir}}' github.com/opentofu/opentofu)/go.mod")
	go mod edit -replace "github.com/hashicorp/hcl/v2=$own"
	GOFLAGS=-mod=mod go build -p 2 -o "$tofu.new" github.com/opentofu/opentofu/cmd/tofu
	mv "$tofu.new" "$tofu"
fi
jsii=$cache/jsii-$cdktf_version.json
if [ ! -f "$jsii" ]; then
	work=$(mktemp -d)
	(cd "$work" && npm pack --silent "@cdktf/provider-cloudflare@$cdktf_version" >/dev/null && tar -xzf ./*.tgz package/.jsii)
	mv "$work/package/.jsii" "$jsii"
	rm -rf "$work"
fi
platform=$(go env GOOS)_$(go env GOARCH)
mirror=$cache/mirror
for registry in registry.opentofu.org registry.terraform.io; do
	dir=$mirror/$registry/cloudflare/cloudflare/$provider_version/$platform
	mkdir -p "$dir"
	(cd "$here" && go build -o "$dir/terraform-provider-cloudflare_v$provider_version" .)
done

# A copy: what init writes has no place among the sources.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/../../configs/cloudflare/* "$work"
cd "$work"
cat >tofurc <<EOF
provider_installation {
  filesystem_mirror { path = "$mirror" }
}
EOF
export TF_CLI_CONFIG_FILE="$work/tofurc" NEKO_CLOUDFLARE_JSII="$jsii" TF_IN_AUTOMATION=1
"$tofu" fmt -check -diff .
"$tofu" init -no-color -input=false -backend=false >init.log || { cat init.log; exit 1; }
"$tofu" validate -no-color
"$tofu" plan -no-color -input=false -lock=false -var-file example.tfvars >plan.log || { cat plan.log; exit 1; }
if [ "${1:-}" = plan ]; then cat plan.log; else grep '^Plan:' plan.log; fi

# An attribute within another that the schema does not have is dropped without a word, by any Terraform: so every name
# that is written must be in the plan.
names() {
	awk '/^resource "/ {on = 1} on {print} /^}/ {on = 0}' ./*.tf | sed 's/#.*//' | grep -oE '(^ +|[{,] *)"?[A-Za-z0-9_-]+"? += ' | tr -d ' {,="' | grep -vxE 'for_each|count' | sort -u
}
dropped() {
	"$tofu" plan -no-color -input=false -lock=false -var-file example.tfvars -var ddos_sensitivity=medium -var max_body=1048576 >whole.log || { cat whole.log; exit 1; }
	names | while read -r name; do
		grep -qE "\\+ \"?$name\"? += " whole.log || echo "$name"
	done
}
lost=$(dropped)
[ -z "$lost" ] || { echo "check.sh: not in the plan, so not in the provider's schema:" $lost >&2; exit 1; }

# What must be found.
wrong() {
	what=$1
	shift
	if "$tofu" "$@" -no-color >wrong.log 2>&1; then
		echo "check.sh: not found: $what" >&2
		exit 1
	fi
	echo "found: $what"
}
plan="plan -input=false -lock=false -var-file example.tfvars"
wrong "a region that is nobody's next" $plan -var 'fallback_region=us-east-1' -var 'regions={a={address="192.0.2.1",latitude=0,longitude=0,serves=["WEU"],next=[]},us-east-1={address="192.0.2.2",latitude=0,longitude=0,serves=["ENAM"],next=[]}}'
wrong "a fallback that is no region" $plan -var fallback_region=mars
wrong "a zone that is no id" $plan -var zone_id=example.com
sed -i 's/"http_ratelimit"/"http_ratelimits"/' ratelimit.tf
wrong "a phase that there is not" validate
sed -i 's/"http_ratelimits"/"http_ratelimit"/; s/requests_per_period/requests_per_second/' ratelimit.tf
if [ "$(dropped)" != requests_per_second ]; then
	echo "check.sh: not found: an attribute that there is not: $(dropped)" >&2
	exit 1
fi
echo "found: an attribute that there is not"
