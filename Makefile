# Everything below sets itself up: PYTHON is the interpreter to start from, VENV what it makes.
PYTHON ?= python3
VENV ?= .venv/$(notdir $(PYTHON))
JOBS ?= 2
FUZZ_INPUTS ?= 100000
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

.PHONY: help setup demo demo-time demo-table study test test-slow test-torch fuzz lint style format bench docs clean

help:
	@echo "make setup       installs into $(VENV)"
	@echo "make demo        trains on the labels alone and with RCC, compares, draws; seven minutes"
	@echo "make demo-table  the same for five seeds; writes benchmarks/results/demo.json"
	@echo "make study DATA=data/camvid  labels alone, UniMatch and RCC on real streets; hours on a CPU"
	@echo "make test        lint and tests         make test PYTHON=python3.13  with another Python"
	@echo "make test-slow   the tests that take minutes"
	@echo "make test-torch  the tests that compare with PyTorch; installs it into .venv/torch"
	@echo "make fuzz        broken files for every reader, $(FUZZ_INPUTS) each"
	@echo "make lint        style, types       make format  mends the style"
	@echo "make bench       benchmarks at a small size"
	@echo "make docs        the pages as a site, in build/site"

# Python compiles the modules that are imported; to compile all of them takes a third of the time.
$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	@echo "installing into $(VENV), once: one to three minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  -r requirements-dev.txt -c constraints.txt
	touch $@

setup: $(INSTALLED)

demo: demo-time $(INSTALLED)
	$(BIN)/python benchmarks/demo.py --methods=rcc --seeds=0

# Before the installation; of the runs alone demo.py says it.
demo-time:
	@test -e $(INSTALLED) || echo "make demo: about seven minutes in all on two CPU cores"

demo-table: $(INSTALLED)
	$(BIN)/python benchmarks/demo.py --methods=rcc --seeds=0,1,2,3,4 \
	  --results=benchmarks/results/demo.json

# DATA: the folder of CamVid. WEIGHTS: a file of ImageNet weights instead of a download.
SEEDS ?= 3
WEIGHTS ?= imagenet
study: study-data $(INSTALLED)
	$(BIN)/python benchmarks/real_images.py --data=$(DATA) --weights=$(WEIGHTS) --seeds=$(SEEDS)

# Before the installation.
study-data:
	@test -n "$(DATA)" || { echo "make study: give the folder of CamVid, DATA=data/camvid"; exit 2; }

lint: style
	$(BIN)/mypy

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The types are checked beside the tests, which leave a core idle while they are collected. What
# mypy says comes last, where it is seen.
test: style
	@$(BIN)/mypy > $(VENV)/types.txt 2>&1 & types=$$!; \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"; tests=$$?; \
	wait $$types; types=$$?; echo "mypy: $$(cat $(VENV)/types.txt)"; \
	test $$types -eq 0 && exit $$tests

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

# PyTorch in an environment of its own: the program needs none of it.
TORCH = .venv/torch/bin/python
.venv/torch/installed: requirements.txt requirements-dev.txt requirements-torch.txt constraints.txt
	$(PYTHON) -m venv .venv/torch
	$(TORCH) -m pip install --quiet --disable-pip-version-check --no-compile \
	  -r requirements-dev.txt -r requirements-torch.txt -c constraints.txt
	touch $@

test-torch: .venv/torch/installed
	$(TORCH) -m pytest -n $(JOBS) --dist worksteal tests/test_fuzz.py \
	  $$(grep -rlE 'importorskip\("torch|needs_torch' tests)

fuzz: $(INSTALLED)
	FUZZ_INPUTS=$(FUZZ_INPUTS) $(BIN)/python -m pytest -n $(JOBS) tests/test_fuzz.py

bench: $(INSTALLED)
	$(BIN)/python benchmarks/step_overhead.py --size=small
	$(BIN)/python benchmarks/input_speed.py --crops=321 --turns=3 --images=8 --batches=4
	$(BIN)/python benchmarks/recipe_speed.py --crops=321 --turns=3
	$(BIN)/python benchmarks/conv_layers.py --backbone=resnet18 --crop=65 --images=2 --turns=3
	$(BIN)/python benchmarks/consensus_cost.py --size=small --turns=5
	$(BIN)/python benchmarks/start.py --size=small --times=1

# An environment of its own: the site is made from the text of the code, which is not imported.
.venv/docs/installed: requirements-docs.txt
	$(PYTHON) -m venv .venv/docs
	.venv/docs/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-docs.txt
	touch $@

# With --quiet the warnings that --strict counts would be lost.
docs: .venv/docs/installed
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict
	@echo "build/site/index.html"

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build/site
