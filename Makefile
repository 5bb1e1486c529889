# make run · test · soak · fuzz · bench · check · fmt · lock        Each sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/ready

.PHONY: run test soak fuzz bench check fmt lock clean

test: check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# Everything on one machine, without Docker; Ctrl-C ends it.
run: $(SETUP)
	@$(BIN)/python deploy/demo.py

# The tests that take long.
soak: $(SETUP)
	$(BIN)/pytest -m soak

# With atheris where it can be installed, else with mutations of its own.
fuzz: $(SETUP)
	-$(BIN)/pip install -q --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz $(or $(FUZZ_SECONDS),60)

# Ratios against peers and limits of the same run; BENCH=short tries the harness and judges nothing.
bench: $(SETUP)
	@$(BIN)/python -m benchmarks $(BENCH)

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs uv. No index address gets into the lock files: any mirror will do.
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url
lock:
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group build -o requirements-build.lock
	$(LOCK) pyproject.toml --group dev -o requirements-dev.lock

$(SETUP): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis run
