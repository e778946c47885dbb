# make demo: segment the sample volume.   make test: run all tests.   Both set up what they need in .venv first.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.medsegai-installed
# Offscreen pictures (Slicer's own views) and the panels in the tests need these; nothing else is asked of the machine.
DEBIAN_PACKAGES := libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core

# With what it depends on, MONAI replaces PyTorch by its newest release, with gigabytes of CUDA libraries.
MONAI := monai==1.6.1 nibabel==5.4.2 importlib-resources==6.5.2

.PHONY: setup demo test lint format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit("MedSegAI needs Python 3.10 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MONAI)
	@sh Testing/system_packages.sh $(DEBIAN_PACKAGES)
	@touch $@

demo: $(STAMP)
	$(BIN)/medsegai demo --output demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist demo *.egg-info
