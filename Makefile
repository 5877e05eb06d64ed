# Needs only Python (3.11 or newer) and make; each target installs what it uses into $(VENV).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
USABLE := $(VENV)/.usable
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-slow test-extras faults soak check lint audit docs bench replicate gpu

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

demo: $(USABLE)  ## train networks under interventions, measure their lines, write demo/report/index.html (2 minutes on 2 idle cores, 4.5 without AVX-512, after the download)
	$(BIN)/linescape demo --store demo/store --out demo/report

# Worksteal gives each process a run of neighbouring tests, so that what a module's tests share is made once, and moves
# tests to a process that has none left. A process needs 2 GB, hence no more than 8.
PARALLEL := -n auto --maxprocesses 8 --dist worksteal

test: $(READY)  ## the tests on all cores, 4 minutes on 2 cores with AVX-512, 14 on slower ones
	$(BIN)/python -m pytest $(PARALLEL)

coverage: $(READY)  ## the tests, and which lines they run; takes half as long again
	$(BIN)/python -m pytest $(PARALLEL) --cov

test-slow: $(READY)  ## the tests that need minutes each
	$(BIN)/python -m pytest $(PARALLEL) -m slow

faults: $(READY)  ## a small study under every fault, counted (an hour or more); FAULTS='--only clock' passes arguments
	$(BIN)/python -m tests.support.faults $(FAULTS)

soak: $(READY)  ## random small studies under random faults for an hour; SOAK='--minutes 10 --seed 1' passes arguments
	$(BIN)/python -m tests.support.soak $(SOAK)

# A torchvision fits one version of torch, and beside another breaks transformers too, so it has an environment of its own.
EXTRAS := .venv-extras
PAIR   := torch==2.14.1 torchvision==0.29.1

test-extras: $(EXTRAS)/.ready  ## the tests that need torchvision or timm, in an environment of their own (5.5 GB, x86-64)
	$(EXTRAS)/bin/python -m pytest $(PARALLEL) -m extras

$(EXTRAS)/.ready: pyproject.toml constraints.txt
	@echo 'Installing $(PAIR), timm and what tests need into $(EXTRAS): 5.5 GB.'
	$(PYTHON) -m venv $(EXTRAS)
	grep -v '^torch==' constraints.txt > $(EXTRAS)/constraints.txt
	$(EXTRAS)/bin/python -m pip install --no-compile --constraint $(EXTRAS)/constraints.txt $(PAIR) --editable '.[dev,timm,torchvision]'
	@touch $@

check: lint audit test  ## linters, types, vulnerabilities of what is installed, and the tests

lint: $(READY)  ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(READY)  ## known vulnerabilities of what is installed
	$(BIN)/python scripts/audit.py

docs: $(VENV)/.docs  ## the documentation as a site in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo 'To read it: $(PYTHON) -m http.server --directory site'

$(VENV)/.docs: $(USABLE)
	$(PIP) --editable '.[docs]'
	@touch $@

bench: $(READY)  ## measure speed against other tools, write benchmarks/results/ and docs/performance.md (an hour or more)
	$(BIN)/python -m benchmarks

# The replication runs for days while the sources change, so it has a separate installation of the commit at which it began.
# Delete .replicate/source to continue with a newer commit; .replicate/store keeps finished results.
REPLICATE := $(CURDIR)/.replicate
RESULTS   := $(CURDIR)/benchmarks/results/cifar10-narrow

replicate: $(REPLICATE)/source/.ready  ## run the missing trainings and lines of the replication at the lowest priority (days; resumes)
	cd $(REPLICATE)/source && exec nice -n 19 venv/bin/python -m benchmarks.replicate --store $(REPLICATE)/store --results $(RESULTS)

$(REPLICATE)/source/.ready:
	rm -rf $(REPLICATE)/source
	git clone --quiet --no-hardlinks . $(REPLICATE)/source
	cd $(REPLICATE)/source && $(PYTHON) -m venv venv
	cd $(REPLICATE)/source && venv/bin/python -m pip install --quiet --constraint constraints.txt torch
	cd $(REPLICATE)/source && venv/bin/python -m pip install --quiet --constraint constraints.txt .
	@touch $@

# Installs nothing: a machine with a GPU often has its own torch and no network (docs/gpu.md). GPU='--only study' passes arguments.
GPU_PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

gpu: $(if $(wildcard .gpu/wheels),.gpu/site)  ## tests, benchmarks and trainings that need a GPU, 8 minutes a call; resumes (DRY=1: toy size)
	PYTHONPATH=src:.gpu/site $(GPU_PYTHON) -m benchmarks.gpu $(if $(DRY),--dry) $(GPU)

.gpu/site: .gpu/wheels
	$(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target $@ .gpu/wheels/*.whl
	@touch $@

# --no-compile: byte-compiling every file of torch takes longer than the rest of the installation.
# So the first import compiles a module, and must be able to keep it: there are many processes.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --no-compile --constraint constraints.txt

$(USABLE): pyproject.toml constraints.txt
	@echo 'Installing linescape and what it needs into $(VENV): about 35 packages. The largest is torch (0.2 GB without CUDA).'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(READY): $(USABLE)
	@echo 'Installing what tests and linters need into $(VENV).'
	$(PIP) --editable '.[dev]'
	@touch $@
