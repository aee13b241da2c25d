# Everything a person calls; CI calls the same.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && \
	command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-integrations check bench vectors lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.server ## Publish, serve, pull and check a real list; STORAGE=s3: on real S3 and Redis
	@STORAGE=$(STORAGE) $(BIN)/python -m scripts.demo

test: $(VENV)/.dev ## Run all tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile tests

test-integrations: $(VENV)/.dev ## Real resolvers and proxies, from Debian's packages
	@BLOCKLIST_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -q tests/integrations

check: $(VENV)/.dev ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## Measure, as ratios in one run
	@$(BIN)/python -m scripts.bench

vectors: $(VENV)/.dev ## Make the test vectors again; they must not change
	@$(BIN)/python -m scripts.vectors

lock: ## Write requirements/*.txt anew (needs uv)
	@scripts/lock

clean: ## Remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

$(VENV)/.server: requirements/server.txt pyproject.toml scripts/venv
	@scripts/venv "$(PYTHON)" $(VENV) requirements/server.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml scripts/venv
	@scripts/venv "$(PYTHON)" $(VENV) requirements/dev.txt
	@touch $@ $(VENV)/.server
