# Everything sets up what it needs in .venv, once.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready-demo
READY_DEV := $(VENV)/.ready-dev
BIN := $(VENV)/bin
DEMO ?= build/demo
REFERENCE := export/mmedge_export/reference/emergency.safetensors
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all lint types contracts bench bench-streams micro reference clean help

help:  ## what can be typed
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(READY)  ## the whole way, end to end: checkpoint to decisions and a report page
	$(BIN)/mmedge demo -o $(DEMO)

test: $(READY_DEV)  ## tests that any machine can run
	$(BIN)/pytest -n auto -m "not data and not slow" $(ARGS)

test-all: $(READY_DEV)  ## also the slow ones, and those that need the recordings in MMEDGE_DATA
	$(BIN)/pytest -n auto $(ARGS)

lint: $(READY_DEV)  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY_DEV) build/bench/emergency.mmedge  ## the reference model, also in int8, against every peer, and a page (5 minutes)
	$(BIN)/mmedge bench build/bench/emergency.mmedge --checkpoint $(REFERENCE) \
		-o build/bench/result.json --page build/bench/result.html
	$(BIN)/python -m mmedge_bench.startup build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.features

bench-streams: $(READY_DEV) build/bench/emergency.mmedge  ## what a tick costs, a slow camera, memory (8 minutes)
	$(BIN)/python -m mmedge_bench.overhead build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.slow_camera build/bench/emergency.mmedge
	$(BIN)/python -m mmedge_bench.steady build/bench/emergency.mmedge

micro: $(READY_DEV)  ## hot paths under pytest-benchmark
	$(BIN)/pytest -q -o addopts="--import-mode=importlib" benchmarks/micro --benchmark-columns=median,iqr,max,rounds

build/bench/emergency.mmedge: $(REFERENCE)
	@mkdir -p $(@D)
	rm -rf $@ $(@D)/draft.mmedge $(@D)/scenes
	$(BIN)/mmedge export $< -o $(@D)/draft.mmedge
	$(BIN)/python -m mmedge_export.reference.samples -o $(@D)/scenes
	$(BIN)/mmedge quantize $(@D)/draft.mmedge --calibration $(@D)/scenes --variant int8-cpu --ship-slower
	mv $(@D)/draft.mmedge $@

reference: $(READY_DEV)  ## train the reference model again (about 15 minutes)
	$(BIN)/python -m mmedge_export.reference.train -o $(REFERENCE)

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
