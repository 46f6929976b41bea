# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(p))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest
export PIP_NO_INPUT = 1
export PYTHONUTF8 = 1

.PHONY: demo test check proof bench setup clean help
.DEFAULT_GOAL := test

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "trialveil needs Python 3.11 or newer; none was found on the PATH." >&2; exit 1; fi
	@"$(PYTHON)" -m venv $(VENV) 2>/dev/null \
	 || { rm -rf $(VENV); "$(PYTHON)" -m virtualenv --quiet $(VENV) 2>/dev/null; } \
	 || { rm -rf $(VENV); virtualenv --quiet -p "$(PYTHON)" $(VENV) 2>/dev/null; } \
	 || { rm -rf $(VENV); echo "Python cannot make a virtual environment: install the package 'python3-venv' (Debian, Ubuntu) or 'virtualenv', then run make again." >&2; exit 1; }

# What the demo needs: the package alone.
$(VENV)/.installed-core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing trialveil into $(VENV) …" >&2
	@$(PIP) install -c constraints.txt -e .
	@touch $@

# What tests and checks need: everything but the extras that have an environment of their own.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing trialveil[dev] into $(VENV) (about two minutes) …" >&2
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed-core

setup: $(VENV)/.installed-dev

demo: $(VENV)/.installed-core
	@$(BIN)/trialveil demo $(if $(OUT),--out $(OUT))

test: $(VENV)/.installed-dev
	@$(PYTEST) -n 2 --dist loadfile -m "not proof"
	@echo "make test: every test of everyday size passed. The full-size proofs are run by 'make proof'; their results lie in docs/proof/."

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(PYTEST) -q tests/repository
	@echo "make check: style, types, layers and house rules hold."

proof: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.proof

bench: $(VENV)/.installed-dev
	@for f in benchmarks/*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

clean:
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

help:
	@echo "make demo    screen invented people at four embedded EHRs; OUT=DIR says where the reports go"
	@echo "make test    every test of everyday size, on loopback only"
	@echo "make check   style, types, layers and house rules"
	@echo "make proof   the long proofs at full size; writes docs/proof/"
	@echo "make bench   the benchmarks"
	@echo "make setup   only install"
	@echo "make clean   remove what was installed and built"
