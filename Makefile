# Everything is set up on a machine that has only Python (3.11 or newer) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
USABLE := $(VENV)/.usable
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench replicate gpu

help:  ## show these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(USABLE)  ## train real networks under interventions, walk the lines, leave demo/report/index.html (about 3 minutes)
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

# The replication runs for days beside other work, so it has an installation of its own at the commit at which it began.
# Delete .replicate/source to go on with a newer commit; .replicate/store keeps what is done.
REPLICATE := $(CURDIR)/.replicate
RESULTS   := $(CURDIR)/benchmarks/results/cifar10-narrow

replicate: $(REPLICATE)/source/.ready  ## train and walk what the replication still lacks, at the lowest priority (days; goes on where it stopped)
	cd $(REPLICATE)/source && exec nice -n 19 venv/bin/python -m benchmarks.replicate --store $(REPLICATE)/store --results $(RESULTS)

$(REPLICATE)/source/.ready:
	rm -rf $(REPLICATE)/source
	git clone --quiet --no-hardlinks . $(REPLICATE)/source
	cd $(REPLICATE)/source && $(PYTHON) -m venv venv
	cd $(REPLICATE)/source && venv/bin/python -m pip install --quiet --constraint constraints.txt torch
	cd $(REPLICATE)/source && venv/bin/python -m pip install --quiet --constraint constraints.txt .
	@touch $@

# No installation: a machine with a GPU often has its own torch and no network (docs/gpu.md). GPU='--only study' passes arguments on.
GPU_PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

gpu: $(if $(wildcard .gpu/wheels),.gpu/site)  ## what an hour with a GPU is used for, 8 minutes a call, going on where it stopped (DRY=1: toy size)
	PYTHONPATH=src:.gpu/site $(GPU_PYTHON) -m benchmarks.gpu $(if $(DRY),--dry) $(GPU)

.gpu/site: .gpu/wheels
	$(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target $@ .gpu/wheels/*.whl
	@touch $@

# pip compiles nothing in advance: that takes longer than all else, and most of torch is never imported.
PIP := $(BIN)/python -m pip install --no-compile --constraint constraints.txt

$(USABLE): pyproject.toml constraints.txt
	@echo 'Installing linescape and what it needs into $(VENV): about 15 packages, torch the largest.'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(READY): $(USABLE)
	@echo 'Installing what tests and linters need into $(VENV).'
	$(PIP) --editable '.[dev]'
	@touch $@
