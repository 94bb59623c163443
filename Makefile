# make help shows what there is. A round's variables (make round ROUND=2 RUN=runs/mine …) go to examples/round.sh.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-vllm test test-fast test-vllm test-ray test-llamacpp test-quantize check format lint types demo demo-arc demo-real docs capacity round plan ladder heldout tiny-model bench torture clean clean-runs

PYTHON ?= python3
VENV   ?= .venv
SEAL   ?= $(VENV)/bin/seal

# ---- set-up and tests

INSTALLED := $(VENV)/.installed
PIP       := $(VENV)/bin/pip
comma     := ,
GPU       := $(shell nvidia-smi -L 2>/dev/null | grep -m1 GPU)
EXTRAS    := docs,plot,gguf,dev$(if $(GPU),$(comma)vllm)
# Where vLLM is: on a GPU machine with all the rest; else on top of it, so that nothing else comes to need it.
VLLM      := $(if $(GPU),$(VENV),.venv-vllm)

help: ## Show the targets and the round's variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "Variables of a round (make round ROUND=2 RUN=runs/mine …), whose defaults are in examples/round.sh:"
	@echo "  MODEL TASKS HELDOUT RUN ROUND SEED CONTEXTS K SEEDS HELD_K HELD_IN ROUNDS ROWS LAST ORACLE"
	@echo "  TEMPLATE EDITS NAME SERVER FROM STEPS RAY PLAN"
	@echo "  GENERATE ADAPT EVAL RATE FILTER SFT (flags of these stages)"
	@echo; echo "Variables of make docs, whose defaults are in examples/documents/run.sh:"
	@echo "  DOCS MODEL RUN EXAM SEED CHUNK K BUDGET TEMPLATE KEEP RANK REPLAY ANCHORS PROBES GATE ROWS RAG RAY PLAN"
	@echo "  QUIZ GENERATE TRIAL FILTER ADAPT EVAL CARD (flags of these stages); of make capacity also RANKS SEEDS"
	@echo; echo "Variables of make demo-real, whose defaults are in examples/gemma/run.sh:"
	@echo "  MODEL RUN SEAL_DATA HELDOUT TASKS GPT HELD TRAIN K HELD_K SEEDS SEED FULL ROWS BEST CLOZE ASKED TUNE RATES EPOCHS RANKS TUNED PLAN"
	@echo "  GENERATE ADAPT EVAL RAG FILTER SFT TEACH (flags of these stages)"

setup: $(INSTALLED) ## Make a virtual environment with pinned dependencies (with vLLM on a GPU machine)

$(INSTALLED): pyproject.toml constraints.txt | $(PIP)
	@echo "installing into $(VENV) (once; two minutes)" >&2
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

$(PIP):
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

test: $(INSTALLED) ## Run the tests
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest --numprocesses 2 --dist worksteal

FAST := $(addprefix tests/,stages records sources domains scoring judges checks)

test-fast: $(INSTALLED) ## Run the tests that need neither a model nor a process: 30 seconds
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest --numprocesses 2 --dist worksteal -m fast --hypothesis-profile fast $(FAST)

setup-vllm: $(INSTALLED) $(VLLM)/.installed ## Install vLLM, for a CPU where there is no GPU (1.3 GB)

test-vllm: $(INSTALLED) $(VLLM)/.installed ## Run the tests of vLLM, on a CPU where there is no GPU (installs it: 1.3 GB)
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -m vllm tests/vllm

test-ray: $(INSTALLED) .venv-ray/.installed ## Run the tests of Ray on a small cluster here (installs it: 80 MB)
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest -m ray tests/ray

test-llamacpp: $(INSTALLED) .venv-llamacpp/.installed ## Run the tests of llama.cpp's server on a CPU (installs it: 34 MB)
	OMP_NUM_THREADS=1 .venv-llamacpp/bin/python -m pytest -m llamacpp tests/llamacpp

test-quantize: $(INSTALLED) .venv-quantize/.installed ## Run the tests of quantized weights on a CPU (installs bitsandbytes: 60 MB)
	OMP_NUM_THREADS=1 .venv-quantize/bin/python -m pytest -m quantize tests/quantize

# It needs nothing of $(VENV) before its tests run: --jobs=2 installs both at a time.
.venv-%/.installed: tests/%/requirements.txt | $(PIP)
	@echo "installing $* for tests into .venv-$*, on top of $(VENV) (once; one minute)" >&2
	rm -rf .venv-$*
	$(VENV)/bin/python -m venv --without-pip .venv-$*
	packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  base=$$($(VENV)/bin/python -c "$$packages"); own=$$(.venv-$*/bin/python -c "$$packages"); \
	  $(PIP) --python .venv-$*/bin/python install --quiet --disable-pip-version-check --no-compile --no-deps -r $<; \
	  echo "import site; site.addsitedir('$$base')" > "$$own/base.pth"
	touch $@

check: lint types test ## Format, lint, types and tests

lint: $(INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(INSTALLED)
	$(VENV)/bin/mypy

format: $(INSTALLED) ## Put the code into the house's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(INSTALLED) ## Run the benchmarks, one JSON line each
	@for file in tests/bench/bench_*.py; do $(VENV)/bin/python $$file; done

torture: $(INSTALLED) ## Make every file operation of the stages fail, one by one (SHORT=1: a few of them)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.fault_injection $(if $(SHORT),--short)

clean-runs: ## Remove all runs
	rm -rf runs

clean: ## Remove the virtual environments and caches, not the runs
	rm -rf $(VENV) .venv-vllm .venv-ray .venv-llamacpp .venv-quantize .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

# ---- the main job

demo: $(INSTALLED) ## Two ReST-EM rounds on the tiny world, with a table and a plot
	@examples/tiny/demo.sh

demo-arc: $(INSTALLED) ## One round of few-shot learning on tiny ARC puzzles, with a table and pictures
	@examples/tiny/arc/demo.sh

demo-real: $(INSTALLED) ## The paper's table with a real model and SQuAD: rows, intervals, tests, costs (MODEL=… RUN=…)
	@SEAL="$(SEAL)" PYTHON="$(VENV)/bin/python" examples/gemma/run.sh

docs: $(INSTALLED) ## Put a folder of documents into an adapter, with the proof: make docs DOCS=folder MODEL=… RUN=…
	@SEAL="$(SEAL)" examples/documents/run.sh

capacity: $(INSTALLED) ## Draw facts kept against rank for the self-edits of make docs: RUN/capacity.png
	@SEAL="$(SEAL)" examples/documents/capacity.sh

tiny-model: $(INSTALLED) ## Train the tiny model from scratch into runs/tiny-model
	$(VENV)/bin/python -m examples.tiny.build --out runs/tiny-model

# Each part is left alone when it is finished, so a target is its parts; --jobs=2 makes two at a time.
part  = @SEAL="$(SEAL)" examples/round.sh
ROWED := $(if $(filter ladder,$(MAKECMDGOALS)),$(shell ROWS="$(ROWS)" ROUNDS="$(ROUNDS)" LAST="$(LAST)" examples/round.sh rows))
BUILT := $(patsubst round-%,build-%,$(filter round-%,$(ROWED)))

round: $(INSTALLED) ## Build RUN/round-ROUND/{edits,adapters,scores,sft}.jsonl and its model
	$(part)

plan: $(INSTALLED) ## Say what the rounds up to ROUND would cost on this machine: a table, and RUN/plan/plan.jsonl
	@PLAN=1 SEAL="$(SEAL)" examples/round.sh

ladder: $(BUILT) $(ROWED:%=measure-%) ## Measure every round on held-out tasks: a table, and RUN/ladder.png
	$(part) report

heldout: $(INSTALLED)
	$(part) heldout

build-%: $(INSTALLED)
	$(part) round $*

measure-%: heldout
	$(part) row $*

# A round starts from the model of the one before; its row measures its own.
$(foreach name,$(BUILT),$(eval $(name:build-%=measure-round-%): $(name)))
$(foreach name,$(filter-out build-1,$(BUILT)),$(eval $(name): build-$(shell echo $$(($(name:build-%=%) - 1)))))
