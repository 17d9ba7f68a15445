# `make run` and `make test` need Python >= 3.11 and nothing else; the README shows the plain commands behind them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9

.PHONY: setup run test torture lint reproduce bench tensorboard clean

setup: $(READY)

# uv installs what constraints.txt pins, in seconds; pip only brings uv.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("normlab needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

run: setup
	@$(BIN)/python train.py $(ARGS)

test: setup
	@$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

# Its fast part runs with the tests; NORMLAB_TORTURE=1 adds the slower tests of it.
torture: setup
	@$(BIN)/python tests/torture/harness.py $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

reproduce: setup
	@$(BIN)/python scripts/reproduction $(or $(DATA),data) $(ARGS)

bench: setup
	@$(BIN)/python benchmarks/run_all.py $(or $(DATA),data) $(ARGS)

tensorboard: setup
	@$(BIN)/tensorboard --logdir outputs $(ARGS)

clean:
	rm -rf $(VENV)
