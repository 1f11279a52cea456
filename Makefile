# `make` says what there is.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.Version=$(VERSION)

# The race detector needs cgo and a C compiler; without one the tests still run.
RACE ?= $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)

# Under the race detector a process sleeps for a second at its end, in case that
# another thread has still something to report; the tests start hundreds.
export GORACE ?= atexit_sleep_ms=10

# For one package or one test: make test PKG=./supervisor/... ARGS='-run Reload -v'
PKG  ?= ./...
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run test lint fuzz chaos bench claims capacity gameday systemd packages packages-try image k8s cloudflare graphiql clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/nekoctl and bin/neko-api, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/nekoctl ./cmd/neko-api

run: build ## the API in the foreground, a worker for each CPU; Ctrl-C drains it
	@exec bin/nekoctl start --no-daemon

# The race detector makes SQLite many times slower, so imports that are large or
# many are looked at without it, and so is what allocates nothing.
#
# supervisor takes longest: it begins when most is compiled, so that it does not run
# alone at the end.
#
# A test that hangs ends with the stacks of all goroutines, before a CI run's
# own limit ends it without a word.
test: ## all tests, with the race detector if there is a C compiler
	$(if $(RACE),,@echo 'testing without the race detector: no C compiler, or RACE is empty' >&2)
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -timeout 8m $(ARGS) $(if $(filter ./...,$(PKG)),./api/... ./cmd/... ./supervisor) $(PKG)
	$(if $(RACE),$(if $(filter ./...,$(PKG)),CGO_ENABLED=0 $(GO) test -run 'TestLarge|TestOrder|TestAttack|OnAttack|Allocate' ./api ./api/stix ./api/auth ./worker))

lint: ## gofmt, go vet, staticcheck, go mod tidy
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then \
		echo "error: not formatted, run gofmt -w:" >&2; echo "$$unformatted" >&2; exit 1; \
	fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

# FUZZTIME=10m looks longer.
FUZZTIME ?= 1m
fuzz: ## every fuzzer for a minute, one after the other
	@for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for fuzzer in $$(grep -h '^func Fuzz' $$dir/*_test.go | sed 's/func \(Fuzz[A-Za-z]*\).*/\1/'); do \
			echo "$$dir $$fuzzer"; \
			$(GO) test $$dir -run '^$$' -fuzz "^$$fuzzer\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s || exit 1; \
		done; \
	done

# NEKO_CHAOS_ROW=REGEXP takes some of its rows (those of Node: ', http$$'), NEKO_CHAOS_SEED=N repeats the
# choices of an earlier run.
chaos: ## the whole matrix of docs/guarantees.md, an hour; root for all of it, node and npm
	CGO_ENABLED=0 NEKO_CHAOS=whole $(GO) test ./scripts/chaos -run Matrix -count 1 -timeout 0 -v $(ARGS)

# GAMEDAY='-only import' takes some of its failures.
gameday: build ## failures, one after the other, under load, against docs/deployment/disaster-recovery.md; needs redis-server, root for all of it
	$(GO) run ./scripts/gameday -bin bin $(GAMEDAY)
	$(if $(GAMEDAY),,$(GO) run ./scripts/gameday -bin bin -store mongodb -only MongoDB)

bench: build ## start, crash, memory, what clients lose, each beside PM2, and limits; needs node, npm, redis-server
	$(GO) run ./scripts/bench -bin bin

claims: build ## what docs/deployment/capacity.md claims, tried: ten minutes on a quiet machine; needs what bench needs
	$(GO) run ./scripts/bench -claims

capacity: build ## the figures and claims of that page, measured anew: twenty minutes on a quiet machine
	$(GO) run ./scripts/capacity --measure
	$(GO) test ./scripts/capacity -run Document -count 1 -update
	$(GO) run ./scripts/bench -claims -write

# RELEASE=trixie tries systemd 257.
RELEASE ?= bookworm
systemd: build ## the units under a real systemd, in a container; root, debootstrap, systemd-nspawn
	scripts/systemd/try $(RELEASE)

packages: ## dist/: deb, rpm and tarball for amd64 and arm64, with bills of materials and SHA256SUMS
	GOWORK=off $(GO) run -C scripts/packages . -version '$(VERSION)' -out dist

packages-try: ## these under a real systemd: installed, upgraded under load, removed; root, debootstrap, systemd-nspawn
	scripts/packages/try $(RELEASE)

image: ## dist/: the container image for amd64 and arm64, with bills of materials; needs no container engine
	@GOWORK=off $(GO) run -C scripts/image . \
		-version '$(VERSION)' -revision "$$(git rev-parse HEAD)"

k8s: ## the manifests, by the API server's own code too, which takes minutes to build; needs redis-server
	NEKO_K8S=whole NEKO_K8S_CRASHES=$${NEKO_K8S_CRASHES:-30} $(GO) test ./k8s -count 1 -timeout 30m $(ARGS)

cloudflare: ## configs/cloudflare by a real OpenTofu; needs npm and, the first time, ten minutes
	scripts/cloudflare/check.sh

graphiql: ## what worker/graphiql embeds, after a change of its sources; needs node and npm
	cd worker/graphiql && npm ci --ignore-scripts --no-audit --no-fund && npm run build

clean: ## remove bin/ and dist/
	rm -rf bin dist
