# What a person types; `make help` lists it. Everything is built in the release profile, so that RocksDB (about twelve
# minutes on two cores, once) is compiled a single time and what is tested is what ships.

ENGINE ?= raft
NODES ?= 3
CARGO ?= cargo

# RocksDB's objects are worth caching between target folders.
ifneq ($(shell command -v ccache),)
export CC := ccache gcc
export CXX := ccache g++
endif

# How many seeds `make sim` runs with each engine.
SEEDS ?= 5000

# What `make compare` measures.
PLAN ?= benches/experiments/quick.toml

.PHONY: help cluster test build lint bench compare sim deps

help:
	@echo "make cluster [ENGINE=raft|paxos] [NODES=3]   build and run a local cluster in the foreground"
	@echo "make test      build and run every test"
	@echo "make build     release build"
	@echo "make lint      format, clippy"
	@echo "make bench     criterion benches"
	@echo "make compare [PLAN=benches/experiments/quick.toml]   the engines side by side, with a report"
	@echo "make sim [SEEDS=5000]   both engines through random faults"

deps:
	@scripts/install-deps

build: deps
	$(CARGO) build --release --workspace

cluster: deps
	$(CARGO) build --release --package kv-service
	target/release/kv-service cluster --engine $(ENGINE) --nodes $(NODES)

# The planted bugs are a build of their own, which kv-service refuses to be. They and the documentation tests go first, so
# that the last thing on the screen is the runner's summary of everything else.
test: deps
	$(CARGO) test --release --workspace --doc
	$(CARGO) test --release --package consensus-api --features planted-bugs --doc
	$(CARGO) test --release --package simulator --features planted-bugs --test planted_bugs
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo $(CARGO) nextest run --release --workspace; \
		$(CARGO) nextest run --release --workspace; \
	else \
		echo $(CARGO) test --release --workspace --lib --bins --tests --examples; \
		$(CARGO) test --release --workspace --lib --bins --tests --examples; \
	fi

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- --deny warnings
	$(CARGO) clippy --release --package simulator --features planted-bugs --all-targets -- --deny warnings

bench: deps
	$(CARGO) bench --package benches

# What has been measured already is not measured again; --fresh begins anew.
compare: deps
	$(CARGO) build --release --package kv-service --package benches --bin kv-service --bin compare
	target/release/compare --plan $(PLAN)

sim: deps
	$(CARGO) run --release --package simulator -- --engine both --seeds 1..$$(( $(SEEDS) + 1 ))
