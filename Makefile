# The two commands of the README, and what CI runs. Everything lives in .venv.
PYTHON ?= python3
# The versions that fit the Python of .venv, or the one it is to be made with: jax 0.11 dropped 3.11.
AGE := $(shell $(or $(wildcard .venv/bin/python),$(PYTHON)) -c 'import sys; print("py312" if sys.version_info >= (3, 12) else "py311")')
PINS = constraints/$(AGE).txt
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c $(PINS)
RUN = .venv/bin/python
# A file is one worker's, so that its fixtures are made once.
EACH_CORE = -n auto --dist loadfile

.PHONY: demo test slow full lint clean

demo: .venv/demo
	$(RUN) -m jser prepare --corpus demo --source data/demo/audio --out data/demo --split speakers --folds 3
	$(RUN) -m jser run --config ensemble_demo --jobs 2

test: .venv/test lint
	$(RUN) -m pytest $(EACH_CORE)

slow: .venv/test
	$(RUN) -m pytest $(EACH_CORE) -m "slow and not full"

full: .venv/test
	$(RUN) -m tests.full

lint: .venv/test
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright --pythonpath .venv/bin/python

clean:
	rm -rf .venv data/demo features/demo runs/demo_* runs/ensemble_demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml $(PINS)
	$(PIP) --editable .
	touch $@

.venv/test: .venv/bin/python pyproject.toml $(PINS)
	$(PIP) --editable ".[test]"
	touch $@ .venv/demo
