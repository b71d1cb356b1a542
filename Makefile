# Two commands: `make demo` and `make test`. Both do all set-up on a fresh machine; `make help`.
VENV ?= .venv
PY := $(VENV)/bin/python
# Passed on: make test ARGS="tests/views -x", make demo ARGS="--help"
ARGS ?=
export VENV
# Threads sleep while they wait for one another: tests start processes that want the same cores.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help setup setup-browser setup-audit demo test soak gpu bench reports notebooks docs lint
.PHONY: format clean fuzz mutants audit sbom licences

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## .venv, dependencies under constraints.txt, system libraries of packages.txt
	@bash .ci/setup

setup-browser:
	@bash .ci/setup --with-browser

demo: setup ## serve the app with the bundled model
	$(PY) app.py $(ARGS)

# A process per core, each with one thread. The tests of a file share what they make: they stay
# together, and files begin in the order that tests/conftest.py gives them.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ifneq (,$(findstring no:xdist,$(ARGS)))
PARALLEL :=
endif
test: setup-browser ## all tests but the soak, a process per core; ARGS="-n0": in one
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PY) -m pytest $(PARALLEL) $(ARGS)

soak: setup ## the full sizes: many clients, kills, malformed files, many meshes
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m soak $(ARGS)

gpu: setup ## on a GPU: its tests and the speed benchmark, into build/gpu.json, in eight minutes
	$(PY) -m tests.gpu.report $(ARGS)

bench: setup ## run the benchmarks/, which write their ratios as JSON
	@set -e; for script in benchmarks/[!_]*.py; do \
		echo "== $$script"; HF_HUB_OFFLINE=1 $(PY) "$$script" $(ARGS); \
	done

reports: setup ## the bundled model's evaluation, into docs/reports.md, from ../shared/data
	HF_HUB_OFFLINE=1 $(PY) benchmarks/_reports.py $(ARGS)

notebooks: setup ## run all notebooks in full, their outputs written into them
	HF_HUB_OFFLINE=1 $(PY) notebooks/run.py $(ARGS)

docs: setup ## build the site into build/site; a broken link or reference is an error
	$(PY) -m sphinx -qWE --keep-going -j auto -d build/doctrees -c docs . build/site

lint: setup ## ruff and pyright, as the tests run them
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

setup-audit: setup
	$(PY) -m pip install --quiet -c constraints.txt -e '.[audit]'

fuzz: setup-audit ## coverage-guided fuzzing of the readers of files, ten minutes each
	HF_HUB_OFFLINE=1 $(PY) -m tests.fuzz.readers $(ARGS)

mutants: setup-audit ## mutants of what all else stands on that no test notices; ARGS="--minutes 10"
	HF_HUB_OFFLINE=1 $(PY) -m tests.mutants $(ARGS)

audit: setup-audit ## known vulnerabilities of the pinned versions; advisory: it asks a server
	-$(PY) -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict $(ARGS)

sbom: setup-audit ## a bill of materials of .venv, CycloneDX, into build/sbom.json
	mkdir -p build
	$(PY) -m cyclonedx_py environment --pyproject pyproject.toml -o build/sbom.part $(PY)
	mv build/sbom.part build/sbom.json

licences: setup ## the licence of every package that comes with an installation
	$(PY) -m tests.licences

format: setup ## let ruff rewrite what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove .venv, caches and build outputs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
