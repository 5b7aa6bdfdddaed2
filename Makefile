# The two commands of the README, and what CI runs. Everything lives in .venv.
PYTHON ?= python3
# The versions that fit the Python of .venv, or the one it is to be made with: jax 0.11 dropped 3.11.
AGE := $(shell $(or $(wildcard .venv/bin/python),$(PYTHON)) -c 'import sys; print("py312" if sys.version_info >= (3, 12) else "py311")')
PINS = constraints/$(AGE).txt
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c $(PINS)
RUN = .venv/bin/python
# A file is one worker's, so that its fixtures are made once.
EACH_CORE = -n auto --dist loadfile
# An angry utterance of a voice that no run of the demo has seen.
UNHEARD = data/demo/unheard_angry.wav

.PHONY: demo test slow full lint clean

demo: .venv/demo
	$(RUN) -m jser prepare --corpus demo --source data/demo/audio --out data/demo --split speakers --folds 3
	$(RUN) -m jser run --config ensemble_demo --jobs 2
	$(RUN) -m jser bundle --config ensemble_demo --out runs/demo_model
	$(RUN) -m jser.corpora.demo $(UNHEARD) > data/demo/unheard.txt
	$(RUN) -m jser recognize $(UNHEARD) --model runs/demo_model --transcript "$$(cat data/demo/unheard.txt)"
	@echo
	@echo "It was angry; of voices that it has not heard the model knows two in three, as the table above says."
	@echo "A file of yours, after \`source .venv/bin/activate\`:"
	@echo "  jser recognize my.wav --model runs/demo_model --transcript 'what is said'  # Knows synthetic voices alone."
	@echo "  jser recognize my.wav --model emodb-functionals    # Knows ten German actors."
	@echo "  jser recognize my.wav                              # The same by Whisper base, fetched once (about 290 MB)."
	@echo "Sounds of yours with labels: jser fit sounds/mine.csv --out my-model"

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
