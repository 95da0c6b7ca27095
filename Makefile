# make run | test | slow [NAME=jobs] | bench [NAME=knn] | wheel | docs
SHELL := /bin/bash
PY := .venv/bin/python
.PHONY: run test slow bench picture wheel docs setup
.DEFAULT_GOAL := run

setup:
	@conf/setup/set-up.sh

run: setup
	@$(PY) jobs/recommend.py --config conf/demo.yaml

test: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/lint-imports --no-cache --no-logo
	@$(PY) -m pytest -n 2 --no-loadscope-reorder

slow: setup
	@$(PY) -m pytest -m slow $(if $(NAME),tests/$(NAME))

bench: setup
	@case "$(NAME)" in '' | *knn*) conf/setup/bench-packages.sh ;; esac
	@$(PY) -m benchmarks $(NAME)

picture: setup
	@$(PY) jobs/recommend.py --config conf/demo.yaml --set report.path=build/report/picture.html
	@chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --user-data-dir=$$(mktemp -d) \
	  --hide-scrollbars --window-size=1200,1290 --screenshot=build/report/picture.png file://$(CURDIR)/build/report/picture.html
	@$(PY) -c "from PIL import Image; Image.open('build/report/picture.png').convert('RGB').quantize(256).save('docs/report.png', optimize=True)"

wheel: setup
	@$(PY) -m pip wheel -q --no-deps --no-build-isolation -w build/wheel . && ls build/wheel/*.whl

docs: setup
	@[ -x build/docs/bin/mkdocs ] || $(PY) -m venv build/docs
	@build/docs/bin/pip install -q -r conf/docs/requirements.txt
	@build/docs/bin/mkdocs build -q -f conf/docs/mkdocs.yml && echo build/site/index.html
