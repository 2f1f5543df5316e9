# `make` alone prints every target with its line.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKE ?= lake
PORT ?= 8650

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# What pyiceberg asks for and no function imports: its terminal, other file systems, REST and Hive catalogs.
UNUSED_BY_HEAVY := click fsspec markdown-it-py mdurl pygments rich certifi charset-normalizer idna requests tenacity urllib3

.DEFAULT_GOAL := help
.PHONY: help run test lint bench soak package local-aws test-aws servers tools lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run ## the whole pipeline on this machine: example keywords, the practice engine, a query
	@$(BIN)/serpline run examples/keywords.csv --practice --lake $(LAKE)
	@echo
	@$(BIN)/serpline query --lake $(LAKE) "SELECT keyword, rank, title, url FROM results WHERE rank <= 2 AND keyword LIKE 'how to r%' AND run_id = (SELECT max_by(run_id, fetched_at) FROM pages) ORDER BY keyword, rank LIMIT 12"

test: $(VENV)/dev lint ## every test (servers and tools that are missing are left out; with CI=true that fails)
	@$(BIN)/python -m pytest --numprocesses 3

lint: $(VENV)/dev ## ruff, the strict type checker, and the tests of the rooms and names
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_rooms.py tests/test_names.py

bench: $(VENV)/dev ## speed beside peers and floors: a table and build/bench.json (half an hour)
	@$(BIN)/python -m bench

soak: $(VENV)/dev ## 10,000 simulated stories of 1,000 tasks under kills and lost replies (an hour or two)
	@$(BIN)/serpline simulate --seeds 10000 --tasks 1000 --jobs 2

package: $(VENV)/dev ## the functions' zips in build/packages (quick when only our own code changed)
	@$(BIN)/python -m infra.packages

local-aws: $(VENV)/dev ## the whole system on an AWS emulator: terraform apply, a file, rows (KEEP=1 leaves it, STOP=1 ends it)
	@test -e build/emulator/.made || echo "getting the emulator (once, half a minute)"
	@.ci/tools terraform emulator runtime >/dev/null
	@$(BIN)/python -m tests.emulator.local_aws

test-aws: $(VENV)/dev tools ## the tests of the system on the emulator and of the terraform configuration
	@$(BIN)/python -m pytest $(wildcard tests/emulator tests/terraform)

servers: ## install the servers that tests use (Debian packages)
	@.ci/servers

tools: $(VENV)/dev ## the emulator, the functions' interpreter, checkov and terraform's providers, in build/
	@.ci/tools

lock: $(VENV)/dev ## renew requirements/*.txt from pyproject.toml and requirements/*.in
	@$(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --extra fast --extra build pyproject.toml -o requirements/run.txt
	@$(COMPILE) --extra fast --extra build --extra dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) -c requirements/run.txt requirements/light.in -o requirements/light.txt
	@$(COMPILE) -c requirements/run.txt $(addprefix --no-emit-package ,$(UNUSED_BY_HEAVY)) \
	  requirements/heavy.in -o requirements/heavy.txt

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
