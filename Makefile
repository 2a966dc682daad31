# `make` alone lists what there is. Nothing but Python 3.11 to 3.13 and make has to be installed.

PYTHON ?= python3
VENV = .venv/bin/python
SETUP = $(PYTHON) local/bootstrap.py
SETUP_DEV = $(PYTHON) local/bootstrap.py --dev
WORKERS ?= 2
# Or pytest prepares every test file anew in every process, which takes it seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test t fuzz stateful check lint fix types imports docs openapi migration migrate test-system test-matrix mutants test-lnbits test-x402 test-machines chaos release-check reconcile owner-moves doubtful-payouts doubtful-runs books creators rotate-keys clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

setup: ## install everything into .venv, exactly as locked (again only when a lock changed)
	@$(SETUP_DEV)

run: ## run the whole product here; PORT=8000 HOST=… DATA_DIR=… or a .env file change what it uses
	@$(SETUP) && exec $(VENV) -m local.supervisor

# Left to test-system: what starts whole processes, and the fuzzer, whose plugin costs every process seconds.
SYSTEM_TESTS = tests/journeys tests/local tests/stateful tests/contract/test_schemathesis.py

test: ## run the tests, on servers of their own
	@$(SETUP_DEV) && $(VENV) -m pytest -q -n $(WORKERS) -p no:schemathesis $(addprefix --ignore=,$(SYSTEM_TESTS) tests/matrix)

test-system: ## run whole lives of jobs as processes that are killed and restarted, this bench, and the fuzzer
	@$(SETUP_DEV) && $(VENV) -m pytest -q -n $(WORKERS) $(SYSTEM_TESTS)

test-matrix: ## kill, cut and freeze a process at every point between a commit and the outside
	@$(SETUP_DEV) && $(VENV) -m pytest -q -n $(WORKERS) -p no:schemathesis tests/matrix

mutants: ## plant a defect at a time in a copy of the tree, and see each of them found
	@$(SETUP_DEV) && $(VENV) -m tests.mutants

t: ## run one test alone: make t T=tests/rules/test_money.py
	@$(SETUP_DEV) && $(VENV) -m pytest $(T)

fuzz: ## hold many more requests against the document; MAX_EXAMPLES=1000 and SEED=… per operation
	@$(SETUP_DEV) && MAX_EXAMPLES=$(MAX_EXAMPLES) SEED=$(SEED) WORKERS=$(WORKERS) $(VENV) -m tests.contract

stateful: ## make up many more lives of jobs in any weather; EXAMPLES=100 per opening, and SEED=…
	@$(SETUP_DEV) && EXAMPLES=$(EXAMPLES) SEED=$(SEED) WORKERS=$(WORKERS) $(VENV) -m tests.stateful

check: lint types imports test ## all that must be green before a change goes in

lint: ## check style and format
	@$(SETUP_DEV) && $(VENV) -m ruff check . && $(VENV) -m ruff format --check .

fix: ## repair style and format where that can be done
	@$(SETUP_DEV) && $(VENV) -m ruff check --fix . && $(VENV) -m ruff format .

types: ## check types, strictly
	@$(SETUP_DEV) && $(VENV) -m mypy

imports: ## prove that imports point down
	@$(SETUP_DEV) && .venv/bin/lint-imports

docs: ## regenerate what docs/ takes from the code
	@$(SETUP_DEV) && $(VENV) -m models.diagram > docs/job-lifecycle.md

openapi: ## write the OpenAPI document
	@$(SETUP_DEV) && $(VENV) -m app.openapi > docs/openapi.json

migration: ## write the next migration from the models: make migration m="add a table"
	@$(SETUP_DEV) && $(VENV) -m local.with_servers sh -c \
		'$(VENV) -m models.migrate && $(VENV) -m alembic revision --autogenerate --message "$$m"'

migrate: ## bring the database of DATABASE_URL up to date (`make run` does that by itself)
	@$(SETUP) && $(VENV) -m models.migrate

reconcile: ## compare books, wallets and rules from the beginning (environment of worker-money)
	@$(SETUP) && $(VENV) -m workers.reconcile

doubtful-payouts: ## list refunds whose end is not known; DO="failed 12 3" says what you found at the node
	@$(SETUP) && $(VENV) -m workers.doubtful_payouts $(DO)

doubtful-runs: ## list runs of which nobody knows whether they were paid; DO="settled 12 0x…" books one
	@$(SETUP) && $(VENV) -m workers.doubtful_runs $(DO)

owner-moves: ## list what waits to be booked as the owner's; DO='book m12 --note "rent"' books it
	@$(SETUP) && $(VENV) -m workers.owner_moves $(DO)

books: ## write the whole ledger as beancount text: make -s books > ledger.beancount
	@$(SETUP) && $(VENV) -m workers.books

creators: ## list who publishes instant resources; DO="register ada --pay eip155:8453=0x…" lets one in
	@$(SETUP) && $(VENV) -m workers.creators $(DO)

rotate-keys: ## seal creators' keys with the newest of VAULT_KEYS (DO=new prints another one)
	@$(SETUP) && $(VENV) -m workers.rotate_keys $(DO)

test-lnbits: ## run the money tests against a real LNbits, installed beside
	@$(SETUP_DEV) && tests/lnbits/run

test-x402: ## let the official x402 clients buy, and the known attacks try, on a chain of our own
	@tests/x402/run

chaos: ## set a fleet under fire: make chaos JOBS=1500 FAULTS=40 SEED=1 (logs and figures: RESULTS=…)
	@$(SETUP_DEV) && $(VENV) -m tests.chaos --jobs $(or $(JOBS),1500) --faults $(or $(FAULTS),40) \
		--seed $(or $(SEED),1) --results $(or $(RESULTS),.data/chaos)

release-check: ## hours of the same before a release, and all mutants; then commit docs/release-check.json (ONLY=… one run)
	@$(SETUP_DEV) && $(VENV) -m tests.chaos.release --results $(or $(RESULTS),.data/release-check) $(addprefix --only=,$(ONLY))

test-machines: ## prove it on other Pythons, as another user, on full disks (minutes; best as root)
	@tests/machines/run

clean: ## remove what tools left behind; never .data
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
