# Two commands need nothing but python3 >= 3.11, make and root or sudo: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE # a node starts in half the time when its bytecode is kept
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)

.PHONY: run test check real real-nodes real-parts bench fix setup packages packages-of-tests

run: setup packages ## the main job: a node, its registry, pods of every pull policy, and why each was or was not pulled
	$(SUDO) $(BIN)/pullet demo

test: packages-of-tests setup ## everything: check, then the tests on real parts
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory real

check: setup ## formatting, lint, types, import contracts, dependencies, pure tests: no root, no network
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/pytest -q tests -m "not root"

real: packages-of-tests setup ## the tests on real parts: registry, crun, kubectl, mounts
	$(MAKE) --no-print-directory real-nodes
	$(MAKE) --no-print-directory real-parts

# In the order of the files: tests that share a node follow its life.
REAL := $(SUDO) env PULLET_REQUIRE=cc,crun,runc,kubectl,docker-registry,skopeo,podman,umoci,bsdtar \
	$(BIN)/pytest -q --durations=10 -p no:randomly -m root
NODES := tests/golden tests/e2e

real-nodes: ## whole nodes under stock kubectl, much of it waiting for the kubelet's own timers
	$(REAL) $(NODES)

real-parts: ## everything else on real parts; what is compiled, also without it
	$(REAL) tests $(NODES:%=--ignore=%)
	PULLET_NATIVE=off $(REAL) tests/contracts/test_layer_forms.py tests/contracts/test_layer_oracles.py

bench: setup packages ## the benchmarks, beside their peers
	$(SUDO) $(BIN)/python -m bench

fix: setup ## repair what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/.ready
	@$(BIN)/python scripts/build_native.py

packages: ## Debian packages, only for commands that are missing
	@sh scripts/packages.sh

packages-of-tests:
	@sh scripts/packages.sh tests

$(VENV)/.ready: requirements.lock pyproject.toml
	@sh scripts/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@
