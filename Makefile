# Two commands are all you need: `make up` and `make test`. `make` alone lists the others.
# YES=1 installs packages without asking; PYTHON=/path/to/python3 chooses the Python; GRID=file another grid.
GRID ?= examples/local.yaml
VENV := .venv/bin
# What is fetched or made once and kept: parts/ programs, models/ weights. `make clean` keeps it, `make distclean` does not.
CACHE := .cache

.PHONY: help up down test check format locks check-locks clean distclean packages venv test-packages test-venv consul vllm

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

up: packages venv ## Install what is missing, start every part, answer a first question
	@$(VENV)/ragrid up $(GRID)

down: venv ## Stop every part; data is kept
	@$(VENV)/ragrid down

test: test-packages test-venv consul vllm ## Install what the tests need, run all of them
	@scripts/run-tests all

check: test-packages test-venv ## Static checks and unit tests: seconds, before each commit
	@scripts/run-tests quick

format: test-venv ## Format the code and mend what ruff can mend
	@$(VENV)/ruff check --fix . ; $(VENV)/ruff format .

locks: test-venv ## Pin pyproject.toml's dependencies anew (UPGRADE=1: newest versions)
	@PATH=$(VENV):$$PATH $(VENV)/python scripts/make-locks $(if $(UPGRADE),--upgrade)

check-locks: test-venv ## Do the locks fit pyproject.toml?
	@PATH=$(VENV):$$PATH $(VENV)/python scripts/make-locks --check

clean: ## Remove what checks and tests leave behind
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find src tests scripts -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Also remove the environments and everything fetched
	@rm -rf .venv .venv-vllm $(CACHE) src/*.egg-info

packages:
	@scripts/install-packages run

venv: packages
	@scripts/make-venv --project .venv requirements/run.lock requirements/model.lock

test-packages:
	@scripts/install-packages test

test-venv: test-packages
	@scripts/make-venv --project .venv requirements/run.lock requirements/model.lock requirements/dev.lock

consul: test-venv
	@$(VENV)/python scripts/fetch_package.py consul --suite bullseye --into $(CACHE)/parts/consul
	@$(VENV)/python scripts/fetch_package.py debian-policy --into $(CACHE)/corpora/debian-policy

vllm: test-packages
	@scripts/make-vllm-venv .venv-vllm
	@.venv-vllm/bin/python scripts/make-tiny-model $(CACHE)/models/tiny
