# make run · test · lowest · soak · fuzz · mutants · bench · check · fmt · lock · dist · image · clean
#
# Each target sets up what it needs: .venv-run holds only what running needs, .venv the tests as well.
PYTHON ?= python3
# One worker more than there are cores: tests also wait for servers, timeouts and browsers.
JOBS ?= $(shell expr $$(nproc) + 1)
BIN := .venv/bin
SETUP := .venv/ready
SOAKING := .venv/soak-ready
RUN := .venv-run/ready

# Containers often forbid Python to keep compiled modules; the tests start some 250 Pythons.
test soak: export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test lowest soak fuzz mutants bench check fmt lock dist image clean

# Tests start hundreds of processes, each of which would compile every module.
unexport PYTHONDONTWRITEBYTECODE

TESTS := -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder $(PYTEST)

# COVERAGE=1, as in CI, measures branch coverage too, which takes a quarter more time.
test: check
ifdef COVERAGE
	$(BIN)/coverage erase
	$(BIN)/coverage run $(TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
else
	$(BIN)/python $(TESTS)
endif

# The exporter's tests with the lowest versions of the dependencies that pyproject.toml allows.
lowest: .venv/lowest-ready
	PYTHONPATH=$(CURDIR)/.venv/lowest SMTPSTATUS_LOCK=requirements-lowest.lock $(BIN)/python $(TESTS) tests/exporter \
	  tests/smtpstatus tests/reference_server/test_address.py tests/test_dependencies.py --ignore=tests/exporter/test_status_page.py

# Everything on one machine, without Docker; Ctrl-C stops it.
run: $(RUN)
	@.venv-run/bin/python deploy/demo.py

# Long tests, two at a time, as many of them mostly wait; SOAK=short runs a few minutes of them.
soak: $(SOAKING)
	SOAK=$(SOAK) $(BIN)/pytest -m "soak$(if $(filter short,$(SOAK)), and not long)" \
	  --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(PYTEST)

# Coverage-guided fuzzing of every parser, FUZZ_SECONDS for each.
fuzz: $(SOAKING)
	$(BIN)/python -m tests.fuzz $(or $(FUZZ_SECONDS),60)

# A seeded sample of mutants, each of which the tests should notice.
mutants: $(SOAKING)
	$(BIN)/python -m tests.mutants --count $(or $(MUTANTS),400)

# Ratios to peers and limits measured in the same run; BENCH=short only checks that the benchmarks run.
bench: $(SETUP)
	@$(BIN)/python -m benchmarks $(BENCH)

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs uv. The lock files hold no index address: any mirror works.
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url
lock:
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --resolution lowest-direct -o requirements-lowest.lock
	$(LOCK) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --group build -c requirements-dev.lock -o requirements-build.lock
	$(LOCK) --group release -c requirements-dev.lock -o requirements-release.lock
	$(LOCK) pyproject.toml --group dev --group soak -c requirements-dev.lock -o requirements-soak.lock

# Everything that a release consists of, in dist/: docs/release.md.
dist: .venv-release/ready
	.venv-release/bin/python deploy/dist.py dist

REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' smtpstatus/version.py)
image:
	docker build -t smtpstatus:$(VERSION) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) .

PIP_INSTALL = bin/pip install -q --disable-pip-version-check

.venv/ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) deploy/make_venv.py .venv
	.venv/$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	.venv/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@

# In front of the locked versions, which the tests' own dependencies stay.
.venv/lowest-ready: .venv/ready requirements-lowest.lock
	rm -rf .venv/lowest
	.venv/$(PIP_INSTALL) --no-deps --require-hashes --target .venv/lowest -r requirements-lowest.lock
	touch $@

.venv/soak-ready: .venv/ready requirements-soak.lock
	.venv/$(PIP_INSTALL) --require-hashes -r requirements-soak.lock
	touch $@

.venv-run/ready: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) deploy/make_venv.py .venv-run
	.venv-run/$(PIP_INSTALL) --require-hashes -r requirements.lock -r requirements-build.lock
	.venv-run/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@

.venv-release/ready: requirements-release.lock pyproject.toml
	@$(PYTHON) deploy/make_venv.py .venv-release
	.venv-release/$(PIP_INSTALL) --require-hashes -r requirements-release.lock
	touch $@

clean:
	rm -rf .venv .venv-run .venv-release .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist run
