# `make demo` and `make test` make the virtual environment when it is missing, and need a package index, no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: help install demo tune-demo test lint clean

help:
	@echo "make demo     install, then find tickets on the embedded graph with two processes"
	@echo "make tune-demo  install, then search for the sparsest matching ticket on the embedded graph with Ray"
	@echo "make test     install, then ruff, mypy, import layers and all tests"
	@echo "make install  the virtual environment .venv with the ugts program in it"
	@echo "make lint     ruff, mypy and import layers only"
	@echo "make clean    remove the virtual environment"

install: $(STAMP)

$(STAMP): pyproject.toml
	PYTHON="$(PYTHON)" sh scripts/install.sh $(VENV)
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

test: lint
	$(BIN)/pytest

clean:
	rm -rf $(VENV)
