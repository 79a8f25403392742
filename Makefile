# `make` lists the targets. Everything is installed into .venv; nothing else on the machine is changed.
PYTHON ?= python3
TORCH ?= cpu
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints/$(TORCH).txt
# pip would compile on one core and include tests; some packages contain a file for a newer Python. The program is compiled,
# too, for machines where Python may not write beside it.
COMPILE := $(PY) -m compileall -qq -j 0 -x /tests/ $(VENV)/lib pipeline analysis || true
# Suppresses a notice of Material about its successor.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
EVERYTHING := -e '.[grpo,nanogpt,rl,llm,tune,analysis,view,watch,tensorboard,docs,dev]'
# Not in the call itself, where the comma would separate arguments.
LEARNING := -e '.[grpo,rl]'
FACTS := setup.cfg pyproject.toml $(wildcard constraints/*.txt)
# `site` keeps the torch of a module, conda or container; every other flavour has its own package index.
TORCH_PIN := $(shell sed -n 's/^torch==/torch==/p' constraints/$(TORCH).txt 2>/dev/null)
KNOWN_TORCH = test -f constraints/$(TORCH).txt || { echo "error: TORCH=$(TORCH) is unknown; use one of: $(basename $(notdir $(wildcard constraints/[!v]*.txt)))" >&2; exit 2; }

.DEFAULT_GOAL := help
.PHONY: help evolve evolve-pretrain rl compare report pictures notebook test soak check install prepare reference docs dev-cluster clean
# Runs of each method in `make compare`.
SEEDS ?= 5
# Run to resume: `make evolve RUN=NAME`. Without it a new run is started, and an unfinished one is named.
NAMED = $(if $(RUN),run=$(RUN))
# pip prints a long error if it cannot reach its index; show only the line with the reason.
install = $(PIP) $(1) 2>$(VENV)/pip.log || { echo "error: pip cannot install $(1): $$(grep -q Retrying $(VENV)/pip.log && echo 'the package index does not answer; PIP_INDEX_URL names another' || grep -m1 '^ERROR' $(VENV)/pip.log || tail -n1 $(VENV)/pip.log) (see $(VENV)/pip.log)" >&2; exit 1; }

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1: /p' $(MAKEFILE_LIST) | sort | awk -F': ' '{printf "make %-16s %s\n", $$1, $$2}'

evolve: $(VENV)/.grpo data/grpo/tiny/manifest.json  ## evolve a tiny post-training recipe in ten minutes; RUN=NAME resumes
	$(PY) -m pipeline.run +experiment=evolve_posttrain scale=tiny cluster=local $(NAMED)

evolve-pretrain: $(VENV)/.nanogpt data/nanogpt/tiny/manifest.json  ## evolve a tiny pre-training recipe in 15 minutes; RUN=NAME resumes
	$(PY) -m pipeline.run +experiment=evolve_pretrain scale=tiny cluster=local $(NAMED)

compare: $(VENV)/.all prepare  ## compare evolution, best-of-N, random and TPE tuning on both baselines, small, a night; SEEDS=5; resumes
	@for kind in posttrain pretrain; do \
		$(PY) -m pipeline.run +experiment=compare_$$kind scale=tiny cluster=local seeds=$(SEEDS) run=compare-$$kind \
			"arms=[evolve_$$kind,best_of_n_$$kind,tune_$$kind,tpe_$$kind]" || exit; \
	done

report: $(VENV)/.analysis  ## open the report of a recorded run, or of RUN=NAME
	$(PY) -m pipeline report $(or $(RUN),tests/analysis/recorded) --open

pictures: install  ## regenerate the pictures of the README (requires Chromium and tmux)
	$(PY) -m tests.analysis.pictures

rl: $(VENV)/.rl data/grpo/tiny/manifest.json data/policy/grpo_tiny/policy.json  ## train a tiny ideator by reinforcement learning in ten minutes; RUN=NAME resumes
	$(PY) -m pipeline.run +experiment=rl_posttrain scale=tiny cluster=local ideate.candidates=5 $(NAMED)

notebook: $(VENV)/.notebook  ## open the tables and plots of your runs in Jupyter
	$(VENV)/bin/jupyter lab analysis/first_look.ipynb

test: install  ## run all tests; DEV_CLUSTER=1 starts a Slurm for those that require one
	$(PY) -m pytest -n 3 --dist loadgroup

soak: install  ## kill a run on a local Slurm at 50 random moments (root, Debian or Ubuntu)
	DEV_CLUSTER=1 SOAK_KILLS=50 $(PY) -m pytest tests/test_on_slurm.py -k killed_again -s

check: install  ## format, lint, types and the documentation, as CI does
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(MKDOCS)

install: $(VENV)/.all  ## install everything for TORCH=cpu, cu126, cu128 or site

prepare: data/grpo/tiny/manifest.json data/nanogpt/tiny/manifest.json  ## prepare the data of the tiny scale

reference: install  ## regenerate docs/reference/ from the code
	$(PY) -m docs.generate

docs: install  ## build the documentation as a site: site/index.html
	$(MKDOCS)

dev-cluster: install  ## a complete Slurm on this machine for tests: ACTION=up, down or status (root, Debian or Ubuntu)
	$(PY) -m tests.slurm_cluster $(or $(ACTION),up)

clean:  ## remove the virtual environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info build site

data/grpo/tiny/manifest.json: $(VENV)/.grpo
	$(PY) -m pipeline prepare baseline=grpo scale=tiny

data/policy/grpo_tiny/policy.json: $(VENV)/.rl data/grpo/tiny/manifest.json
	$(PY) -m pipeline prepare +experiment=rl_posttrain scale=tiny

data/nanogpt/tiny/manifest.json: $(VENV)/.nanogpt
	$(PY) -m pipeline prepare baseline=nanogpt scale=tiny

$(VENV)/.grpo: $(VENV)/.torch-$(TORCH)
	@$(call install,-e '.[grpo]')
	@$(COMPILE)
	@touch $@

$(VENV)/.rl: $(VENV)/.grpo
	@$(call install,$(LEARNING))
	@$(COMPILE)
	@touch $@

$(VENV)/.nanogpt: $(VENV)/.torch-$(TORCH)
	@$(call install,-e '.[nanogpt]')
	@$(COMPILE)
	@touch $@

$(VENV)/.analysis: $(VENV)/.made
	@$(call install,-e '.[analysis]')
	@touch $@

$(VENV)/.notebook: $(VENV)/.made
	@$(call install,-e '.[analysis]' jupyterlab)
	@touch $@

$(VENV)/.all: $(VENV)/.torch-$(TORCH)
	@$(call install,$(EVERYTHING))
	@$(COMPILE)
	@touch $@ $(VENV)/.grpo $(VENV)/.nanogpt $(VENV)/.rl

$(VENV)/.torch-$(TORCH): $(VENV)/.made
	@$(KNOWN_TORCH)
	@# The default package on PyPI includes gigabytes of CUDA; the index of the flavour has the right build.
	@$(if $(TORCH_PIN),$(PIP) --no-deps --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/$(TORCH) $(TORCH_PIN) 2>/dev/null || $(call install,$(TORCH_PIN)))
	@touch $@

$(VENV)/.made: $(FACTS)
	@$(KNOWN_TORCH)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11; use make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(if $(filter site,$(TORCH)),--system-site-packages) $(VENV) || \
		{ rm -rf $(VENV); echo "error: no virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV) …"
	@touch $@
