# Everything starts here: `make` lists the targets. Each sets up what it needs.

SHELL := /bin/bash
PY := .venv/bin/python
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types layers format compile bench soak clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml setup.py tools/setup.sh
	@bash tools/setup.sh

setup: $(READY)  ## create .venv and install what is missing

run: $(READY)  ## the tour: labs in virtual time, then the real kernel where it is allowed
	@.venv/bin/timewait tour

test: $(READY)  ## every check and test, compiled and interpreted
	@bash tools/test.sh

lint: $(READY)  ## ruff: mistakes and layout
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo 'layout differs: make format'; exit 1; }

types: $(READY)  ## mypy --strict
	@$(PY) -m mypy

layers: $(READY)  ## import-linter: imports go downwards only
	@.venv/bin/lint-imports --no-logo 2>&1

format: $(READY)  ## let ruff lay out the code and sort imports
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format .

compile: $(READY)  ## compile the packet path with mypyc into build/compiled
	@$(PY) tools/compile.py

bench: $(READY)  ## measure: simulated, live, memory; compiled and not
	@$(PY) tools/compile.py
	@.venv/bin/timewait bench

soak: $(READY)  ## the long runs: slow tests, fuzzing, thousands of random worlds
	@$(PY) tools/compile.py
	@PYTHONPATH=build/compiled TIMEWAIT_BUILD=compiled HYPOTHESIS_PROFILE=soak \
	    $(PY) -m pytest -q -n 2 --timeout 3600 -m 'slow or fuzz' tests
	@PYTHONPATH=build/compiled $(PY) tools/recovery.py --write

clean:  ## remove everything that was built, and .venv
	@rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
	@find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
