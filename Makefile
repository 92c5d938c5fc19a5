# make demo    the main job on a bundled capture          make lint    ruff and pyright
# make test    the tests                                  make format  let ruff put it right
# make slow    the tests that take minutes                make clean   remove what the others made
# make formal  proofs about the rooms
# make verilog the Verilog in Icarus and Verilator, under cocotb
# make verilog-page  all captures whole in both, docs/verilog.md out of it
# make speed   cycles a second of every engine
# make mutation  seeded faults of the HDL: do the tests find them?
#
# Everything is installed into .venv, once, with the versions of constraints.txt.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
CAPTURE := tests/data/captures/tls13-aes128-clean
PYTEST_ARGS ?= -n 2

.PHONY: demo test slow formal verilog verilog-page speed mutation lint format clean
.DEFAULT_GOAL := test

demo: $(VENV)/.installed
	$(BIN)/ktls-nic sim $(CAPTURE).pcap --keys $(CAPTURE).keys

test: $(VENV)/.tests-installed
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

slow: $(VENV)/.synth-installed $(VENV)/.formal-installed
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

formal: $(VENV)/.formal-installed
	$(BIN)/python -m pytest tests/formal -rs $(PYTEST_ARGS)

verilog: $(VENV)/.verilog-installed
	$(BIN)/python -m pytest tests/verilog -rs $(PYTEST_ARGS)

verilog-page: $(VENV)/.verilog-installed
	$(BIN)/python -m tests.verilog.record $(RECORD_ARGS)

speed: $(VENV)/.verilog-installed
	$(BIN)/python -m tests.verilog

mutation: $(VENV)/.tests-installed
	$(BIN)/python -m tests.mutation $(FAULTS)

lint: $(VENV)/.lint-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint-installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# A Python by its version, not by its name: a launcher may be there for one that is not.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "error: Python 3.11 or newer is needed and none was found (python3 here: $$(python3 --version 2>&1))." >&2; \
	  echo "       Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$found --version)"; \
	if ! $$found -m venv $(VENV); then \
	  rm -rf $(VENV); \
	  echo "error: $$found cannot make a virtual environment (Debian, Ubuntu: package python3-venv)." >&2; exit 1; \
	fi

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@if ! command -v g++ >/dev/null && ! command -v c++ >/dev/null && ! command -v clang++ >/dev/null; then \
	  echo "warning: no C++ compiler (g++) found: simulations will run on the slow engine, pysim." >&2; \
	fi
	@echo "Installing ktls-nic into $(VENV)"
	@$(PIP) install --upgrade -c constraints.txt pip
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.tests-installed: $(VENV)/.installed
	@echo "Installing the test packages"
	@$(PIP) install -c constraints.txt --group test
	@touch $@

$(addprefix $(VENV)/., $(addsuffix -installed, verilog synth formal)): $(VENV)/.%-installed: $(VENV)/.tests-installed
	@echo "Installing the packages of group $*"
	@$(PIP) install -c constraints.txt --group $*
	@touch $@

$(VENV)/.lint-installed: $(VENV)/.installed
	@echo "Installing the lint packages"
	@$(PIP) install -c constraints.txt --group lint
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
