# Each target does its own set-up: `make demo` and `make test` work on a fresh clone with python3, pip, make and git.
BIN := .venv/bin

# uv trusts only its built-in roots unless this is set, and fails behind a company's own certificate authority.
export UV_SYSTEM_CERTS ?= true

PROTOS := $(wildcard protos/gateway/v1/*.proto)
PROTOC := $(BIN)/python -m grpc_tools.protoc --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc -Iprotos
protoc_out = --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) --mypy_grpc_out=$(1)

.PHONY: demo test stress-money stress-resilience stress-security stress-faults bench bench-scale check generate release-contract lock clean

demo: .venv/run.stamp
	@$(BIN)/session-gateway demo

# Four at once, on two cores too: much of it waits for processes to start, and for time limits to pass.
test: .venv/dev.stamp
	@$(BIN)/python -m pytest -q --numprocesses 4 --dist worksteal

# What happens to money, at full size: twenty minutes. To try a part: make stress-money ARGS="--only storm --scale 0.1"
stress-money: .venv/dev.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m tests.stress.money $(ARGS)

# What callers are answered whatever a provider does, at full size: thirty minutes, ten of them a soak. To try a part:
# make stress-resilience ARGS="--only matrix --scale 0.1"
stress-resilience: .venv/dev.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m tests.stress.resilience $(ARGS)

# Attacks from outside and by callers, at full size: eight minutes. To try a part:
# make stress-security ARGS="--only bodies --scale 0.1"
stress-security: .venv/dev.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m tests.stress.security $(ARGS)

# Faults of networks, disks, databases and logs, at full size. To try a part: make stress-faults ARGS="--only restore"
stress-faults: .venv/dev.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m tests.stress.faults $(ARGS)

# What the gateway costs compared with its libraries alone and with other servers: some ten minutes on two idle cores.
# To try a part: make bench ARGS="--only outbound --servers baseline,sqlite --rounds 3 --seconds 1"
bench: .venv/bench.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m bench $(ARGS)

# Whether a call costs the same with many providers and with ten million stored references: half an hour, and 8 GB of
# disk in that time. To try a part: make bench-scale ARGS="--only sqlite --references 100000 --rounds 3"
bench-scale: .venv/dev.stamp
	@GRPC_VERBOSITY=NONE $(BIN)/python -m bench.scale $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/released.binpb
	@rm -rf .venv/generated && mkdir .venv/generated
	$(PROTOC) $(call protoc_out,.venv/generated) $(PROTOS)
	@diff -r -x __init__.py -x __pycache__ .venv/generated/gateway/v1 gateway/v1 \
		|| { echo "gateway/v1 is not what protos/ generates: run 'make generate' and commit the difference"; exit 1; }

generate: .venv/dev.stamp
	$(PROTOC) $(call protoc_out,.) $(PROTOS)

# The contract that others build on, which `make check` holds every change against. Run it with a release, never to
# silence `buf breaking`.
release-contract: .venv/dev.stamp
	$(BIN)/buf build --exclude-source-info -o protos/released.binpb

# The environment: a virtual environment without pip, uv inside it from a hashed lock, and from then on uv.
# Wheels only, but for forbiddenfruit (which blockbuster needs): it is published as source alone, and built with the
# locked setuptools.
WHEELS := --only-binary :all: --no-binary forbiddenfruit --no-build-isolation

.venv/boot.stamp: requirements/boot.txt
	@python3 -m venv --without-pip --clear .venv
	@python3 -m pip --python .venv/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements/boot.txt
	@touch $@

.venv/run.stamp: .venv/boot.stamp requirements/run.txt pyproject.toml
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --only-binary :all: -r requirements/run.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes $(WHEELS) -r requirements/dev.txt
	@touch $@

.venv/bench.stamp: .venv/dev.stamp requirements/bench.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes $(WHEELS) -r requirements/bench.txt
	@touch $@

# Locks hold versions and hashes, never an address.
lock: .venv/boot.stamp
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade requirements/boot.in -o requirements/boot.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --python-version 3.11 pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --python-version 3.11 --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --python-version 3.11 --extra bench --extra dev -c requirements/dev.txt pyproject.toml -o requirements/bench.txt

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
