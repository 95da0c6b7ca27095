# make run | test | slow | bench [NAME=knn] | wheel
SHELL := /bin/bash
PY := .venv/bin/python
.PHONY: run test slow bench wheel setup
.DEFAULT_GOAL := run

setup:
	@conf/setup/set-up.sh

run: setup
	@$(PY) jobs/recommend.py --config conf/demo.yaml

test: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PY) -m pytest

slow: setup
	@$(PY) -m pytest -m slow

bench: setup
	@$(PY) -m benchmarks $(NAME)

wheel: setup
	@$(PY) -m pip wheel -q --no-deps --no-build-isolation -w build/wheel . && ls build/wheel/*.whl
