# Everything here works in .venv, which is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
JOBS ?= 2
FOCUS_PYTHON ?= python3.12
PROMTOOL ?= promtool
BIN := .venv/bin
BUILT := build/$(if $(filter quick,$(COMPILED)),quick,compiled)
RUN := $(if $(COMPILED),PYTHONSAFEPATH=1 PYTHONPATH=$(BUILT) )$(BIN)/python
CODE := tallygate control_service metering_service books_audit tests scripts benchmarks
CONTRACT := tests/wire/released_contract.binpb
# Tests start hundreds of programs: where bytecode is not kept, each compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test wheel compiled release audit check check-alerts simulate simulate-mutations torture drill upgrade bench validate-focus test-litellm screenshots site format stubs release-contract clean

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "%-20s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/cli $(if $(CONSOLE),.venv/console)  ## both services, a simulated inference server, and what it cost, in one terminal; CONSOLE=1 with pages in the browser
	$(BIN)/tallygate demo $(if $(CONSOLE),--console)

test: .venv/dev  ## every test, or TESTS=..., two modules at a time, or JOBS=1. COMPILED=1, also below: of what `make compiled` builds; COMPILED=quick: not optimised
	$(RUN) -m pytest $(if $(filter-out 1,$(JOBS)),--numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder) $(TESTS)

compiled: build/compiled  ## a wheel for this machine, its decisions compiled, in build/dist; unpacked in build/compiled

wheel: .venv/dev  ## the pure wheel, for any platform, in build/dist
	$(BIN)/python -m build --wheel --outdir build/dist

release: .venv/release  ## sdist, both wheels, notes, bill of materials, in build/release; each wheel is installed and tried
	$(BIN)/python scripts/release.py

audit: .venv/release  ## known weaknesses of what an installation brings along; needs the network
	$(BIN)/python scripts/audit.py

check: .venv/dev  ## everything that can be said without running the code
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against $(CONTRACT)
	$(BIN)/python scripts/stubs.py --check

check-alerts:  ## the alert rules, by Prometheus's own promtool: PROMTOOL=/path/to/promtool, or of Debian's package prometheus
	@command -v $(PROMTOOL) > /dev/null || \
		{ echo "There is no $(PROMTOOL): install Debian's package prometheus, or say PROMTOOL=/path/to/promtool"; exit 1; }
	$(PROMTOOL) check rules deploy/monitoring/alerts.yaml
	$(PROMTOOL) test rules deploy/monitoring/alerts_test.yaml

simulate: .venv/dev  ## both services under simulated faults: SEEDS=200 FROM=1, or SEED=123 alone; STORM=1, PROOFS=1, LIMITS=1, KEYS=1
	$(RUN) -m tests.simulation $(if $(STORM),--storm) $(if $(PROOFS),--proofs) $(if $(LIMITS),--limits) $(if $(KEYS),--keys) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200) --from $(or $(FROM),1))

simulate-mutations: .venv/dev  ## the seed that finds each bug that is planted on purpose
	$(BIN)/python -m tests.simulation.mutants --seeds $(or $(SEEDS),200)

torture: .venv/dev  ## real processes killed, stopped, frozen, without disk: MINUTES=5 DATABASE=sqlite|postgresql SEED=1
	$(RUN) -m tests.torture --minutes $(or $(MINUTES),5) --database $(or $(DATABASE),sqlite) --seed $(or $(SEED),1)

upgrade: .venv/dev  ## a fleet upgraded under load from AGAINST=CHECKOUT of the version before, and back again: REQUESTS=2000
	$(BIN)/python -m tests.upgrade --against $(or $(AGAINST),$(error Say AGAINST=CHECKOUT, of the version before)) --requests $(or $(REQUESTS),2000)

drill: .venv/dev  ## a database taken away from a fleet under load, or links cut: DRILL=failover|pooler|patroni-switch|patroni-kill|partitions REQUESTS=20000
	$(RUN) -m tests.drills $(or $(DRILL),failover) --requests $(or $(REQUESTS),20000)

bench: .venv/dev  ## what it can do next to what the transport can: CASES="stream unary", ROUNDS=3, ONLY=PATTERN, AGAINST=CHECKOUT, QUICK=1
	$(RUN) -m benchmarks $(if $(CASES),--cases $(CASES)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only '$(ONLY)') $(if $(QUICK),--quick) \
		$(if $(AGAINST),--against $(AGAINST))

validate-focus: .venv/dev .venv/focus  ## what the official validator says of exported costs; FOCUS_PYTHON=python3.12
	$(BIN)/python scripts/validate_focus.py .venv/focus

.venv/focus: | .venv/dev
	$(FOCUS_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))'
	$(FOCUS_PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check 'focus-validator==2.2.1' 'pyarrow<26'

test-litellm: .venv/dev .venv/litellm  ## the callback in the real LiteLLM proxy, which has an environment of its own
	$(BIN)/python -m pytest tests/litellm

.venv/litellm: | .venv/dev
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7' --editable '.[asgi]'

screenshots: .venv/dev  ## the pictures of docs/console.md, of the demo in a real Chromium
	$(BIN)/python -m scripts.screenshots

site: .venv/dev .venv/docs  ## the documentation, the contract and the commands as a site in build/site; fails where a link leads nowhere
	$(BIN)/python -m scripts.website

format: .venv/dev  ## code and protos as `check` wants them
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/buf format --write protos

stubs: .venv/dev  ## tallygate/**/*_pb2* from protos/
	$(BIN)/python scripts/stubs.py

release-contract: .venv/dev  ## from here on, `check` refuses changes that break today's contract
	$(BIN)/buf build protos --exclude-source-info --output $(CONTRACT)

test simulate torture drill bench: $(if $(COMPILED),$(BUILT))

SOURCES := $(shell find tallygate control_service metering_service books_audit -name '*.py')

build/compiled: .venv/dev $(SOURCES)
	rm -rf build/compiled build/dist
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/python -m build --outdir build/dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/compiled build/dist/*.whl

build/quick: .venv/dev pyproject.toml scripts/quick_compile.py $(SOURCES)
	rm -rf $@
	$(BIN)/python -m scripts.quick_compile
	@PYTHONSAFEPATH=1 PYTHONPATH=build/unfinished $(BIN)/python -c 'import metering_service; assert metering_service.IS_COMPILED'
	@touch build/unfinished && mv build/unfinished $@

clean:  ## delete what make has built: .venv and build
	rm -rf .venv build

.venv/cli: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tallygate needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'
	@touch $@

.venv/console: .venv/cli
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[console]'
	@touch $@

.venv/docs: .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

.venv/release: .venv/cli
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	@touch $@

.venv/dev: .venv/cli
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@mkdir -p .venv/protos/google  # where buf.yaml looks, whatever Python's version
	@ln -sfn $$($(BIN)/python -c 'import google.api; print(google.api.__path__[0])') .venv/protos/google/api
	@touch $@
