# Each target creates .venv and installs what it needs; a second time there is nothing to set up.

# The first Python on the path that is new enough, or python3 for want of one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && exit; done; echo python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint docs audit clean

help:  ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 14

demo: .venv/installed  ## train a VAE on real digits, on this machine, in about three minutes
	@$(BIN)/visarch train vae --data digits

test: .venv/installed-dev  ## run the tests
	@$(BIN)/python -m pytest

soak: .venv/installed-dev  ## kill, starve and wear out trainings and feed them what they cannot use, for hours
	@cd tests && ../$(BIN)/python -m soak
	@for part in data arguments files network page; do $(BIN)/python tests/soak/input_$$part.py || exit 1; done

lint: .venv/installed-dev  ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/installed-docs  ## build the documentation into site/, links checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict
	@echo 'site/index.html'

audit: .venv/installed-dev  ## look up known flaws of what is installed (needs a network)
	@$(INSTALL) pip-audit
	@.ci/audit $(BIN)/pip-audit

clean:  ## remove .venv and caches; runs/ stays
	@rm -rf .venv site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg:
	@python="$(PYTHON)"; \
	version=$$("$$python" -c 'import platform; print(platform.python_version())') || exit 1; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "visarch needs Python 3.11 or newer, and $$python is $$version: name a newer one, as in 'make demo PYTHON=python3.12'." >&2; exit 1; }; \
	echo "Creating .venv with Python $$version"; \
	"$$python" -m venv .venv || { rm -rf .venv; \
		echo "$$python could not create .venv: on Debian and Ubuntu, 'apt install python3-venv' brings what it lacks." >&2; exit 1; }

# pyvenv.cfg comes before the bar: it must be there, and its age says nothing.
.venv/installed: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing visarch and what it needs (minutes the first time)"
	@$(INSTALL) -e '.[data]'
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing visarch, what it needs and what its tests need (minutes the first time)"
	@$(INSTALL) -e '.[data,web,dev,bench]'
	@$(INSTALL) --no-deps labml-nn pythae  # little of them is read; their needs are many
	@touch .venv/installed $@

.venv/installed-docs: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing what builds the documentation"
	@$(INSTALL) -e '.[docs]'
	@touch $@
