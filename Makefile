# Two commands: `make demo` runs the main job, `make test` passes the tests. Both start from nothing.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test check fuzz env clean

demo: env
	$(PY) examples/demo.py

test: check
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile

check: env
	$(PY) -m ruff check src tests recipes bench examples
	$(PY) -m ruff format --check src tests recipes bench examples
	$(PY) -m mypy
	.venv/bin/lint-imports

# A million inputs of each parser by default; what they reached is kept in .fuzz for the next time.
RUNS ?= 1000000
fuzz: env
	OMP_NUM_THREADS=1 $(PY) -m tests.fuzz.campaign --runs $(RUNS)

env: .venv/ready

# torch first and alone, so that no later range can pick a build for another device.
.venv/ready: pyproject.toml constraints.txt $(wildcard src/puna/kernels/csrc/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Puna needs Python 3.11 or newer")'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-out
