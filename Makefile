# make lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
TOOL := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 5m
BIN ?= bin
IMAGE_ARCH ?= amd64,arm64

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## build bin/roost, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/roost ./cmd/roost

.PHONY: image
image: ## build bin/roost-image.tar, an OCI image of static binaries for IMAGE_ARCH, without a daemon
	@for a in $$(tr , ' ' <<<'$(IMAGE_ARCH)'); do set -x; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$a $(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/roost-linux-$$a ./cmd/roost; done
	$(GO) run ./packaging/image -arch $(IMAGE_ARCH) -binary $(BIN)/roost-linux-ARCH -o $(BIN)/roost-image.tar

.PHONY: check
check: ## what one runs before a commit: format, vet, staticcheck, unit tests, the house
	@out=$$(gofmt -l .); test -z "$$out" || { echo "not gofmt-ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	GOOS=darwin $(GO) build ./...
	$(GO) test -short ./...

.PHONY: test
test: ## every test; what needs a missing program or right is skipped by name
	$(GO) test $$($(GO) list ./... | grep -v '/e2e$$')
	$(GO) test -count=1 -v ./e2e

.PHONY: race
race: ## unit tests under the race detector
	$(GO) test -race -short -p 1 ./...

.PHONY: e2e
e2e: ## end-to-end tests alone, in full; ROOST_ENGINE=std for another engine than the default
	$(GO) test -count=1 -v ./e2e

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME, one after the other
	@for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for t in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$f/*_test.go | sed 's/func //'); do \
	    echo "== $$f $$t"; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) $$f; done; done

.PHONY: bench
bench: ## CPU per request beside HAProxy and nginx, in one interleaved run
	$(GO) run ./bench

.PHONY: golden
golden: ## rewrite golden files and transcripts; read the diff
	$(GO) test $$(grep -rlE 'flag.Bool\("update"' --include='*_test.go' . | xargs -n1 dirname | sort -u) -update
