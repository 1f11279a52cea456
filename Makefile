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
.PHONY: help build run test lint fuzz chaos bench systemd graphiql clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/nekoctl and bin/neko-api, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/nekoctl ./cmd/neko-api

run: build ## the API in the foreground, a worker for each CPU; Ctrl-C drains it
	@exec bin/nekoctl start --no-daemon

# The race detector makes SQLite many times slower, so imports that are large or
# many are looked at without it, and so is what allocates nothing.
#
# Most tests wait for processes rather than compute, so one package more runs at a
# time than there are CPUs.
#
# A test that hangs ends with the stacks of all goroutines, before a CI run's
# own limit ends it without a word.
test: ## all tests, with the race detector if there is a C compiler
	$(if $(RACE),,@echo 'testing without the race detector: no C compiler, or RACE is empty' >&2)
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -p $$(($$(nproc) + 1)) -timeout 8m $(ARGS) $(PKG)
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

bench: build ## start, crash, memory, what clients lose, each beside PM2, and limits; needs node, npm, redis-server
	$(GO) run ./scripts/bench -bin bin

# RELEASE=trixie tries systemd 257.
RELEASE ?= bookworm
systemd: build ## the units under a real systemd, in a container; root, debootstrap, systemd-nspawn
	scripts/systemd/try $(RELEASE)

graphiql: ## what worker/graphiql embeds, after a change of its sources; needs node and npm
	cd worker/graphiql && npm ci --ignore-scripts --no-audit --no-fund && npm run build

clean: ## remove bin/
	rm -rf bin
