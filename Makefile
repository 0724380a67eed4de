# Everything below needs CPython 3.11 with venv and pip, make and git; `containers`
# a Docker engine, `faults` and `soak` that or Java and Maven.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

PDM_VERSION := 2.29.3
TOOLS := .tools
VENV := .venv
PDM := $(TOOLS)/bin/pdm
PDM_READY := $(TOOLS)/.pdm-$(PDM_VERSION)
VENV_READY := $(VENV)/.synced
IMAGE := batch-conductor-service
ORCHESTRATOR_IMAGE := batch-orchestrator-service
GATEWAY_IMAGE := api-gateway-service
BUILD_FLAGS ?=

# The first interpreter that runs and is of a version the project takes.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$python; break; }; done)

export PDM_CHECK_UPDATE := false
export PDM_IGNORE_ACTIVE_VENV := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without bytecode each of the many processes that tests start compiles all libraries again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test faults browser soak house bench client fmt lint types containers clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV_READY) ## Run the services and all they need here, show their main job, serve until Ctrl-C
	@exec $(VENV)/bin/bcs local

test: $(VENV_READY) ## Run every check and every test
	@$(PDM) run check

faults: $(VENV_READY) ## Break all it stands on, with real servers; only more random trials: SEED=n, FAULT_TRIALS=n
	@SEED=$(SEED) FAULT_TRIALS=$(FAULT_TRIALS) $(PDM) run \
		$(if $(SEED)$(FAULT_TRIALS),test-random-faults,test-faults)

browser: $(VENV_READY) ## Use the page in a real browser, and keep pictures: CHROMIUM=path, else the one that there is
	@CHROMIUM=$(CHROMIUM) .ci/chromium
	@CHROMIUM=$(CHROMIUM) $(PDM) run test-browser

soak: $(VENV_READY) ## Break things under steady load: MINUTES=n
	@MINUTES=$(or $(MINUTES),30) $(PDM) run test-soak

house: $(VENV_READY) ## Measure the source, and how many files a journey touches: FILES=1 names them
	@PYTHONPATH=. $(VENV)/bin/python .ci/house.py $(if $(FILES),--files)

bench: $(VENV_READY) ## Measure how fast all is, into docs/performance.md: ARGS='--quick', ARGS='define drain'
	@PYTHONPATH=. $(VENV)/bin/python -m bench $(ARGS)

client: $(VENV_READY) ## Make the typed client, and what the page has of it, anew; needs npm
	@$(VENV)/bin/python .ci/client.py --write

fmt: $(VENV_READY) ## Format, and repair what can be repaired
	@$(PDM) run fmt

lint: $(VENV_READY) ## Check format, style and import contracts
	@$(PDM) run lint

types: $(VENV_READY) ## Check types
	@$(PDM) run typecheck

containers: $(VENV_READY) ## Build the images, run the composition, drive it, restart each service
	docker build $(BUILD_FLAGS) --tag $(IMAGE):latest .
	docker build $(BUILD_FLAGS) --target bos --tag $(ORCHESTRATOR_IMAGE):latest .
	docker build $(BUILD_FLAGS) --target gateway --tag $(GATEWAY_IMAGE):latest .
	BUILD_FLAGS='$(BUILD_FLAGS)' $(VENV)/bin/pytest --timeout 900 tests/containers

clean: ## Remove everything that was made here, the local servers' data too
	@if [ -x $(VENV)/bin/bcs ]; then $(VENV)/bin/bcs local --remove-data; fi
	rm -rf $(VENV) $(TOOLS) .local .pdm-python .pdm-build .mypy_cache .ruff_cache .pytest_cache \
		.screenshots examples/react-client/node_modules .import_linter_cache .hypothesis .coverage .coverage.*
	find alembic src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(PDM_READY):
	@if [ -z "$(PYTHON)" ]; then echo "CPython 3.11 is needed and was not found." >&2; exit 1; fi
	@echo "Installing PDM $(PDM_VERSION) into $(TOOLS) ..."
	@rm -rf $(TOOLS)
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet "pdm[locked]==$(PDM_VERSION)"
	@touch $@

$(VENV_READY): pdm.lock pyproject.toml $(PDM_READY)
	@echo "Installing the locked dependencies into $(VENV) ..."
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PDM) sync --clean -G :all
	@touch $@
