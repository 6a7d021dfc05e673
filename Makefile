# Two commands do everything: `make demo` and `make test`. Each makes its own environment first.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-long lint bench clean

demo: $(VENV)/.demo
	$(BIN)/python examples/landscape.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not slow and not long" -n 2 $(TESTS)

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "slow and not long" -n 2 $(TESTS)

test-long: $(VENV)/.test
	$(BIN)/python -m pytest -q -m long -n 2 $(TESTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(BENCH)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "entropic needs Python 3.11 or newer; none was found on PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# uv installs in a fifth of pip's time. Where it cannot be had, or does not know of the mirror that pip is set up for, pip does.
$(VENV)/.%: $(VENV)/.made pyproject.toml
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install -q uv || true
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q $(WANTED) 2>/dev/null || $(BIN)/python -m pip install -q $(WANTED)
	touch $@

WANTED = -e '.[$(EXTRAS)]'
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := test,dask
$(VENV)/.lint: EXTRAS := test,dask,lint
$(VENV)/.bench: EXTRAS := test,dask
