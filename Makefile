# The only entry points a person or a CI job needs. Each sets up what it lacks (see
# scripts/tools.sh): rustup's toolchain, a C compiler and make are enough to start.

.DEFAULT_GOAL := help
.PHONY: help test test-perf bench bench-docs noise-study ab-study queue-study engines logger-study platforms lint docs clean-records
.PHONY: publishable api-listings compile-cost fuzz fuzz-smoke outbox-stress miri thread-sanitizer
# A gate is measured alone on the machine, also under `make -j`.
.NOTPARALLEL:

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

test: ## unit, integration and doc tests: everything but the gates
	@scripts/test

test-perf: ## the gates, alone on the machine, and their table (GATE=outbox/drain-25 for one)
	@scripts/test-perf

bench: ## the figures of docs/benchmarks.md, of this machine (BENCH=name for one)
	@scripts/bench

bench-docs: ## the same, written to docs/benchmarks.md
	@scripts/bench --write

noise-study: ## how gates behave on a busy machine, to docs/noise-study.md (MINUTES=45)
	@scripts/noise-study

ab-study: ## how often comparisons err and what they find, to docs/ab-study.md (about an hour)
	@scripts/ab-study

queue-study: ## how fast example-targets/work-queue is, to docs/queue-study.md
	@scripts/queue-study

engines: ## what a commit costs in syncs, by storage engine, to docs/engines.md
	@scripts/engines

logger-study: ## what a logged turn costs, on this disk, to docs/logger-study.md (ROUNDS=7)
	@scripts/logger-study

platforms: ## other linkers, profiles, targets and allocators, to docs/platforms.md (PART=linkage for one)
	@scripts/platforms --write

lint: ## formatting, clippy with warnings denied, workflow files against GitHub's schema
	@scripts/lint

docs: ## the API documentation, with warnings denied
	@scripts/docs

publishable: ## packages that build from themselves, the public surface as listed, the minimum Rust
	@scripts/minimum-rust
	@scripts/api
	@scripts/package --allow-dirty

api-listings: ## write api/*.txt anew, after a change of the public surface that is meant
	@scripts/api --write

compile-cost: ## what the dev-dependencies cost a build, beside criterion and divan (ROUNDS=3)
	@scripts/compile-cost

fuzz: ## the fuzz targets, a minute each (TARGET=records, SECONDS_EACH=60)
	@scripts/fuzz

fuzz-smoke: ## a few thousand inputs for each of them
	@scripts/fuzz --test
	@scripts/fuzz --smoke

outbox-stress: ## 4 processes of 10,000 operations on one outbox; 50,000 histories (OPERATIONS=, CASES=, SEED=)
	@scripts/outbox-stress

miri: ## Miri on what it can run (nightly Rust)
	@scripts/miri

thread-sanitizer: ## the fsync hook under ThreadSanitizer (nightly Rust)
	@scripts/thread-sanitizer

clean-records: ## forget the records of earlier runs
	@rm -rf target/perfbudget
