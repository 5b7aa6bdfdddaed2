# The two commands of the README, and what CI runs. Everything lives in .venv.
PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN = .venv/bin/python
# A file is one worker's, so that its fixtures are made once.
EACH_CORE = -n auto --dist loadfile

.PHONY: demo test slow full lint clean

demo: .venv/demo
	$(RUN) scripts/prepare.py --corpus demo --source data/demo/audio --out data/demo --split speakers --folds 3
	$(RUN) scripts/run.py --config configs/ensemble_demo.py --jobs 2

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

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[test]"
	touch $@ .venv/demo
