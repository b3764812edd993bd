# The one list of commands. `make` alone shows them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check docs bench

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

setup: $(STAMP)  ## build .venv, again whenever the requirements change

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medssl needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo]'
	@touch $@

demo: setup  ## run all five stages on synthetic scans, into a fresh folder
	@out=medssl-demo; n=2; \
	while [ -e "$$out" ]; do out=medssl-demo-$$n; n=$$((n + 1)); done; \
	$(BIN)/medssl demo --out "$$out"

test: setup  ## fast tests
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not gpu"

test-slow: setup  ## simulations, fuzzing and kills
	$(BIN)/python -m pytest -m slow

check: setup  ## format, lint, types, layers, generated docs, licences
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python .ci/check_install.py

docs: setup  ## write the sample report, from the demo, and the generated pages
	$(BIN)/python docs/sample_report.py
	$(BIN)/python docs/generate.py

bench: setup  ## run every benchmark, one JSON line each
	@for file in benchmarks/bench_*.py; do $(BIN)/python "$$file" || exit 1; done
