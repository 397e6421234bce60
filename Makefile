# Everything a newcomer or CI runs; `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON ?= python3

.PHONY: help setup demo test check bench load chaos lock docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## prepare this machine: packages, kernel limits, LXD, base image, Python environment
	@scripts/setup-host
	@scripts/setup-python $(PYTHON)

demo: setup ## register, create a workspace, open it with ssh, and show where the time went
	@$(BIN)/python scripts/demo.py

test: ## set up what can be had, then run every test (NEXUS_REQUIRE_LXD=1: LXD must be had)
	@scripts/setup-host || { [ $$? = 3 ] && [ "$$NEXUS_REQUIRE_LXD" != 1 ]; }
	@scripts/setup-python $(PYTHON)
	@scripts/run-tests

check: ## lint, format, types, import contracts
	@scripts/setup-python $(PYTHON)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright

bench: setup ## measure, and write docs/reports/bench.{json,md}
	@$(BIN)/python scripts/bench.py

load: setup ## bear load: 50 creations at once, mixed work, clients that misbehave, wear (docs/reference/limits.md)
	@$(BIN)/python scripts/load.py

chaos: setup ## random work and random kills for MINUTES (10), from SEED; a verdict from outside (docs/chaos.md)
	@PYTHONPATH=scripts $(BIN)/python -u -m chaos

docs: ## write again the pages of docs/reference that are made from the code
	@scripts/setup-python $(PYTHON)
	@scripts/write-docs

lock: ## pin the newest allowed dependencies, with hashes
	@scripts/setup-python $(PYTHON)
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock

clean: ## remove what the tools left here; LXD and the state directory are not touched
	rm -rf .venv .state .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
