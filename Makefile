# Everything is set up on a machine that has only Python (3.11 or newer) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench replicate gpu

help:  ## show these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(READY)  ## train real networks under interventions, walk the lines, leave demo/report/index.html (about 3 minutes)
	$(BIN)/linescape demo --store demo/store --out demo/report

# Worksteal gives each process a run of neighbouring tests, so that what a module's tests share is made once, and moves
# tests to a process that has none left. A process needs 2 GB, hence no more than 8.
PARALLEL := -n auto --maxprocesses 8 --dist worksteal

test: $(READY)  ## the tests on all cores and how many lines they run, 4 minutes on 2 cores
	$(BIN)/python -m pytest $(PARALLEL) --cov

test-slow: $(READY)  ## the tests that need minutes each
	$(BIN)/python -m pytest $(PARALLEL) -m slow

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

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
