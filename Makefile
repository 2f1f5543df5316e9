# `make` alone prints every target with its line.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKE ?= lake
PORT ?= 8650

.DEFAULT_GOAL := help
.PHONY: help run test lint bench servers lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run ## the whole pipeline on this machine: example keywords, the practice engine, a query
	@$(BIN)/serpline run examples/keywords.csv --practice --lake $(LAKE)
	@echo
	@$(BIN)/serpline query --lake $(LAKE) "SELECT keyword, rank, title, url FROM results WHERE rank <= 2 AND keyword LIKE 'how to r%' AND run_id = (SELECT max_by(run_id, fetched_at) FROM pages) ORDER BY keyword, rank LIMIT 12"

test: $(VENV)/dev lint ## every test (servers that are missing are skipped; with CI=true they fail)
	@$(BIN)/python -m pytest

lint: $(VENV)/dev ## ruff, the strict type checker, and the tests of the rooms and names
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_rooms.py tests/test_names.py

bench: $(VENV)/dev ## speed beside peers and floors: a table and build/bench.json (half an hour)
	@$(BIN)/python -m bench

servers: ## install the servers that tests use (Debian packages)
	@.ci/servers

lock: $(VENV)/dev ## renew requirements/*.txt from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra fast --extra build pyproject.toml -o requirements/run.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra fast --extra build --extra dev pyproject.toml -o requirements/dev.txt

clean: ## remove what can be made again (never a lake)
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Serpline needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: requirements/dev.txt pyproject.toml $(VENV)/run | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
