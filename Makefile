# Everything a developer does here. `make` alone lists it.

PYTHON ?= python3
# What the tests run against: SERVERS=system (the machine's PostgreSQL and Redis), or servers of yours.
export SERVERS TEST_DATABASE_URL TEST_REDIS_URL

BIN := .venv/bin
# One sentence each where there is no such Python at all, and where it is too old to read ours.
INSTALL = @command -v $(PYTHON) >/dev/null || \
	{ echo "error: $(PYTHON) is not there; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; found = sys.version_info[:2]; found < (3, 11) and sys.exit("error: this is Python %d.%d; \
	install 3.11 or newer, or name one: make PYTHON=/path/to/python3" % found)' && $(PYTHON) ops/install.py

.PHONY: help run dev test check fmt lint types imports audit bench load soak fuzz compose-check prod-check smoke host-check lock clean venv venv-dev
.DEFAULT_GOAL := help

help:  ## List these targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/' | expand -t 22

run: venv  ## Start the whole stack and show how to use it; Ctrl-C stops it
	@exec $(BIN)/gatehouse up

dev: venv  ## The same, and reload services when their source changes
	@exec $(BIN)/gatehouse dev

test: venv-dev  ## Run every test against real servers, with coverage (SERVERS=system, TEST_DATABASE_URL, TEST_REDIS_URL)
	@rm -f .coverage .coverage.*
	@exec $(BIN)/python -m pytest --cov --cov-config=pyproject.toml

check: lint types imports test  ## Format, lint, types, imports, tests: what CI runs

fmt: venv-dev  ## Format the source and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lint: venv-dev  ## Check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: venv-dev  ## Check types (mypy, strict)
	@$(BIN)/mypy

imports: venv-dev  ## Check who may import whom
	@$(BIN)/lint-imports

bench: venv  ## Measure the edge side by side with nginx + Lua, Caddy, Express and others (CASES=policy,core PEERS="edge,nginx")
	@exec $(BIN)/python -m ops.bench $(if $(CASES),--cases "$(CASES)") $(if $(PEERS),--peers "$(PEERS)")

soak: venv  ## What takes minutes to show: memory under mixed load, 2 GB past a reader that stalls, 100 reloads (ONLY="bulk reloads")
	@exec $(BIN)/python -m ops.soak $(ONLY)

load: venv  ## The gate before a launch: 1,000 requests/s for a minute, none failed, p95 within 300 ms
	@exec $(BIN)/python -m ops.load

fuzz: venv-dev  ## Send requests with a few bytes changed through an edge, BATCHES times 30 (100)
	@BATCHES=$(or $(BATCHES),100) exec $(BIN)/python -m pytest -q --timeout=3600 tests/edge/test_fuzz.py

audit: venv  ## Ask for known vulnerabilities of the installed packages (ADVISORY_URL)
	@exec $(BIN)/python -m ops.advisories

compose-check: venv  ## Run docker-compose.yml for real: up, a journey, down, up again, data still there
	@exec $(BIN)/python -m ops.docker.check

host-check: venv  ## Follow DEPLOYMENT.md on a fresh Debian machine, in a container (BASE=image, AUTHORITIES=bundle)
	@exec $(BIN)/python -m ops.host.check $(if $(BASE),--base $(BASE)) $(if $(AUTHORITIES),--authorities $(AUTHORITIES))

prod-check: venv  ## Run docker-compose.prod.yml for real: TLS, a journey, failures, a backup, data still there
	@exec $(BIN)/python -m ops.docker.production

smoke: venv  ## Use everything a running stack offers once: make smoke URL=https://api.example.com
	@exec $(BIN)/gatehouse smoke $(if $(URL),--url $(URL))

lock: venv-dev  ## Choose versions again and write requirements*.lock, for Python 3.11 to 3.13 on every platform
	@$(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install --quiet --disable-pip-version-check uv
	@for out in "requirements.lock --extra sentry" "requirements-dev.lock --extra dev"; do \
		.venv/lock/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--upgrade pyproject.toml --output-file $$out || exit 1; \
	done

clean:  ## Remove what can be made again; never var/, where the data is
	@rm -rf .venv build *.egg-info .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	@find . -path ./var -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	$(INSTALL) requirements.lock

venv-dev:
	$(INSTALL) requirements-dev.lock
