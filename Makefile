# Two commands work on a fresh machine with Python 3.11 or newer and make:
#   make quickstart   sets everything up and runs a small real campaign end to end
#   make test         sets everything up and passes the tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install develop quickstart test lint unit integration physical pytorch chaos docs clean

help:
	@grep -E '^#   make' Makefile | sed 's/^#   //'

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	$(BIN)/python -m pip check
	touch $@

# What the tests need besides: torch for the universal MLIPs, sphinx, other people's analysis codes.
develop: $(VENV)/.developed

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,docs]'
	$(BIN)/python -m pip check
	touch $@

# The workspace is ./.laoc; `make quickstart` again finds the campaign finished and prints its table.
quickstart: install
	$(BIN)/laoc plan campaigns/quickstart.yaml
	$(BIN)/laoc run campaigns/quickstart.yaml
	$(BIN)/laoc db stop

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: develop
	$(BIN)/pytest tests/unit

integration: develop
	$(BIN)/pytest tests/integration

physical: develop
	$(BIN)/pytest tests/physical

# The PyTorch backend of DeePMD-kit has an environment of its own (5 GB), which `make test` does without.
TORCH := .venv-pytorch

$(TORCH)/.installed:
	test -x $(TORCH)/bin/python || $(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet 'deepmd-kit[torch,lmp]==3.2.0' nvidia-cuda-runtime-cu12
	touch $@

pytorch: develop $(TORCH)/.installed
	LAOC_DEEPMD_PYTHON=$(abspath $(TORCH)/bin/python) $(BIN)/pytest -m pytorch tests/physical/test_pytorch.py

# What clusters do to campaigns, twenty times in one, with Slurm and both queues on this machine (some 20 minutes).
CHAOS_EVENTS ?= 20
CHAOS_SEED ?= 1

chaos: develop
	$(BIN)/python -m tests.chaos --events $(CHAOS_EVENTS) --seed $(CHAOS_SEED)

docs: develop
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

test: develop
	$(MAKE) -j 2 lint docs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25

clean:
	rm -rf docs/_build docs/reference .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
