# `make demo` and `make test` are the two commands to know; each installs what it needs first.
ARGS ?=
PYTEST_WORKERS ?= 4
SEEDS ?= $(if $(CI),few,full)

.PHONY: setup demo test simulate lint bench web lock
setup:
	@scripts/setup

demo: setup
	.venv/bin/manor demo $(ARGS)

test: setup
	.venv/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(ARGS)

simulate: setup
	MANOR_SIMULATE=$(SEEDS) .venv/bin/python -m pytest -n 2 -m simulate $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	@scripts/setup-bench
	.venv/bin/python -m benchmarks $(ARGS)

web:
	@echo "the web pages are not built yet: both agents answer with JSON only"; exit 1

lock: setup
	.venv/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements.lock
