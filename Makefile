# make demo   set up, then the whole system on this machine's own code (about 15 minutes on 2 cores)
# make test   set up, then every check; make test-slow adds the long sweeps

PYTHON ?= python3
BIN := .venv/bin
RECIPE ?= examples/recipes/tiny_cpu.yaml

.PHONY: setup demo test test-slow agreement lint format clean

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml setup.py $(wildcard csrc/data/*)
	@echo "setting up .venv with the pinned packages: one to two minutes on a fast connection"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint requirements.lock $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The laptop's recipe trains two processes on the CPU, also where a GPU is.
demo: setup
	CUDA_VISIBLE_DEVICES= $(BIN)/megatron-snow run-recipe --recipe $(RECIPE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -m "not slow"

test-slow: setup
	$(BIN)/pytest -m slow

# Every layout against one process; writes the table of docs/parallelism.md.
agreement: setup
	MSNOW_WRITE_AGREEMENT=1 $(BIN)/pytest -m "slow or not slow" tests/engine/test_agreement.py -k layout_equals

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build runs *.egg-info megatron_snow/*.so
