# Each target makes .venv by itself; repeated runs reuse it and pip's own cache.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
DOCS_STAMP := $(VENV)/.docs-stamp
# Number of processes that run the tests, each with one thread; WORKERS=0 runs them in one, with all threads.
WORKERS ?= 2
PYTEST := $(if $(filter 0,$(WORKERS)),,OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE) $(BIN)/python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help demo lab test check format docs release screenshots clean chromium readers

help:
	@echo "make demo    open the page (ARGS=\"--port 7861 --variant s --checkpoint FILE\" passes options on)"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make test    run all tests, including those of the page in Chromium (WORKERS=0: in one process instead of two)"
	@echo "make check   lint, types and the quick tests"
	@echo "make format  let ruff sort imports and format"
	@echo "make docs    run the notebooks and build the manual in docs/_build/html"
	@echo "make release build and check the distributions and the model file with their hashes in dist/"
	@echo "make screenshots  take screenshots of every tab of the page, into assets/screenshots"
	@echo "make clean   delete .venv and every cache of the checks"

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_STAMP): requirements-docs.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-docs.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m app --open $(ARGS)

lab: $(STAMP)
	PYTHONPATH="$(CURDIR)" $(BIN)/jupyter lab notebooks $(ARGS)

test: $(DOCS_STAMP) chromium readers
	$(PYTEST) $(ARGS)

check: $(DOCS_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m "not browser and not slow and not parity" $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A warning, such as a link that leads nowhere, is an error.
docs: $(DOCS_STAMP)
	$(BIN)/python docs/notebook_pages.py run
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "The manual is docs/_build/html/index.html"

# The wheel is built from the source distribution, so both are complete; nothing is uploaded.
release: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build==1.6.1 twine==7.0.0
	rm -rf dist build
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	cp assets/weights/eovseg-xs.safetensors dist/
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

screenshots: $(STAMP) chromium
	$(BIN)/python -m app.screenshots $(ARGS)

# Readers of other tools that the tests of the formats run, without what they depend on (tests/formats/readers.txt).
readers: $(VENV)/readers/.stamp

$(VENV)/readers/.stamp: $(STAMP) tests/formats/readers.txt
	rm -rf $(VENV)/readers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/readers \
		--requirement tests/formats/readers.txt
	@touch $@

# The browser tests need a Chromium. Where Debian's can be installed it is; elsewhere the tests say that they skip.
chromium:
	@if [ -z "$$EOVSEG_CHROMIUM" ] \
		&& ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1 \
		&& command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		echo "Installing Debian's chromium for the browser tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core fonts-noto-color-emoji >/dev/null || true; \
	fi

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build eovseg.egg-info docs/_build docs/generated docs/notebooks
