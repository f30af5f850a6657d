# Everything sets up what it needs in .venv, once.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready-demo
READY_DEV := $(VENV)/.ready-dev
BIN := $(VENV)/bin
DEMO ?= build/demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all lint types contracts bench reference clean help

help:  ## what can be typed
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(READY)  ## the whole way, end to end: checkpoint to decisions and a report page
	$(BIN)/mmedge demo -o $(DEMO)

test: $(READY_DEV)  ## tests that any machine can run
	$(BIN)/pytest -n auto -m "not data" $(ARGS)

test-all: $(READY_DEV)  ## also those that need the recordings in MMEDGE_DATA
	$(BIN)/pytest -n auto $(ARGS)

lint: $(READY_DEV)  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY_DEV) build/bench/emergency.mmedge  ## start-up, log-mel against its peers, what a tick costs, a slow camera, memory (8 minutes)
	$(BIN)/python -m mmedge_bench.startup build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.features
	$(BIN)/python -m mmedge_bench.overhead build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.slow_camera build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.steady build/bench/emergency.mmedge

build/bench/emergency.mmedge: export/mmedge_export/reference/emergency.safetensors
	@mkdir -p $(@D)
	$(BIN)/mmedge export $< -o $@ --force

reference: $(READY_DEV)  ## train the reference model again (about 15 minutes)
	$(BIN)/python -m mmedge_export.reference.train -o export/mmedge_export/reference/emergency.safetensors

clean:  ## remove what was built, keep .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found; try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/bin/pip pyproject.toml constraints.txt
	@echo "installing what the demo needs into $(VENV) ..."
	$(BIN)/pip install -q -c constraints.txt -e '.[cpu,export,media]'
	@touch $@

$(READY_DEV): $(READY)
	@echo "installing what the tests need into $(VENV) ..."
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
