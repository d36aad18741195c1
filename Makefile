# Everything a fresh clone needs is made by the targets themselves; Python >= 3.11 is enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN = .venv/bin

.PHONY: help demo test setup run lint fuzz screenshots bench bench-quality bench-cost bench-scale bench-claims soak lock clean setup-dev

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## / - /' | sed 's/^/make /'

demo: setup ## set up, make a sample clip, run it through the queue, check the result
	@$(BIN)/python -m demo

setup: ## make .venv from the lock file
	@$(or $(PYTHON),$(error Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3)) tools/bootstrap.py relay

setup-dev: ## the same, with what tests and linters need
	@$(or $(PYTHON),$(error Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3)) tools/bootstrap.py dev

run: setup ## the dashboard on http://localhost:5000 and one worker, a sample waiting in Ready
	@$(BIN)/python -m demo run

test: setup-dev ## all tests, the longest first; those that kill things have the machine to themselves
	@OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/faults
	@$(BIN)/python -m pytest tests/faults

lint: setup-dev ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fuzz: setup-dev ## ten minutes of hostile exports, guided by coverage (ARGS="-max_total_time=60")
	@$(BIN)/python -m tests.fuzz $(ARGS)

screenshots: setup-dev ## pictures of all pages into screenshots/, the best into docs/images (ARGS="--only panel")
	@$(BIN)/python -m tools.screenshots $(ARGS)

bench: setup-dev ## codec, pipeline and DeAOT figures
	@$(BIN)/python -m bench

bench-quality: setup-dev ## how close masks come to a human's, on ../shared/clips (ARGS="--data DIR")
	@$(BIN)/python -m bench.quality $(ARGS)

bench-cost: setup-dev ## what many objects and large frames cost (ARGS="--engine builtin-fast")
	@$(BIN)/python -m bench.cost $(ARGS)

bench-scale: setup-dev ## how much faster one job gets with more workers (ARGS="--services", "--builtin")
	@$(BIN)/python -m bench.scale $(ARGS)

bench-claims: setup-dev ## what a claim costs with 100 and with 100,000 queued spans
	@$(BIN)/python -m bench.claims $(ARGS)

soak: setup-dev ## 200 jobs while everything is killed again and again (ARGS="--services")
	@$(BIN)/python -m bench.soak $(ARGS)

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml
lock: setup-dev ## renew the lock files from pyproject.toml
	$(LOCK) --upgrade --all-extras -o requirements/dev.lock
	$(LOCK) -c requirements/dev.lock --extra worker --extra cvat --extra eventlet --extra gevent -o requirements/relay.lock
	$(LOCK) -c requirements/dev.lock -o requirements/web.lock
	npm install --package-lock-only --omit-lockfile-registry-resolved

clean: ## remove what the targets made (jobs in data/ stay)
	rm -rf .venv node_modules static/vendor build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
