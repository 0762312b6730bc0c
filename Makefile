# SPDX-License-Identifier: Apache-2.0
# Every command sets up what it needs: the virtual environment .venv/ with the versions of constraints.txt, and the build in build/.
#   make test ARGS="-k mask"        arguments go to the command
#   make demo PYTHON=python3.12     the interpreter that .venv/ is made with

PYTHON ?= python3
ARGS ?=
BIN = .venv/bin
INSTALL = $(BIN)/pip install --disable-pip-version-check -c constraints.txt
# XLA's headers, from the jaxlib that an isolated build takes them from; the one that runs is newer
XLA_VERSION = $(shell sed -n 's/.*"jaxlib==\([0-9.]*\);.*/\1/p' pyproject.toml | head -1)
XLA = build/xla-$(XLA_VERSION)
export GATEWISE_XLA_INCLUDE = $(CURDIR)/$(XLA)/include
SOURCES = Makefile pyproject.toml CMakeLists.txt constraints.txt $(shell find csrc src -name __pycache__ -prune -o -print)

# What holds for the layer, on every backend
LAYER_TESTS = tests/test_explain_keras.py tests/test_inspect_attribution.py tests/test_ops_bidirectional.py $(addprefix tests/test_keras_, $(addsuffix .py, bidirectional bugs export fallback grid layer losses own_suites patch \
	patch_processes patch_programs properties same_bits starts))
# What hardly depends on the backend: on one of them, and by `make test-deep` on every one
KERAS_TESTS = $(addprefix tests/test_keras_, $(addsuffix .py, call_errors constructor_errors convert files)) tests/test_runtime_keras.py
RUNTIME_TESTS = $(wildcard tests/test_runtime_*.py)
STUDY_TESTS = $(wildcard tests/test_studies_*.py) tests/test_notebook.py
# What ARGS picks may be none of a backend's tests, which pytest says with 5
PICKED = $(if $(ARGS),|| test $$? -eq 5)

STRICT_BUILD = GATEWISE_WERROR=ON $(BIN)/pip wheel -q --no-deps --no-build-isolation -w build/check

# The studies are the examples that begin one
NAMES = $(basename $(notdir $(shell grep -l '^from study import' examples/*.py)))
DATA ?= data

.PHONY: help demo test test-others test-runtime test-studies test-tensorflow test-jax test-torch test-deep test-versions check format bench studies clean
.DELETE_ON_ERROR:

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.run  ## train on a real series, against stock Keras, with a picture at the end
	$(BIN)/gatewise demo $(ARGS)

test: .venv/.dev  ## run the tests and the examples in the docstrings, and those of the layer on every backend
	$(MAKE) --no-print-directory -j2 test-others test-jax test-tensorflow test-studies test-runtime test-torch

test-others: .venv/.dev
	KERAS_BACKEND=tensorflow $(BIN)/pytest -m "not deep" $(addprefix --ignore=, $(LAYER_TESTS) $(RUNTIME_TESTS) $(STUDY_TESTS)) $(ARGS) $(PICKED)

test-runtime: .venv/.dev
	KERAS_BACKEND=tensorflow $(BIN)/pytest -m "not deep" $(RUNTIME_TESTS) $(ARGS) $(PICKED)

test-studies: .venv/.dev
	KERAS_BACKEND=tensorflow $(BIN)/pytest -m "not deep" $(STUDY_TESTS) $(ARGS) $(PICKED)

test-tensorflow test-jax test-torch: test-%: .venv/.dev
	KERAS_BACKEND=$* $(BIN)/pytest -m "not deep" $(LAYER_TESTS) $(ARGS) $(PICKED)

test-deep: .venv/.dev  ## run the long tests too, with many more random cases
	$(BIN)/pytest --hypothesis-profile=deep $(ARGS)
	for backend in jax torch; do KERAS_BACKEND=$$backend $(BIN)/pytest --hypothesis-profile=deep $(LAYER_TESTS) $(KERAS_TESTS) $(ARGS) $(PICKED) || exit 1; done

test-versions: .venv/.dev  ## try the oldest and newest Keras, JAX and TensorFlow; downloads a few GB; ARGS picks rows
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/versions.py $(ARGS)

check: .venv/.dev  ## lint, formatting, types, and builds by GCC and Clang in which warnings are errors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	find csrc -name '*.[ch]' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run -Werror
	CC=gcc CXX=g++ $(STRICT_BUILD) -C build-dir=build/check-gcc .
	@command -v clang++ > /dev/null || { echo "make check: Clang is missing. Install it: apt-get install clang, on Debian."; exit 1; }
	CC=clang CXX=clang++ $(STRICT_BUILD) -C build-dir=build/check-clang .

format: .venv/.dev  ## apply the formatting that `make check` asks for
	$(BIN)/ruff format
	find csrc -name '*.[ch]' -o -name '*.cpp' | xargs $(BIN)/clang-format -i

bench: .venv/.dev  ## measure speed and memory against every peer, seventy minutes; ARGS="--only inference" for a part
	$(BIN)/python benchmarks/bench.py $(ARGS)

studies: .venv/.dev  ## train every study on its data and write its page in docs/; DATA=folder, NAMES="surnames dates" for a part
	for name in $(NAMES); do KERAS_BACKEND=tensorflow $(BIN)/python examples/$$name.py --data $(DATA) --publish $(ARGS) || exit 1; done

clean:  ## remove what the commands above set up
	rm -rf .venv build

# --- Set-up: each file stands for one state of .venv/ ---

.venv/.tools: constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) scikit-build-core nanobind numpy cmake ninja
	@touch $@

$(XLA)/.headers: .venv/.tools
	rm -rf $(XLA)
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --target $(XLA)/wheel jaxlib==$(XLA_VERSION)
	mv $(XLA)/wheel/jaxlib/include $(XLA)/include
	rm -rf $(XLA)/wheel
	@touch $@

.venv/.run: .venv/.tools $(XLA)/.headers $(SOURCES)
	$(INSTALL) --no-build-isolation '.[tensorflow,cli]'
	@touch $@

.venv/.dev: .venv/.tools $(XLA)/.headers $(SOURCES)
	$(INSTALL) --no-build-isolation '.[tensorflow,jax,torch,cli,dev,bench]'
	@touch $@ .venv/.run
