# Every target sets itself up: `make demo`, `make test`, `make serve`, ...  Nothing but python3 (3.11 or newer) is needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.9
PORT ?= $(or $(NEXTBEST_PORT),8000)
SECONDS ?=
WORKERS ?= 2
ARGS ?=

# bash has a counter of that name: only a value given on make's command line counts.
ifneq ($(origin SECONDS),command line)
SECONDS :=
endif

PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: setup
setup: $(STAMP)  ## Create .venv and install the locked dependencies (only when the lock changed)
	@:

$(STAMP): requirements.txt pyproject.toml bandits/_kernels.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "nextbest needs Python 3.11 or newer, as '$(PYTHON)'; found: $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one with: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python has no venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "setup: creating $(VENV)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); fi
	@digest="$$($(BIN)/python -c 'import hashlib; print(hashlib.sha256(open("requirements.txt", "rb").read()).hexdigest())')"; \
	if [ "$$(cat $(VENV)/.lock-digest 2>/dev/null || true)" != "$$digest" ]; then \
	  echo "setup: installing $$(grep -c '==' requirements.txt) locked packages (a minute or two, once)"; \
	  $(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements.txt; \
	  echo "$$digest" > $(VENV)/.lock-digest; \
	fi
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $(STAMP)
	@echo "setup: ready"

.PHONY: demo
demo: setup  ## Run the whole service on real data; SECONDS=30 stops it by itself
	@$(BIN)/nextbest demo $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

.PHONY: serve
serve: setup  ## Serve on PORT (default 8000), with servers and data kept in var/
	@NEXTBEST_PORT=$(PORT) $(BIN)/nextbest up $(ARGS)

# The tests of the console use the system's Chromium, or one of Playwright's own. Where neither can be had they say how.
.PHONY: browser
browser: setup  ## Find a Chromium for the tests of the console, or install one
	@if [ -n "$${CHROMIUM:-}" ] || $(BIN)/python -m tests.support.browser >/dev/null 2>&1; then exit 0; fi; \
	echo "browser: installing Chromium (once)"; \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 || \
	$(BIN)/playwright install --with-deps chromium >/dev/null 2>&1 || \
	$(BIN)/playwright install chromium >/dev/null 2>&1 || $(BIN)/python -m tests.support.browser || true

.PHONY: screenshots
screenshots: browser  ## Make the pictures of docs/console.md again
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q -n0 tests/e2e/test_console.py -k pictures

.PHONY: test
test: lint browser  ## Check style and types, then run all tests, in WORKERS processes (default 2)
	@echo "test: pytest"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lint
lint: setup  ## ruff and mypy --strict
	@echo "lint: ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "lint: ruff format --check"
	@$(BIN)/ruff format --check --quiet .
	@echo "lint: mypy --strict"
	@$(BIN)/mypy --no-error-summary

.PHONY: format
format: setup  ## Put the code in shape
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: js
js: setup  ## Check and pack the JavaScript client, its types made anew; needs Node.js (nothing else does)
	@command -v npm >/dev/null || { echo "js: npm was not found: install Node.js 20 or newer" >&2; exit 1; }
	@$(BIN)/python -m tests.support.public_document
	@cd clients/js && npm ci --ignore-scripts --silent && npm run --silent types && npm run --silent check && \
	  npm run --silent declarations && npm pack --silent

.PHONY: bench
bench: setup  ## Measure on this machine; writes benchmarks/results/
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-ab
bench-ab: setup  ## Compare this tree with the commit BASE, in turns, on this machine
	@$(BIN)/python -m benchmarks.ab $(BASE) $(ARGS)

# The libraries that ours are compared with have an environment of their own. One of them has to be compiled.
BENCH_VENV := var/bench-venv
SOURCES_ONLY := contextualbandits

.PHONY: bench-learning
bench-learning: setup $(BENCH_VENV)/.installed  ## Compare how well policies learn (25 minutes; ARGS=--quick for a glance)
	@$(BENCH_VENV)/bin/python -m benchmarks.learning $(ARGS)

$(BENCH_VENV)/.installed: requirements-bench.txt
	@echo "bench-learning: installing the libraries to compare with into $(BENCH_VENV)"
	@rm -rf $(BENCH_VENV); mkdir -p var; $(PYTHON) -m venv $(BENCH_VENV)
	@pip="$(BENCH_VENV)/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input install --require-hashes --no-deps"; \
	awk '/^[a-zA-Z0-9]/ {own = /^$(SOURCES_ONLY)==/} !own' requirements-bench.txt > $(BENCH_VENV)/wheels.txt; \
	awk '/^[a-zA-Z0-9]/ {own = /^$(SOURCES_ONLY)==/} own' requirements-bench.txt > $(BENCH_VENV)/sources.txt; \
	$$pip --only-binary :all: -r $(BENCH_VENV)/wheels.txt; \
	$$pip --no-build-isolation --no-binary :all: -r $(BENCH_VENV)/sources.txt 2> $(BENCH_VENV)/build.log || \
	  echo "bench-learning: $(SOURCES_ONLY) cannot be compiled here ($(BENCH_VENV)/build.log), so it is left out" >&2
	@touch $@

.PHONY: lock
lock:  ## Resolve the dependencies of pyproject.toml anew (ARGS=--upgrade for newer versions)
	@test -x var/lock-venv/bin/uv || { $(PYTHON) -m venv var/lock-venv && \
	  var/lock-venv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@compile="var/lock-venv/bin/uv pip compile --quiet --no-config --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url"; \
	$$compile $(ARGS) --extra embedded --extra onnx --extra demo --extra traces --extra dev pyproject.toml --output-file requirements.txt; \
	$$compile $(ARGS) --constraint requirements.txt pyproject.toml --output-file requirements-prod.txt; \
	$$compile $(ARGS) --constraint requirements.txt --extra bench pyproject.toml --output-file requirements-bench.txt
	@echo "lock: wrote requirements.txt, requirements-prod.txt and requirements-bench.txt"

.PHONY: clean
clean:  ## Remove .venv, var/ and all caches
	@rm -rf $(VENV) var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
