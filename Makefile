# Every target sets up .venv first, once; it is renewed when constraints.txt or pyproject.toml change.
# `make help` lists the targets: the lines below with two hashes.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
EXTRAS := .venv/extras

# torch for Linux without an NVIDIA GPU is the CPU build, from a folder pip is configured with or from
# PyTorch's page; the plain one brings gigabytes of CUDA. Choose yourself: make setup TORCH=torch==2.13.0
CPU_TORCH := torch==2.13.0+cpu --no-deps --retries 1 --find-links https://download.pytorch.org/whl/cpu/torch/
TORCH ?= $(shell if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; \
	then echo '$(CPU_TORCH)'; else echo 'torch==2.13.0'; fi)

# one more than there are cores: some tests wait for processes that they started
TESTERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST = $(BIN)/pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup extras audit test test-fast coverage format docs docs-serve wheel verdicts bench fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv with what is pinned in constraints.txt

$(READY): constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name it: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, or name it: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: this Python cannot make virtual environments; install them (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(INSTALL) --editable '.[dev]'
	@touch $(READY)

extras: $(EXTRAS) ## install every extra too: tests that need one skip without it

$(EXTRAS): $(READY)
	$(INSTALL) --editable '.[datasets,docs,influence,onnx,pretrained,privacy,ray,tables]'
	$(INSTALL) --no-deps kronfluence
	@touch $@

audit: $(READY) ## a first audit, of digits that come with scikit-learn
	@$(BIN)/spuriscope audit digits --quick --out audit-digits

test: $(READY) ## lint, types, all tests
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary
	$(PYTEST)

test-fast: $(READY) ## the tests that train nothing and start no process, in less than a minute
	$(PYTEST) -m "not slow"

coverage: $(EXTRAS) ## all tests with every extra, and which lines they reach; fails below the floor in pyproject.toml
	$(PYTEST) --cov --cov-report=term --cov-report=html:coverage

format: $(READY) ## bring the code into form, and mend what lint can mend
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

docs: $(BIN)/mkdocs ## build the site into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs-serve: $(BIN)/mkdocs ## show the site at http://127.0.0.1:8000, renewed as pages change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --quiet

$(BIN)/mkdocs: $(READY)
	$(INSTALL) --editable '.[docs]'
	@touch $@

wheel: $(READY) ## build the wheel into dist/, and try it where this clone is not
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	.ci/try-wheel dist/spuriscope-*.whl

verdicts: $(READY) ## the figures and verdicts of docs/results again, from the rows there
	@$(BIN)/spuriscope study draw all --rows docs/results --out docs/results/figures --format svg
	@$(BIN)/spuriscope study check --rows docs/results --out docs/results/README.md --readme README.md

bench: $(READY) ## speed, as ratios in one run
	@$(BIN)/python benchmarks/throughput.py
	@$(BIN)/python benchmarks/around.py

CASES ?= 2600
SEED ?= 0
fuzz: $(READY) ## broken inputs of every kind; before a release CASES=26000, some twenty minutes
	@$(BIN)/python benchmarks/fuzz.py --cases $(CASES) --seed $(SEED) --keep fuzz-failing

clean: ## delete .venv and all that tools have left
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage coverage build dist site fuzz-failing
