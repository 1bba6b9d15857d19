# Every target works alone; `make help` lists them.
SHELL := /bin/bash
GO ?= go
BIN := bin
SEED ?= 1
SEEDS ?= 2000
FUZZTIME ?= 10s
LDFLAGS := -s -w
export CGO_ENABLED ?= 0

.PHONY: help build demo test race sim twins fuzz mutants golden lint bench ci clean cross narrow

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

build: ## build themis, themisd and themisd-byz into ./bin
	@echo "building ./bin/themis, ./bin/themisd and ./bin/themisd-byz"
	@mkdir -p $(BIN)
	@$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/themis ./cmd/themisd ./cmd/themisd-byz

demo: build ## a real cluster of 4 processes, a killed primary, a lying replica (< 60 s)
	@$(BIN)/themis demo

test: ## all tests but the long campaigns (< 8 minutes on 2 cores)
	@echo "running every package's tests"
	@scripts/need-python >/dev/null || [ "$$(id -u)" != 0 ] # others see the tests of clients/python skipped
	@$(GO) test -timeout 8m ./...

race: ## the tests under the race detector (needs a C compiler)
	@scripts/need-cc
	@CGO_ENABLED=1 $(GO) test -race -short -timeout 20m ./...

sim: build ## SEEDS fresh simulator seeds from SEED on
	@$(BIN)/themis sim run --protocol pbft --replicas 4 --seeds $(SEED)-$$(( $(SEED) + $(SEEDS) - 1 ))

twins: build ## all schedules of 4 replicas with each identity twice (long: 2 million runs)
	@$(BIN)/themis sim twins --replicas 4 --twin all

fuzz: ## every fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

mutants: ## break each rule on purpose and see which test notices
	@scripts/mutants

golden: ## write the golden files anew and show what changed
	@$(GO) test ./protocol/pbft -rewrite
	@$(GO) test ./internal/vectors -run TestFilesAreWhatTheCodeMakes -rewrite
	@git diff --stat -- '*/testdata/*' docs/vectors

lint: ## gofmt, go vet and the rules of the house
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'ed:"; echo "$$out"; exit 1; fi
	@$(GO) vet ./...
	@$(GO) vet -tags mutants ./...
	@$(GO) test ./internal/lint

cross: ## build the programs for linux on amd64, arm64 and arm
	@for t in amd64 arm64 arm; do echo "building for linux/$$t"; GOOS=linux GOARCH=$$t GOARM=7 $(GO) build -o /dev/null ./... || exit 1; done

narrow: ## the tests of what reads bytes of others, with an int of 32 bits as on arm
	@GOARCH=386 $(GO) test ./wire ./exec ./catchup ./host ./client ./app/... ./protocol/... ./storage/...

bench: build ## throughput, latency, CPU and memory at 10 and 100 clients
	@scripts/bench

ci: ## what continuous integration runs
	@.ci/run

clean: ## remove ./bin
	@rm -rf $(BIN)
