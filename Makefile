# `make` lists the targets. Go is all that most of them need; the tools are pinned
# in tools/go.mod and built into bin/ on first use.

GO      ?= go
# The control plane and the tools are built so: one build cache serves everything, in any folder.
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)
# As the image is built, so that its test has nothing left to compile.
export CGO_ENABLED := 0
DOCKER  ?= docker
IMAGE   ?= keyroll:$(VERSION)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# How long each fuzz target runs.
FUZZTIME ?= 30s
# How often each Go benchmark runs, and which suites of e2e/bench do; all by default.
COUNT ?= 1
SUITES ?=
# Where `make manifests` writes.
OUT ?= manifests

BIN      := $(CURDIR)/bin
HELM     := $(BIN)/helm
LINT     := $(BIN)/golangci-lint
VULN     := $(BIN)/govulncheck
RENDER    = $(HELM) template keyroll manifests/chart --namespace keyroll-system --kube-version 1.30.0 --no-hooks
VARIANTS  = $(wildcard manifests/testdata/*.values.yaml)

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# One package of the end-to-end tests at a time: each boots a control plane of its own.
# -count=1: what they run and read beyond their own module, go test does not look at
# before it answers from its cache.
.PHONY: test
test: ## all tests, with Go alone; the first run builds a Kubernetes control plane, which takes minutes
	$(GO) test ./...
	$(GO) -C manifests/oldest test -count=1 ./...
	$(GO) -C e2e build ./...
	$(GO) -C e2e/alerts test -count=1 ./...
	$(GO) -C e2e test -p 1 -count=1 -timeout 60m ./...

.PHONY: soak
soak: ## what make test leaves out, for long: faults under load, attacks, stories at their full length and from outside, 100,000 simulated sequences
	KEYROLL_SOAK=1 $(GO) -C e2e test -p 1 -v -timeout 90m -count=1 ./soak ./stories ./demo
	$(GO) test -timeout 2h -count=1 -run '^Test(OneThingAtATime|RotationsAndFaults|AnythingGoes)$$' ./watcher/rollout -sequences 100000

.PHONY: mutants
mutants: ## negate every condition of the decision core, one at a time: a test must notice (minutes)
	$(GO) test -tags mutation -timeout 4h -count=1 -v -run '^TestMutation$$' ./watcher/rollout

# Which of them: each waits for minutes until a real driver has polled.
RUN ?= ^TestRotat
.PHONY: e2e-cluster
e2e-cluster: ## the stories of rotation on the cluster of KUBECONFIG, with its real driver and vault: docs/testing.md
	@test -n "$$KUBECONFIG" && test -n "$$E2E_ROTATE" || { echo "KUBECONFIG or E2E_ROTATE is not set: see docs/testing.md"; exit 1; }
	$(GO) -C e2e test -timeout 12h -count=1 -v ./stories -run '$(RUN)'

.PHONY: demo
demo: ## inject, rotate and roll on a real control plane; KEEP=1 leaves it running
	$(GO) -C e2e run ./demo $(if $(KEEP),-keep)

.PHONY: check
check: format vet lint race manifests-check tidy ## what CI checks besides the tests: format, vet, lint, -race, manifests, go.mod

.PHONY: format
format:
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
	$(GO) -C manifests/oldest vet ./...
	$(GO) -C e2e vet ./...
	$(GO) -C e2e/alerts vet ./...

.PHONY: lint
lint: $(LINT)
	$(LINT) run --allow-parallel-runners ./...
	cd e2e && $(LINT) run --allow-parallel-runners --config ../.golangci.yml ./...
	cd e2e/alerts && $(LINT) run --allow-parallel-runners --config ../../.golangci.yml ./...

# -short leaves out what boots a cluster: `make test` runs it, and most of it is another process.
.PHONY: race
race:
	@unset CGO_ENABLED; if [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC | cut -d ' ' -f 1)" >/dev/null; then \
	  set -x; \
	  $(GO) test -race ./... && $(GO) -C e2e test -race -short ./...; \
	else \
	  echo "race: SKIPPED, the race detector needs a C compiler and CGO_ENABLED=1"; \
	fi

.PHONY: manifests
manifests: $(HELM) ## render manifests/install.yaml and the variants that the tests read from the chart
	@mkdir -p $(OUT)/testdata
	$(HELM) lint --strict --quiet manifests/chart
	@{ echo '# Rendered from manifests/chart by make manifests. Do not edit.'; \
	  $(RENDER) --set namespace.create=true; } > $(OUT)/install.yaml
	@set -e; for values in $(VARIANTS); do \
	  $(RENDER) --values $$values > $(OUT)/testdata/$$(basename $$values .values.yaml).yaml; \
	done

.PHONY: manifests-check
manifests-check: $(HELM)
	@rm -rf .cache/manifests
	@$(MAKE) --no-print-directory manifests OUT=.cache/manifests
	@set -e; cd .cache/manifests; for file in install.yaml testdata/*.yaml; do \
	  diff -u ../../manifests/$$file $$file || { echo "manifests/$$file is out of date: run make manifests"; exit 1; }; \
	done

.PHONY: tidy
tidy:
	$(GO) mod tidy -diff
	$(GO) -C manifests/oldest mod tidy -diff
	$(GO) -C e2e mod tidy -diff
	$(GO) -C e2e/alerts mod tidy -diff
	$(GO) -C e2e/cluster/controlplane mod tidy -diff
	$(GO) -C tools mod tidy -diff

.PHONY: bench
bench: ## benchmarks (for benchstat: COUNT=10), then the binaries measured on a real control plane
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./...
	$(GO) -C e2e run ./bench $(SUITES)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

.PHONY: golden
golden: ## rewrite the golden files; read the difference before you commit it
	$(GO) test $$(grep -rl --include='*_test.go' -e '"keyroll.dev/internal/golden"' -e 'flag.Bool("update"' certs cmd internal watcher webhook | xargs -n1 dirname | sort -u | sed 's|^|./|') -update

.PHONY: image
image: ## build the image of both binaries (IMAGE, VERSION; needs docker buildx)
	$(DOCKER) buildx build --load --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

.PHONY: vuln
vuln: $(VULN) ## known vulnerabilities of what we call (needs the network)
	$(VULN) ./...

$(HELM): PACKAGE = helm.sh/helm/v3/cmd/helm
$(LINT): PACKAGE = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(VULN): PACKAGE = golang.org/x/vuln/cmd/govulncheck
$(HELM) $(LINT) $(VULN): tools/go.mod tools/go.sum
	@echo "building $(notdir $@), which takes minutes the first time"
	$(GO) -C tools build -o $@ $(PACKAGE)
