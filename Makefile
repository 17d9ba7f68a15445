# Python >= 3.11 is all that `make run` and `make test` need; `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
# `make setup TORCH=cpu` installs PyTorch without CUDA, which spares about 5 GB. It needs
# PyTorch's own package index, which not every network reaches.
TORCH ?=

.PHONY: help setup run test extra torture slurm lint docs reproduce bench tensorboard clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with the pinned versions (TORCH=cpu: without CUDA)

# uv installs what constraints.txt pins, in seconds; pip only brings uv.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("normlab needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt $(if $(TORCH),--torch-backend $(TORCH)) --editable '.[dev]'
	@touch $(READY)

run: setup ## train a run: make run ARGS="model=alexnet norm=custom"
	@$(BIN)/python train.py $(ARGS)

# Each process gets neighbouring tests, so that what a module shares is made once.
test: setup ## run the tests, except for the slow ones (ARGS="-m slow" runs those)
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow" $(ARGS)

# A fast part of it runs with the tests; NORMLAB_TORTURE=1 adds the slower tests. The
# whole takes hours: make torture ARGS="--only checkpoint" runs some scenarios.
torture: setup ## kill runs again and again, and check that nothing is lost
	@$(BIN)/python tests/torture/harness.py $(ARGS)

extra: setup ## add optional packages: make extra EXTRA=ray (or mlflow, wandb)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[$(EXTRA)]"

# Needs root and Debian's packages of SLURM, which it installs.
slurm: setup ## run sweeps on a SLURM of two nodes, which this brings up here
	@NORMLAB_SLURM=1 $(BIN)/python -m pytest tests/slurm $(ARGS)

lint: setup ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: setup ## build the documentation into docs/_build/html
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

reproduce: setup ## run the notebooks' experiments again: make reproduce DATA=FOLDER
	@$(BIN)/python scripts/reproduction $(or $(DATA),data) $(ARGS)

bench: setup ## measure every benchmark: make bench DATA=FOLDER
	@$(BIN)/python benchmarks/run_all.py $(or $(DATA),data) $(ARGS)

tensorboard: setup ## open the curves of all runs
	@$(BIN)/tensorboard --logdir outputs $(ARGS)

clean: ## delete .venv and the built documentation
	rm -rf $(VENV) docs/_build
