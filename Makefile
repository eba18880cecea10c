# make audit: a first audit, on digits that come with scikit-learn.   make test: lint, types, tests.
# make fuzz: broken inputs of every kind.   Each sets up .venv first, once; it is renewed when constraints.txt or
# pyproject.toml change.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# torch for Linux without an NVIDIA GPU is the CPU build, from a folder pip is configured with or from
# PyTorch's page; the plain one brings gigabytes of CUDA. Choose yourself: make setup TORCH=torch==2.13.0
CPU_TORCH := torch==2.13.0+cpu --no-deps --retries 1 --find-links https://download.pytorch.org/whl/cpu/torch/
TORCH ?= $(shell if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; \
	then echo '$(CPU_TORCH)'; else echo 'torch==2.13.0'; fi)

# one more than there are cores: some tests wait for processes that they started
TESTERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.PHONY: help setup audit test bench fuzz clean

help:
	@sed -n '1,3s/^# //p' Makefile

setup: $(READY)

$(READY): constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name it: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, or name it: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: this Python cannot make virtual environments; install them (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

audit: $(READY)
	@$(BIN)/spuriscope audit digits --quick --out audit-digits

test: $(READY)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

bench: $(READY)
	@$(BIN)/python benchmarks/throughput.py

# before a release: make fuzz CASES=26000, some twenty minutes; again from its seed: --kinds npz --number 123
CASES ?= 2600
SEED ?= 0
fuzz: $(READY)
	@$(BIN)/python benchmarks/fuzz.py --cases $(CASES) --seed $(SEED) --keep fuzz-failing

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
