# Inferwire's commands. `make` lists them; each installs what it needs into .venv first.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test check generate contract-page generated-fresh protos-export stubs release-contract format measure-tools soak fuzz bench bench-quick pin dashboard-picture deploy-check deploy-generate clean
MAKEFLAGS += --no-print-directory

bin := .venv/bin
# The contract as last released. Comparing with a file works in a clone of any depth and on every branch, and compares
# with what callers have, not with the last commit: a message that was never released may still change.
released := protos/baseline.binpb

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## serve the two bundled models on 127.0.0.1:50051 until Ctrl-C
	@deploy/install demo
	@exec $(bin)/inferwire demo

test: ## check, then run every test
	@deploy/install test
	@$(MAKE) check
	@exec $(bin)/python -m pytest

check: ## format, lint, types, who imports whom, the contract
	@deploy/install test
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/lint-imports --no-logo
	$(bin)/buf lint protos
	$(bin)/buf format protos --diff --exit-code
	$(bin)/buf breaking protos --against $(released)
	@$(MAKE) generated-fresh

generate: ## write generated/ from protos/
	@deploy/install test
	$(bin)/python protos/generate

contract-page: ## write dist/contract.html: the contract for a browser
	@deploy/install test
	@$(bin)/python -m protos.page

generated-fresh: ## fail unless generated/ is what protos/ says
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(bin)/python protos/generate "$$fresh" && \
	diff -r --exclude=__pycache__ "$$fresh/inferwire" generated/inferwire || \
	{ echo "generated/ does not fit protos/: run 'make generate' and commit it" >&2; exit 1; }

protos-export: ## copy the contract and all that it imports to dist/protos, for compilers of any language
	@deploy/install test
	$(bin)/python protos/export dist/protos

stubs: ## build the Python stubs alone, without the server: dist/inferwire_stubs-*.whl
	@deploy/install test
	UV_SYSTEM_CERTS=$${UV_SYSTEM_CERTS:-true} $(bin)/uv build --quiet --wheel generated --out-dir dist

release-contract: ## record the contract as released: from then on it may only grow
	@deploy/install test
	$(bin)/buf build protos --exclude-source-info -o $(released)

format: ## format the Python and proto sources
	@deploy/install test
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
	$(bin)/buf format protos --write

measure-tools: ## do enforced calls keep their promises? the table in README.md
	@deploy/install test
	@exec $(bin)/python -m tests.benchmarks.enforced_calls --sets $(or $(sets),300) --at-once 64

soak: ## mixed traffic for minutes=20: is every outcome explained, does memory stay? add options=--scripted or others
	@deploy/install test
	@exec $(bin)/python -m tests.benchmarks.soak --minutes $(or $(minutes),20) $(options)

fuzz: ## do malformed requests find a defect? of the bundled models, or of a server at target=HOST:PORT
	@deploy/install test
	@exec $(bin)/python -m tests.fuzz --requests $(or $(requests),20000) --seed $(or $(seed),1) $(if $(target),--target $(target))

bench: ## Inferwire beside the raw engine and other servers; add options="--tiny --png FILE" or others
	@deploy/install test
	@exec $(bin)/inferwire bench $(options)

bench-quick: ## Inferwire beside the raw engine, on a tiny model, in under five minutes
	@deploy/install test
	@exec $(bin)/inferwire bench --quick --tiny

pin: ## write deploy/constraints-cpu.txt anew
	@deploy/install pin

dashboard-picture: ## draw the dashboard of minutes=6 of mixed traffic, without Grafana; needs prometheus
	@deploy/install test
	@exec $(bin)/python -m tests.benchmarks.dashboard --minutes $(or $(minutes),6) --png $(or $(png),deploy/monitoring/dashboard.png)

deploy-check: ## check what is deployed: chart, kustomizations, Dockerfile, dashboard, alert rules
	@deploy/install test
	@$(bin)/python -m deploy.check

deploy-generate: ## write the chart's schema of settings, its dashboard, and the base for Kustomize
	@deploy/install test
	@$(bin)/python -m deploy.check generate

clean: ## remove what these commands made, .venv included
	rm -rf .venv dist htmlcov .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf examples/clients/*/build examples/clients/node/{node_modules,src/gen}
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
