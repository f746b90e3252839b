# `make demo` and `make test` make the virtual environment when it is missing, and need a package index, no more.
PYTHON ?= python3
TORCH ?= auto
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-torch-$(TORCH)
DOCS_STAMP := $(VENV)/installed-docs

# Two processes with one thread each; tests of one group share what was made for them, and go to the same process.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=2 --dist=loadgroup

.PHONY: help install demo tune-demo test test-all lint fast docs gpu-report clean

help:
	@echo "make demo     install, then find tickets on the embedded graph with two processes"
	@echo "make tune-demo  install, then search for the sparsest matching ticket on the embedded graph with Ray"
	@echo "make test     install, then ruff, mypy, import layers and tests of every kind; minutes on two cores"
	@echo "make test-all the same, then the remaining tests, and those with random examples again with many of them"
	@echo "make install  the virtual environment .venv with the ugts program in it"
	@echo "make docs     what the documentation needs, then the site in site/; warnings are errors"
	@echo "make gpu-report  on a machine with a GPU: its tests and all measurements there, into benchmarks/RESULTS.md"
	@echo "make lint     ruff, mypy and import layers only"
	@echo "make ... TORCH=cuda|cpu   with that build of torch; without, the CPU's where there is no NVIDIA GPU"
	@echo "make clean    remove the virtual environment"

install: $(STAMP)

$(STAMP): pyproject.toml
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/install.sh $(VENV)
	rm -f $(VENV)/installed*
	touch $(STAMP)

demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node=2 -m ugts_dist demo

tune-demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/ugts tune --space digits

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(STAMP)
	$(PYTEST) -m "not slow"

# Both at once: mypy takes a core for a minute. The output is that of both.
test: $(STAMP)
	$(MAKE) --jobs=2 lint fast

# What the site and the notebook need is installed for those who want them: a quarter of a minute, 0.2 GB.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test-all: test $(DOCS_STAMP)
	$(PYTEST) -m "slow or hypothesis" --hypothesis-profile=thorough

# Each step has a time limit; REPORT="--store STORE --peer-python PYTHON" passes options on.
gpu-report: $(STAMP)
	$(BIN)/python benchmarks/gpu_report.py $(REPORT)

clean:
	rm -rf $(VENV)
