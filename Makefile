# `make` lists what there is. Needs Python 3.11+ and make; everything else is fetched into VENV and the user's cache.

VENV ?= .venv
ARGS ?=
ONCE ?=
PEERS ?=
DESK ?=
MINUTES ?=
SEED ?=
POINTS ?=
JOBS ?= 4
SETTINGS_PAGES := docs/settings.md docs/settings.zh-CN.md
UV := uv==0.13.9
# Tools of their own environment: they are no dependencies, of the application or of its tests.
TOOLS := .tools
SUPPLY_CHAIN := cyclonedx-bom==7.5.0 pip-audit==2.10.1

PY := $(VENV)/bin/python
READY := $(VENV)/.ready

# Of the user's own Python: with some of them nothing is installed, asserts are left out, other modules are imported, or
# each of the hundreds of processes that the tests start compiles the application for itself (images often set that one).
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS PYTHONDEVMODE PYTHONSTARTUP PYTHONINSPECT
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup run test check bench chaos silences soak fuzz format reference settings rules lock sbom audit clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment in VENV; the other targets do it when they need it
	@echo "The environment is ready: $(VENV). Next: make run; commands are on the path after . $(VENV)/bin/activate"

# `exec`: a shell that Ctrl-C ends would have make tell an error.
run: $(READY) ## Start Kafka and a worker, replay the sample data until Ctrl-C; ONCE=1: once, and end when all has come out
	@ONCE=$(ONCE) exec $(PY) -m app.demo

test: $(READY) ## Run all tests, those on a real Kafka too, JOBS= files at once; ARGS= goes to pytest, e.g. ARGS="tests/unit -k batch"
	@$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY) ## What CI runs: format, lint, layers, types, what is made of other files, then all tests
	@$(PY) -m tests.check

bench: $(READY) ## Measure cost, throughput and latency, print tables; PEERS=1: other processors beside it; DESK=1: the web over 100,000 batches
	@$(PY) -m $(if $(DESK),tests.bench.desk,tests.bench $(if $(PEERS),--peers)) $(ARGS)

chaos: $(READY) ## The fault tests alone, then a minute of random faults; MINUTES=10 SEED=7: random faults for so long; POINTS=30: the outbox killed so often at each point
	@$(PY) -m $(if $(POINTS),tests.chaos.points --kills $(POINTS),$(if $(MINUTES),tests.chaos.killer --minutes $(MINUTES) --seed $(or $(SEED),7),tests.chaos)) $(ARGS)

silences: $(READY) ## How long the group is silent when a worker joins, leaves, is killed or stopped; about half an hour
	@$(PY) -m tests.chaos.silences $(ARGS)

soak: $(READY) ## A steady load for MINUTES=60 while workers are replaced: memory, open files, changelogs, latency
	@$(PY) -m tests.chaos.soak --minutes $(or $(MINUTES),60) $(ARGS)

fuzz: $(READY) ## Hostile input by the million, guided by coverage where atheris is installed; ARGS="--runs 1000000 source"
	@$(PY) -m tests.fuzz $(ARGS)

format: $(READY) ## Format the code and fix what the linter can fix
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

reference: $(READY) ## Write docs/reference.md, made from the docstrings
	$(PY) -m tests.reference --write docs/reference.md

settings: $(READY) ## Write the tables of settings in docs
	$(PY) -m app.settings.table --write $(SETTINGS_PAGES)

rules: $(READY) ## Write the alert rules for the Prometheus operator
	@$(PY) -m tests.operator_rules --write

lock: ## Lock the dependencies of pyproject.toml in requirements.lock, and a worker's; ARGS=--upgrade takes the newest
	@$(find_python); tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	"$$python" -m venv "$$tools" && "$$tools/bin/python" -m pip install -q --disable-pip-version-check $(UV) && \
	UV_CUSTOM_COMPILE_COMMAND="make lock" "$$tools/bin/uv" pip compile -q --universal --python-version 3.11 \
		--all-extras --generate-hashes $(ARGS) pyproject.toml -o requirements.lock && \
	"$$python" tests/worker_lock.py --write

sbom: $(TOOLS)/.ready ## Write sbom.json, what requirements.lock consists of (CycloneDX)
	@$(TOOLS)/bin/python -W ignore -m cyclonedx_py requirements requirements.lock --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o sbom.json
	@echo "sbom.json: $$(grep -c '"bom-ref": "requirements' sbom.json) packages, CycloneDX"

audit: $(TOOLS)/.ready ## Look for known vulnerabilities in requirements.lock; says so where the service does not answer
	@$(TOOLS)/bin/python tests/audit.py requirements.lock

clean: ## Remove the environment and everything that tools have left in this folder
	rm -rf $(VENV) $(TOOLS) sbom.json build dist *.egg-info .fuzz .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $python to PYTHON, or to the first Python on PATH that is new enough.
define find_python
	for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or newer is needed; found: $$($(or $(PYTHON),python3) --version 2>&1). Name one: make PYTHON=..." >&2; \
		exit 1; \
	fi
endef

$(TOOLS)/.ready: Makefile
	@$(find_python); "$$python" -m venv --clear "$(TOOLS)"
	@"$(TOOLS)/bin/python" -m pip install -q --disable-pip-version-check $(SUPPLY_CHAIN)
	@touch "$@"

$(READY): requirements.lock pyproject.toml
	@$(find_python); \
	if [ ! -x "$(PY)" ]; then \
		echo "Making $(VENV) with $$("$$python" --version) ..."; \
		"$$python" -m venv "$(VENV)" || exit; \
	fi
	@echo "Installing requirements.lock (the first time a minute or two) ..."
	@"$(PY)" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@"$(PY)" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch "$@"
