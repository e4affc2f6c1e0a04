# Paperround: `make run` serves the site, `make test` runs every test, `make help` lists the rest.

PYTHON ?= python3
# The torch to install. On Linux the default is a CPU build where the package index has one; with a
# GPU choose your own, for instance: make run TORCH='torch>=2.6' (see docs/install.md).
TORCH ?= torch==2.13.0
# More options for pip, such as another package index.
PIP_OPTIONS ?=
HOST ?= 127.0.0.1
PORT ?= 8000
# Paths of tests, or options of pytest: make test TESTS="tests/runs -k cancel"
TESTS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install $(PIP_OPTIONS)
# A new room needs its entry point, so a new or moved card installs the package again.
CARDS := $(wildcard src/paperround/papers/*/card.toml)

.DEFAULT_GOAL := help
.PHONY: help run install test check fix constraints results
.PHONY: bench-decoding bench-digest bench-import bench-quasicryth bench-recommend bench-recommend-known bench-search bench-search-rerank bench-search-scale bench-search-variants bench-web

help:  ## Lists these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

run: $(VENV)/.installed  ## Installs what is missing, fetches the small models, serves the site
	@$(BIN)/paperround asset get --scale quick || \
		echo "Going on without the models; what needs them will say so." >&2
	@$(BIN)/paperround serve --host $(HOST) --port $(PORT)

install: $(VENV)/.installed  ## Makes .venv with Paperround and all that its papers need

# A quick reproduction has its minute by the clock, so these come last and one at a time.
test: $(VENV)/.installed-dev  ## Runs every test, or those that TESTS names
ifeq ($(TESTS),)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not reproduction"
	$(BIN)/python -m pytest -m reproduction
else
	$(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)
endif

check: $(VENV)/.installed-dev  ## Format, lint, types and the import contract, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.installed-dev  ## Formats the code and mends what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-search: $(VENV)/.installed-dev  ## How well search answers: by words, by meaning and by both
	$(BIN)/python -m benchmarks.search

bench-search-scale: $(VENV)/.installed-dev  ## Speed, memory and disk of search with 75,000 papers and a million
	$(BIN)/python -m benchmarks.search_scale

bench-search-variants: $(VENV)/.installed-dev  ## Other ways of ranking, tried on the same development queries
	$(BIN)/python -m benchmarks.search_variants

# MODEL is a folder of a model as transformers saves one, or with one GGUF.
bench-search-rerank: $(VENV)/.installed-dev  ## What a local model (MODEL=FOLDER) makes of the first ten again
	$(BIN)/python -m benchmarks.search_variants --rerank $(MODEL)

bench-web: $(VENV)/.installed-dev  ## A real server's answer times and memory
	$(BIN)/python -m benchmarks.web

bench-digest: $(VENV)/.installed-dev  ## Digests of 10,000 subscribers: time and memory
	$(BIN)/python -m benchmarks.digest

bench-import: $(VENV)/.installed-dev  ## Papers a second, memory, and precision of merging
	$(BIN)/python -m benchmarks.importing

bench-quasicryth: $(VENV)/.installed-dev  ## Sizes, speed and memory of the compressor beside its peers
	$(BIN)/python -m benchmarks.quasicryth

bench-recommend: $(VENV)/.installed-dev  ## Training, quality and answer times of the recommender, beside RecBole
	$(BIN)/python -m benchmarks.recommend

bench-recommend-known: $(VENV)/.installed-dev  ## The recommender's networks beside published figures (an hour)
	$(BIN)/python -m benchmarks.recommend_known

bench-decoding: $(VENV)/.installed-dev  ## The decoding methods of papers beside transformers' own
	$(BIN)/python -m benchmarks.decoding

results: $(VENV)/.installed  ## Measures the quick and standard results that ship (about 45 minutes)
	$(BIN)/paperround run --all --scale quick --ship
	$(BIN)/paperround run --all --scale standard --ship

constraints: $(VENV)/.installed-dev  ## Writes constraints.txt anew from what is installed
	$(BIN)/python tools/pin.py > constraints.new && mv constraints.new constraints.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Paperround needs Python 3.11 or newer; say which: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and alone, so that nothing else chooses its build.
$(VENV)/.torch: | $(VENV)/bin/python
	@echo "Installing $(TORCH) (some minutes the first time)"
	@$(PIP) "$(TORCH)"
	@touch $@

$(VENV)/.installed: pyproject.toml hatch_build.py constraints.txt $(CARDS) | $(VENV)/.torch
	@echo "Installing Paperround"
	@$(PIP) -c constraints.txt -e ".[papers]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(PIP) -c constraints.txt -e ".[papers,dev]"
	@touch $@
