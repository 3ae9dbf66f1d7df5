# make demo | test | test-slow | test-science | release-test | test-slurm | lint | wheel | docs | bench | gpu | clean | pins;
# each creates or updates .venv first.
PYTHON ?= python3
CONFIG ?= config/config.yaml
SURVEY ?= demo
RESULTS ?= results/$(SURVEY)
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-slow test-science release-test test-slurm lint wheel docs bench gpu clean pins

VENV := .venv
READY := $(VENV)/.ready
BIN := $(CURDIR)/$(VENV)/bin
# Found before .venv is prepended to PATH: an environment cannot recreate itself.
BASE_PYTHON := $(shell command -v $(PYTHON))
export PATH := $(BIN):$(PATH)
# Folder of the real data that config/examples/egs.yaml, config/examples/galaxyzoo.yaml and some tests read.
export ASTRODL_TEST_DATA ?= $(abspath ../shared/data)
# uv reads its own variable for local packages, not pip's.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
ifeq ($(strip $(UV_FIND_LINKS)),)
unexport UV_FIND_LINKS
endif

demo: $(READY)
	astrodl check $(CONFIG)
	snakemake --cores $(CORES) --configfile $(CONFIG)
	snakemake --cores 1 --configfile $(CONFIG) --report results/$(SURVEY)/report.html
	astrodl summary results/$(SURVEY)

test: $(READY)
	pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow and not slurm"

test-slow: $(READY)
	pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slurm"

# Every network beside its baselines on one simulated survey; part of test-slow.
test-science: $(READY)
	pytest -m slow tests/workflow/test_science.py

# The numbers of the pages against those of a finished run of the demo: make release-test RESULTS=results/demo
release-test: $(READY)
	ASTRODL_RESULTS=$(abspath $(RESULTS)) pytest -m slow tests/workflow/test_release.py

# Starts a one-node Slurm on this machine and stops it afterwards; needs root, and installs missing Debian packages.
test-slurm: $(READY)
	pytest -m slurm tests/slurm

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check workflow
	snakemake --lint

# sdist and wheel, and the wheel in a fresh environment; half a minute.
wheel: $(READY)
	bash .ci/wheel

docs: $(READY)
	sphinx-build -W --keep-going -b html docs docs/_build/html

# Speed and memory. benchmarks/studies measures accuracy, which takes hours.
bench: $(READY)
	for name in read ingest simulate dag memory gpu; do python "benchmarks/speed/$$name.py"; done

# Tests and speed on a CUDA device, in eight minutes; docs/performance.md has the way without installation.
gpu: $(READY)
	bash benchmarks/speed/gpu_check.sh results/gpu --record

clean:
	rm -rf results .snakemake docs/_build build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Reuses a working environment and recreates a broken one; runs again only when the two files change.
$(READY): pyproject.toml constraints.txt
	@test -n "$(BASE_PYTHON)" || { echo "astrodl: $(PYTHON) is not found; set PYTHON= to a Python 3.11 or later" >&2; exit 2; }
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "astrodl: needs Python 3.11 or later, but $(BASE_PYTHON) is $$($(BASE_PYTHON) -V); set PYTHON=" >&2; exit 2; }
	$(VENV)/bin/python -m pip --version > /dev/null 2>&1 || $(BASE_PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	uv pip install --python $(VENV)/bin/python --constraint constraints.txt --compile-bytecode \
	  --editable ".[test,lint,docs,slurm,cluster]"
	touch $@

# Pins of every extra that the oldest supported Python can install. torch is written by hand, and the libraries that its
# builds for GPUs need are left to it: a resolver here may pick a local build that others cannot install.
pins:
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-package torch --all-extras \
	  --python-version 3.11.0 pyproject.toml | grep -vE '^(cuda|nvidia|triton)' > constraints.tmp
	echo "torch==2.13.0" >> constraints.tmp
	mv constraints.tmp constraints.txt
