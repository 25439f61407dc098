# Every target builds what it needs from nothing: Python 3.11, Node 20 and npm are enough. Work that was done is
# remembered by stamps in .make/ and repeated only when its inputs change. `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

CHAIN ?= anvil
IPFS ?=
KEEP ?=

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
FORGE := tools/forge.sh
LOG := tools/logged.sh
PIP_INSTALL := -m pip --disable-pip-version-check install --no-compile
PIP := $(BIN)/python $(PIP_INSTALL) -c constraints.txt
PACKAGES := commonweight trainer oracle inference
PYTHON_SOURCES := $(shell find $(PACKAGES) scripts tests -name '*.py' 2>/dev/null)
SOLIDITY_SOURCES := $(shell find contracts -name '*.sol' 2>/dev/null)

export SOLCX_BINARY_PATH := $(CURDIR)/tools/solc
export FOUNDRY_DISABLE_NIGHTLY_WARNING := 1
# Python keeps what it compiles: of all that is installed only a fifth is ever imported, but that by hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

# Two `make` at once in one checkout take turns over the stamps; without flock (macOS) they must be run one by one.
LOCK := $(shell command -v flock >/dev/null 2>&1 && echo flock -o .make/lock)
stamps = +@mkdir -p .make && $(LOCK) $(MAKE) -s $(1)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  %-14s %s\n' "$$name" "$$what"; done

# ---------------------------------------------------------------------------------------------- environments

.make/venv: tools/python.sh
	@mkdir -p .make
	@python=$$(tools/python.sh) || exit 1; \
	if [ -e .venv ] && ! $(BIN)/python -c '' 2>/dev/null; then clear=--clear; fi; \
	$(LOG) .make/venv.log "Making .venv with $$python" "$$python" -m venv $$clear .venv
	@touch $@

.make/python: .make/venv pyproject.toml constraints.txt
	@$(LOG) .make/python.log "Installing Python packages; a first time takes minutes" $(PIP) -e '.[all]'
	@$(BIN)/python -c 'import commonweight.cli.main, oracle.service, trainer.train, inference.serving'
	@touch $@

.make/dev: .make/python
	@$(LOG) .make/dev.log "Installing the test tools" $(PIP) -e '.[dev]'
	@touch $@

.make/node: package.json package-lock.json tools/node.sh
	@mkdir -p .make
	@tools/node.sh
	@$(LOG) .make/node.log "Installing Node packages" npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.make/ipfs: tools/ipfs-node/package.json tools/ipfs-node/package-lock.json tools/node.sh
	@mkdir -p .make
	@tools/node.sh
	@$(LOG) .make/ipfs.log "Installing the IPFS node for tests; a first time takes minutes" \
		npm ci --prefix tools/ipfs-node --ignore-scripts --no-audit --no-fund
	@touch $@

.make/chromium: tools/chromium.sh
	@mkdir -p .make
	@$(LOG) .make/chromium.log "Looking for Chromium, which the browser tests drive" tools/chromium.sh
	@touch $@

# $(1): framework, $(2): what to install
define framework_environment
	@mkdir -p .make
	@python=$$(tools/python.sh) && $(LOG) .make/$(1)-venv.log "Making .venv-$(1)" "$$python" -m venv --clear .venv-$(1)
	@$(LOG) .make/$(1).log "Installing $(2)" .venv-$(1)/bin/python $(PIP_INSTALL) -c tests/$(1)/constraints.txt $(2)
	@touch $@
endef

.make/brownie: tests/brownie/constraints.txt tools/python.sh
	$(call framework_environment,brownie,eth-brownie)

.make/ape: tests/ape/constraints.txt tools/python.sh
	$(call framework_environment,ape,eth-ape ape-solidity ape-foundry)

# Sees what .venv has, and adds to it.
.make/p2p: tests/p2p/constraints.txt .make/dev
	@$(LOG) .make/p2p-venv.log "Making .venv-p2p" $(BIN)/python -m venv --clear .venv-p2p
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-p2p/bin/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	@$(LOG) .make/p2p.log "Installing hivemind, for libp2p" .venv-p2p/bin/python $(PIP_INSTALL) \
		-c tests/p2p/constraints.txt hivemind
	@touch $@

.make/slither: tests/slither/constraints.txt tools/python.sh
	$(call framework_environment,slither,slither-analyzer)

.make/formal: tests/formal/constraints.txt tools/python.sh
	$(call framework_environment,formal,halmos)

.make/hivemind: scripts/benches/engines/hivemind-constraints.txt tools/python.sh
	@mkdir -p .make
	@python=$$(tools/python.sh) && $(LOG) .make/hivemind-venv.log "Making .venv-hivemind" "$$python" -m venv --clear .venv-hivemind
	@$(LOG) .make/hivemind.log "Installing hivemind, to measure beside" .venv-hivemind/bin/python $(PIP_INSTALL) \
		-c scripts/benches/engines/hivemind-constraints.txt hivemind
	@touch $@

.PHONY: runtime setup ipfs-node chromium
runtime: ## what the demo needs: Python packages, local chains
	$(call stamps,.make/python .make/node)

setup: ## everything for development, but for the IPFS node
	$(call stamps,.make/dev .make/node)

ipfs-node: ## the real IPFS node of the tests
	$(call stamps,.make/ipfs)

chromium: ## the browser of the tests, as root or by `sudo -n`
	$(call stamps,.make/chromium)

# ---------------------------------------------------------------------------------------------- running

.PHONY: demo
demo: runtime ## the whole story on this machine; CHAIN=anvil|ganache, IPFS=http://..., KEEP=1
	@exec env CHAIN='$(CHAIN)' IPFS='$(IPFS)' KEEP='$(KEEP)' $(BIN)/python scripts/demo.py

# ---------------------------------------------------------------------------------------------- checks

.make/lint: .make/dev pyproject.toml $(PYTHON_SOURCES)
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@touch $@

.PHONY: slither mutation formal lint test test-slow test-unit test-chain test-e2e test-forge test-python coverage brownie-test ape-test p2p-test
lint: ## ruff, mypy, import-linter
	$(call stamps,.make/lint)

# Whatever one core can do while another waits for a download or compiles is done at the same time.
test: ## lint, slither, forge and pytest, all but the slow tests; pytest's summary is the last line
	$(call stamps,-j4 .make/ipfs .make/slither forge-build try-chromium .make/lint)
	@$(MAKE) -j2 -O slither test-forge
	@$(MAKE) test-python

.PHONY: forge-build try-chromium
forge-build: .make/node
	@$(LOG) .make/forge.log "Compiling the contracts and their tests; a minute or two" $(FORGE) build

try-chromium:
	-@$(MAKE) .make/chromium

test-python: setup ipfs-node ## pytest in four processes: most of its time goes into waiting for blocks
	@$(PYTEST) -n 4 --dist loadfile --no-loadscope-reorder -m 'not slow'

test-slow: setup ipfs-node ## the long ones: forge with many runs, properties with new examples, pytest -m slow
	@FOUNDRY_PROFILE=slow $(FORGE) test --fuzz-seed $$(date +%s)
	@HYPOTHESIS_PROFILE=search $(PYTEST) -m 'hypothesis and not slow' --timeout 900
	@$(PYTEST) -m slow

test-unit: setup ## pytest -m unit
	@$(PYTEST) -m 'unit and not slow'

test-chain: setup ## pytest -m chain, against Anvil and Ganache
	@$(PYTEST) -m 'chain and not slow'

test-e2e: setup ipfs-node ## pytest -m e2e
	@$(PYTEST) -m 'e2e and not slow'

.PHONY: test-browser
test-browser: setup ## pytest -m browser, in a real Chromium
	-@$(MAKE) chromium
	@$(PYTEST) -m 'browser and not slow'

test-forge: setup ## unit, fuzz and invariant tests of the contracts
	@$(FORGE) test

coverage: setup ## line and branch coverage of contracts/; fails if one is missed that coverage-exceptions.md does not list
	@$(BIN)/python scripts/coverage.py

brownie-test: ## tests/brownie in an environment of Brownie's own
	$(call stamps,.make/brownie .make/node)
	@tools/brownie.sh

ape-test: ## tests/ape in an environment of Ape's own
	$(call stamps,.make/ape .make/node)
	@tools/ape.sh

p2p-test: setup ## the transport suite through libp2p, and members behind a relay; adds hivemind to the project's environment
	$(call stamps,.make/p2p)
	@.venv-p2p/bin/python -m pytest -W ignore::DeprecationWarning -W ignore::pytest.PytestUnraisableExceptionWarning \
		tests/p2p tests/net/test_transports.py

slither: ## static analysis of the contracts, in an environment of its own
	$(call stamps,.make/slither .make/dev .make/node)
	@$(BIN)/python scripts/slither.py

mutation: setup ## break the contracts in thousands of ways and see whether a test notices; hours, and it can be stopped
	@$(BIN)/python scripts/mutation.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

formal: ## prove the sum tree, the credits list and the wages for every input, in an environment of its own
	$(call stamps,.make/formal .make/dev .make/node)
	@$(BIN)/python scripts/formal.py

# ---------------------------------------------------------------------------------------------- generated files

.make/abi: .make/dev .make/node scripts/export_abi.py scripts/export_web.py commonweight/chain/explanations.py foundry.toml remappings.txt $(SOLIDITY_SOURCES)
	$(BIN)/python scripts/export_abi.py
	$(BIN)/python scripts/export_web.py
	@touch $@

.PHONY: abi standard-json cli-docs gas bench bench-allreduce
cli-docs: setup ## write docs/errors.md and the kept help texts
	@$(BIN)/python scripts/export_cli_docs.py

abi: ## write commonweight/abi/ and what the page needs of it from contracts/
	$(call stamps,.make/abi)

standard-json: setup ## write the compiler's inputs into build/standard-json/, for source verification on explorers
	@$(BIN)/python scripts/export_abi.py --standard-json build/standard-json

gas: setup ## measure gas and write snapshots/gas.json
	@$(BIN)/python scripts/gas_snapshot.py

bench: setup ## every benchmark in turn; each writes bench-results/NAME.json
	@for script in scripts/bench_*.py; do name=$${script#scripts/bench_}; $(MAKE) "bench-$${name%.py}" || exit 1; done

bench-allreduce: setup ## a round beside gloo and hivemind: healthy, a peer killed, a peer frozen
	$(call stamps,.make/hivemind)
	@$(BIN)/python scripts/bench_allreduce.py $(ARGS)

bench-%: setup scripts/bench_%.py ## one benchmark, with ARGS='...'
	@$(BIN)/python scripts/bench_$*.py $(ARGS)

# ---------------------------------------------------------------------------------------------- housekeeping

.PHONY: clean distclean
clean: ## remove what builds and tests left behind; keeps the environments
	rm -rf build dist out cache reports .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .make/lint .make/abi
	find $(PACKAGES) scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environments too
	rm -rf .make .mutation .venv .venv-brownie .venv-ape .venv-slither .venv-formal .venv-hivemind .venv-p2p node_modules tools/ipfs-node/node_modules
