# Tessera's commands. Everything is installed into .venv here, in the versions of docker/constraints.txt, and
# installed again only when pyproject.toml or the constraints change.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --disable-pip-version-check --quiet --constraint docker/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install serve test format train-demo clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/dev.stamp  ## Install everything into .venv: training, evaluation, the service and the tools

# TESSERA_HOST, TESSERA_PORT and the other settings (service/README.md) reach the service as they are; jobs are kept in
# runs/service unless TESSERA_STATE names another folder (empty: none are).
serve: $(VENV)/serve.stamp  ## Install what is missing, then start the service and its playground
	@host="$${TESSERA_HOST:-127.0.0.1}"; case "$$host" in 0.0.0.0|::) host=127.0.0.1;; esac; \
	echo "Playground: http://$$host:$${TESSERA_PORT:-8000}/ (Ctrl-C stops the service)"
	@exec env TESSERA_STATE="$${TESSERA_STATE-runs/service}" $(RUN) -m service

# Tests share the cores by file; TEST_PROCESSES=0 runs them in one process.
TEST_PROCESSES ?= 2
test: $(VENV)/dev.stamp  ## Check format, lint and types, then run the tests (PYTEST_ARGS="-k dcae" for some)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

format: $(VENV)/dev.stamp  ## Format the sources and mend what the linter can mend
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

# The demo models that come with the packages, from photographs with one folder a class below train/ and validation/.
# The generator learns the latents of the tokenizer as it is shipped, so that one is bundled first; a bundle made again
# with its figures has the same weights and the same spec_id.
DATA ?= data
LICENCE ?= CC0-1.0
train-demo: $(VENV)/dev.stamp  ## Train the bundled demo models again (DATA=FOLDER with train/ and validation/)
	$(RUN) -m tokenizer.train demo data.path='$(DATA)/train' data.validation='$(DATA)/validation' out=runs/demo/tokenizer
	$(RUN) -m tokenizer.bundle source=runs/demo/tokenizer out=tokenizer/bundled/demo licence=$(LICENCE)
	$(RUN) -m eval.reconstruct demo data.path='$(DATA)/validation' out=runs/demo/reconstruct
	$(RUN) -m tokenizer.bundle source=runs/demo/tokenizer out=tokenizer/bundled/demo licence=$(LICENCE) figures=runs/demo/reconstruct/report.json
	$(RUN) -m diffusion.latents tokenizer=demo data.path='$(DATA)/train' data.resolution=128 flip=true out=runs/demo/latents
	$(RUN) -m diffusion.train dit_demo latents=runs/demo/latents tokenizer=demo out=runs/demo/generator
	$(RUN) -m tokenizer.bundle source=runs/demo/generator out=diffusion/bundled/demo licence=$(LICENCE)
	$(RUN) -m eval.generate demo data.path='$(DATA)/train' out=runs/demo/generate
	$(RUN) -m tokenizer.bundle source=runs/demo/generator out=diffusion/bundled/demo licence=$(LICENCE) figures=runs/demo/generate/report.json

clean:  ## Remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "Tessera needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/serve.stamp: $(VENV)/created.stamp pyproject.toml docker/constraints.txt
	@echo "Installing what the service needs (minutes on the first run: PyTorch brings its CUDA libraries)"
	$(INSTALL) --editable '.[serve]'
	@touch $@

# The tools and every extra, the service's included.
$(VENV)/dev.stamp: $(VENV)/created.stamp pyproject.toml docker/constraints.txt
	@echo "Installing Tessera with its tools (minutes on the first run: PyTorch brings its CUDA libraries)"
	$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/serve.stamp $@
