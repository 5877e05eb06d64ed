# Everything is set up on a machine that has only Python (3.11 or newer) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench

help:  ## show these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(READY)  ## train real networks under interventions, walk the lines, leave demo/report/index.html (about 3 minutes)
	$(BIN)/linescape demo --store demo/store --out demo/report

test: $(READY)  ## the tests, some minutes on 2 cores
	$(BIN)/python -m pytest

test-slow: $(READY)  ## the tests that need minutes each
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## what is fast, as ratios in one run, into benchmarks/results/ and docs/performance.md (about two hours)
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
