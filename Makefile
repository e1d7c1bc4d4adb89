# Targets call the tools of .venv, which `install` keeps up to date. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ALL := $(VENV)/.installed-yolo
PYTEST := $(BIN)/python -m pytest
VERIFY := PYTHONPATH='$(CURDIR)' $(BIN)/python -m verification

# uv takes half the time of pip. Where it is missing, or does not reach the index that pip is
# configured for, pip installs.
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
UV := $(BIN)/uv pip install --python $(BIN)/python --system-certs --compile-bytecode -c constraints.txt
EXTRAS := dev,pulsar,delta
YOLO := $(EXTRAS),yolo
# uv's stages, a line each; its whole output is in uv.log.
stages = while read -r line; do case "$$line" in Resolved*|Downloading*|Prepared*|Installed*|Bytecode*) echo "  $$line";; esac; done
by_uv = { $(UV) -e '.[$(1)]' 2>&1 || echo 'uv failed'; } | tee $(VENV)/uv.log | $(stages); ! grep -qx 'uv failed' $(VENV)/uv.log
install = { $(by_uv); } || { echo "  uv failed, see $(VENV)/uv.log: pip installs, which takes minutes more."; $(PIP) -e '.[$(1)]'; }

.DEFAULT_GOAL := help
.PHONY: help install install-yolo demo verify-orders verify-cameras verify-quality verify-lake verify-run verify-faults soak verify-scale bench notebooks dist \
	compose-start compose-stop compose-restart compose-deploy compose-reset up down status \
	verify-images licences audit sbom secrets \
	test test-unit test-stream test-integration test-e2e verify-upgrade screenshots check format docs docs-site clean

help:  ## Show this list
	@awk 'BEGIN { FS = ":.*##" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*##/ { printf "  %-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Set up

install: $(STAMP)  ## Make .venv with the pinned versions (PYTHON=python3.11 chooses the interpreter)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
		2>/dev/null || { echo "storelake needs Python 3.10, 3.11 or 3.12, and $(PYTHON) is" \
		"$$($(PYTHON) --version 2>/dev/null || echo 'not there'): name another one with" \
		"PYTHON=python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the module venv:" \
		"install it (on Debian the package python3-venv)." >&2; exit 1; }
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "  fetching uv"; $(PIP) --only-binary :all: uv 2>/dev/null || true
	@$(call install,$(EXTRAS))
	@touch $@

install-yolo: $(ALL)  ## Add ultralytics and torch, 6 GB on disk: the detector `yolo`, training, its tests

$(ALL): $(STAMP)
	@echo "Installing ultralytics and torch; that is a download of 3 GB."
	@$(call install,$(YOLO))
	@touch $@

##@ Run

demo: install  ## Run everything for a minute (PROFILE=, FORMAT=, VIDEO=, BROKER=, SECONDS_=, RATE=, POISON=, SEED=, CONSOLE=no)
	@$(VERIFY) demo $(if $(PROFILE),--profile $(PROFILE)) $(if $(VIDEO),--video '$(VIDEO)') $(if $(BROKER),--broker $(BROKER)) \
		$(if $(FORMAT),--format $(FORMAT)) $(if $(SECONDS_),--seconds $(SECONDS_)) $(if $(RATE),--rate $(RATE)) $(if $(POISON),--poison $(POISON)) $(if $(SEED),--seed $(SEED)) $(if $(CONSOLE),--$(if $(filter no,$(CONSOLE)),no-)console)

verify-orders: install  ## Prove that a killed stream loses and repeats nothing (COUNT=, RATE=, SEED=)
	@$(VERIFY) orders $(if $(COUNT),--count $(COUNT)) $(if $(RATE),--rate $(RATE)) \
		$(if $(SEED),--seed $(SEED))

verify-cameras: install  ## Prove that what cameras count is what happened (SHOPPERS=, SEED=)
	@$(VERIFY) cameras $(if $(SHOPPERS),--shoppers $(SHOPPERS)) $(if $(SEED),--seed $(SEED))

verify-quality: install  ## Prove that validation names ten kinds of damage, and nothing else (SEED=)
	@$(VERIFY) quality $(if $(SEED),--seed $(SEED))

verify-lake: install  ## Prove the lake on MinIO: three engines, maintenance, backfill, Delta (MINUTES=, SEED=)
	@$(VERIFY) lake $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

verify-run: install  ## Prove a newcomer's path, every alert, and a cluster that loses a worker
	@$(VERIFY) run

verify-faults: install  ## Break every part under load that tasks and driver write; compare ids (ONLY= GROUP= TIMES=20 MINUTES=10 RATE= SEED= FORMAT= OUT=)
	@STORELAKE_STREAMS__RETURNED_ROWS=5 $(if $(FORMAT),STORELAKE_CATALOG__FORMAT=$(FORMAT)) $(VERIFY) faults \
		$(foreach name,$(ONLY),--only $(name)) $(foreach name,$(GROUP),--group $(name)) $(if $(TIMES),--times $(TIMES)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

soak: install  ## Run everything for HOURS= (1) under load and random faults: nothing lost, nothing grows (RATE=, SEED=)
	@STORELAKE_STREAMS__RETURNED_ROWS=5 $(VERIFY) soak $(if $(HOURS),--hours $(HOURS)) \
		$(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED))

verify-images: install  ## Build our images with buildah, as root, and run them on local services
	@$(VERIFY) images

bench: install  ## Measure, in ten minutes; one table, growth curves (FULL=yes: hours, result files; ONLY="NAME...")
	@PYTHONPATH='$(CURDIR)' $(BIN)/python -m benchmarks $(if $(FULL),--full) $(foreach name,$(ONLY),--only $(name))

verify-scale: install  ## Drain the same backlogs with one executor and with two; CPU seconds by process (COUNT=, FRAMES=, OUT=)
	@$(VERIFY) scale $(if $(COUNT),--orders $(COUNT)) $(if $(FRAMES),--frames $(FRAMES)) $(if $(OUT),--out $(OUT))

notebooks: install  ## Open the notebooks in JupyterLab, on the lake of the settings
	@$(call install,notebooks)
	@$(BIN)/jupytext --sync notebooks/*.py
	@PYTHONPATH='$(CURDIR)' STORELAKE_VAR_DIR="$${STORELAKE_VAR_DIR:-$(CURDIR)/var}" \
		$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks

dist: install  ## Build the archive that a cluster is given (EXTRAS="pulsar-client deltalake")
	@scripts/build-archive.sh $(EXTRAS)

up: install  ## Start everything on this machine, kept running (PROFILE=full: MinIO, Pulsar and Trino, too)
	@$(BIN)/storelake up $(if $(PROFILE),--profile $(PROFILE))

down: install  ## Stop everything; data stays
	@$(BIN)/storelake down

status: install  ## Show how it is
	@$(BIN)/storelake status

compose-start:  ## Start the containers of docker-compose.yml (docs/COMPOSE.md)
	@scripts/compose.sh start

compose-stop:  ## Stop them; data stays
	@scripts/compose.sh stop

compose-restart:  ## Stop and start them
	@scripts/compose.sh restart

compose-deploy:  ## Build the images again and replace what changed
	@scripts/compose.sh deploy

compose-reset:  ## Stop them and delete all their data
	@scripts/compose.sh reset

##@ Test

# A layer is run by itself: what a JVM is started with cannot change in its process. Two processes
# share its files, each with services of its own.
TWO := -n 2 --dist loadfile
# The tests of the layer integration wait more than they compute.
THREE := -n 3 --dist loadfile
COVERED := --cov --cov-append --cov-report= --cov-fail-under=0
ARCHIVE := $(BIN)/python -m tests.support.spark_archive

test: install-yolo  ## Run every layer, cheapest first, with the coverage floor
	@rm -f .coverage .coverage.*
	@$(ARCHIVE)
	@for layer in unit stream; do $(PYTEST) tests/$$layer $(TWO) $(COVERED) || exit 1; done
	@$(PYTEST) tests/integration $(THREE) $(COVERED)
	@$(BIN)/coverage report
	@$(PYTEST) tests/e2e

test-unit: install  ## No JVM, no service
	@$(PYTEST) tests/unit $(TWO)

test-stream: install  ## Spark: rules, and streams over the memory log
	@$(ARCHIVE)
	@$(PYTEST) tests/stream $(TWO)

test-integration: install-yolo  ## Real Kafka, Postgres and ultralytics
	@$(ARCHIVE)
	@$(PYTEST) tests/integration $(THREE)

test-e2e: install  ## A whole deployment
	@$(ARCHIVE)
	@$(PYTEST) tests/e2e

verify-upgrade: install  ## Let earlier releases write, and this one go on (needs their commits)
	@$(PYTEST) tests/upgrade

screenshots: install  ## Make the pictures of the console in docs/images again, from its test
	@$(PYTEST) tests/integration/test_console.py --screenshots docs/images

##@ Keep in order

check: install  ## Lint, types, import rules, spelling, generated pages, licences, secrets, advisories
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/shellcheck -x scripts/*.sh infra/prometheus/*.sh .ci/run
	@$(BIN)/hadolint infra/docker/Dockerfile
	@$(BIN)/codespell
	@$(BIN)/python -m tools.docs --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@$(SUPPLY) licences --quiet
	@$(SUPPLY) secrets
	@$(SUPPLY) audit $(if $(ADVISORIES),'$(ADVISORIES)')

SUPPLY := $(BIN)/python -m tools.supply

licences: install  ## List the licences of everything installed; one that is not allowed fails
	@$(SUPPLY) licences

audit: install  ## Compare what is installed with known advisories (ADVISORIES=FILE, of OSV or pip-audit)
	@$(SUPPLY) audit $(if $(ADVISORIES),'$(ADVISORIES)')

sbom: install  ## Write the SBOM of the wheel and of the jars, CycloneDX JSON, to build/sbom
	@$(SUPPLY) sbom build/sbom/storelake.cdx.json

secrets: install  ## Fail on a secret in the checkout (ACCEPT=yes: what is found are examples)
	@$(SUPPLY) secrets $(if $(ACCEPT),--accept)

format: install  ## Format the code and fix what can be fixed by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: install  ## Write the pages and contracts that are generated from code
	@$(BIN)/python -m tools.docs

docs-site: install  ## Build the site of the documentation into build/site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:  ## Delete .venv and all caches; var/ stays
	@rm -rf $(VENV) build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage .coverage.* spark-warehouse metastore_db derby.log
	@find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
