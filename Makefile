# make help shows what there is. The round's variables have defaults that work: the tiny world.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-vllm test test-fast test-vllm check format lint types demo demo-arc round ladder tiny-model bench torture clean clean-runs FORCE

PYTHON ?= python3
VENV   ?= .venv
SEAL   ?= $(VENV)/bin/seal

MODEL    ?= examples/tiny/model#          the model of round 1
TASKS    ?= examples/tiny/train.jsonl#    what it learns to write self-edits for
HELDOUT  ?= examples/tiny/heldout.jsonl#  what the ladder is measured on
RUN      ?= runs/tiny#                    everything a run makes
ROUND    ?= 1
SEED     ?= 0
CONTEXTS ?= 50#                           tasks of a round; rounds share none
K        ?= 5#                            self-edits per task
SEEDS    ?= 2#                            adapters per self-edit
HELD_K   ?= 3#                            self-edits per held-out task
ROUNDS   ?= 2#                            rounds on the ladder
ROWS     ?= none passage self#            rows of the ladder before the rounds (ARC: in-context none self)
LAST     ?=#                              rows behind them (ARC: oracle)
ORACLE   ?= oracle#                       the template of the row oracle

# Flags of the stages. The tiny model has a recipe of its own; any other model gets the commands' defaults, the paper's.
ifeq ($(MODEL),examples/tiny/model)
GENERATE ?= --max-tokens 170 --top-p 1
ADAPT    ?= --rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4
EVAL     ?= --judge exact
SFT      ?= --rank 16 --alpha 32 --learning-rate 2e-3 --epochs 4 --batch-size 8 --micro-batch 8
endif
FILTER   ?=

# RUN's name stands in rules and in shell lines.
hash := \#
semicolon := ;
open := (
close := )
odd := $(strip $(foreach each,: % = ' " ` \ $$ & | < > * ? [ ] { } ~ ! $(hash) $(semicolon) $(open) $(close),$(findstring $(each),$(RUN))))
ifneq ($(words $(RUN))/$(RUN)/$(odd),1/$(strip $(RUN))/)
$(error RUN="$(RUN)": give a folder's name, without blanks and without what make or the shell read otherwise$(if $(odd),: $(odd)))
endif

# ---- set-up and tests

INSTALLED := $(VENV)/.installed
comma     := ,
GPU       := $(shell nvidia-smi -L 2>/dev/null | grep -m1 GPU)
EXTRAS    := plot,dev$(if $(GPU),$(comma)vllm)
# Where vLLM is: on a GPU machine with all the rest; else on top of it, so that nothing else comes to need it.
VLLM      := $(if $(GPU),$(VENV),.venv-vllm)

help: ## Show the targets and the round's variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "Variables of a round (make round ROUND=2 RUN=runs/mine …):"
	@printf '  %-9s %s\n' $(foreach name,MODEL TASKS HELDOUT RUN ROUND SEED CONTEXTS K SEEDS HELD_K ROUNDS \
	  ROWS LAST ORACLE GENERATE ADAPT EVAL FILTER SFT,$(name) '$($(name))')

setup: $(INSTALLED) ## Make a virtual environment with pinned dependencies (with vLLM on a GPU machine)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "installing into $(VENV) (once; two minutes)" >&2
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

test: $(INSTALLED) ## Run the tests
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest --numprocesses 2 --dist worksteal

FAST := $(addprefix tests/,stages records sources domains scoring judges checks)

test-fast: $(INSTALLED) ## Run the tests that need neither a model nor a process: 30 seconds
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest --numprocesses 2 --dist worksteal -m fast --hypothesis-profile fast $(FAST)

setup-vllm: $(VLLM)/.installed ## Install vLLM, for a CPU where there is no GPU (1.3 GB)

test-vllm: $(VLLM)/.installed ## Run the tests of vLLM, on a CPU where there is no GPU (installs it: 1.3 GB)
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -m vllm tests/vllm

ifneq ($(VLLM),$(VENV))
$(VLLM)/.installed: tests/vllm/requirements.txt | $(INSTALLED)
	@echo "installing vLLM for a CPU into $(VLLM), on top of $(VENV) (once; one minute)" >&2
	rm -rf $(VLLM)
	$(VENV)/bin/python -m venv --without-pip $(VLLM)
	packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  base=$$($(VENV)/bin/python -c "$$packages"); own=$$($(VLLM)/bin/python -c "$$packages"); \
	  echo "import site; site.addsitedir('$$base')" > "$$own/base.pth"
	$(VENV)/bin/pip --python $(VLLM)/bin/python install --quiet --disable-pip-version-check --no-compile --no-deps -r $<
	touch $@
endif

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
	rm -rf $(VENV) .venv-vllm .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

# ---- the main job

demo: $(INSTALLED) ## Two ReST-EM rounds on the tiny world, with a table and a plot
	@examples/tiny/demo.sh

demo-arc: $(INSTALLED) ## One round of few-shot learning on tiny ARC puzzles, with a table and pictures
	@examples/tiny/arc/demo.sh

tiny-model: $(INSTALLED) ## Train the tiny model from scratch into runs/tiny-model
	$(VENV)/bin/python -m examples.tiny.build --out runs/tiny-model

round: $(RUN)/round-$(ROUND)/model.jsonl ## Build RUN/round-ROUND/{edits,adapters,scores,sft}.jsonl and its model

# ---- the files of a run

# Any file may be made by hand or by another program, and is then kept. Of the stages' own, the manifest says by which
# command, and since when: where the command is another one now, or what the file was made from has changed meanwhile,
# it is made again, and what is made from it. Nothing else remembers settings. A stage itself keeps what it can.
made_py = $(firstword $(wildcard $(VENV)/bin/python) $(PYTHON)) -I -S seal_cli/made.py
asked = $(or $(filter yes no,$(shell $(made_py) $1)),$(error $(made_py): failed))
again = $(if $(wildcard $@.manifest.json),$(if $(filter yes,$(call asked,again $(RUN) $@ "$(needs)" $(stage))),FORCE))
FORCE:

recipe = $(if $(filter yes,$(call asked,by-hand $@)),@touch -c $@,$(SEAL) $(stage) --overwrite -o $@ || $(made_py) ended $$? $@)

# File $1, made from the files $2 by the stage's arguments $3.
define made
.PRECIOUS: $1
$1: private needs = $2
$1: private stage = $3
$1: $2 $$$$(again) | $(INSTALLED)
	$$(recipe)

endef
.SECONDEXPANSION:

# The files of round $1: $2 is the model it starts from, $3 the line that says that this model is there.
in = $(RUN)/round-$1
define rules
$(call made,$(in)/tasks.jsonl,,tasks $$(TASKS) --sample $$(CONTEXTS) --skip $$$$(($$(CONTEXTS) * ($1 - 1))) --seed $$(SEED))
$(call made,$(in)/edits.jsonl,$(in)/tasks.jsonl $3,generate $(in)/tasks.jsonl --model $2 -k $$(K) --seed $$(SEED) $$(GENERATE))
$(call made,$(in)/adapters.jsonl,$(in)/edits.jsonl,adapt $(in)/edits.jsonl --model $2 --out $(in)/adapters --seeds $$(SEEDS) --seed $$(SEED) $$(ADAPT))
$(call made,$(in)/scores.jsonl,$(in)/adapters.jsonl,eval $(in)/adapters.jsonl --model $2 $$(EVAL))
$(call made,$(in)/sft.jsonl,$(in)/scores.jsonl,filter $(in)/scores.jsonl --seed $$(SEED) $$(FILTER))
$(call made,$(in)/model.jsonl,$(in)/sft.jsonl,sft $(in)/sft.jsonl --model $2 --out $(in)/model --seed $$(SEED) $$(SFT))
endef

before = $(RUN)/round-$1/model
numbers := $(shell echo 1 $(ROUND) $(ROUNDS) '$(MAKECMDGOALS)' | grep -oE '(^| |round-)[0-9]+' | grep -oE '[0-9]+' | sort -n | tail -1 | xargs seq)
$(eval $(call rules,1,$$(MODEL),))
$(foreach pair,$(join $(numbers:%=%:),$(wordlist 2,$(words $(numbers)),$(numbers))),$(if $(filter-out %:,$(pair)),$(eval $(call \
  rules,$(lastword $(subst :, ,$(pair))),$(call before,$(firstword $(subst :, ,$(pair)))),$(call before,$(firstword $(subst :, ,$(pair)))).jsonl))))

# ---- the ladder: how well each model's self-edits teach it held-out passages

RUNGS := $(ROWS) $(shell seq -f 'round-%g' $(ROUNDS)) $(LAST)
held  := $(RUN)/heldout
HELD  := $(RUNGS:%=$(held)/%.jsonl)

ladder: $(HELD) ## Measure every round on held-out tasks: a table, and RUN/ladder.png
	$(SEAL) report $(foreach n,$(RUNGS),"$(subst -, ,$n)"=$(held)/$n.jsonl) --against self --plot $(RUN)/ladder.png --seed $(SEED) || [ $$? -eq 3 ]

# The files of row $1: the model $2, which the files $3 say is there, is tested after its training on what $4 generates.
define row
$(call made,$(held)/$1/edits.jsonl,$(held)/tasks.jsonl $3,generate $(held)/tasks.jsonl $4)
$(call made,$(held)/$1/adapters.jsonl,$(held)/$1/edits.jsonl,adapt $(held)/$1/edits.jsonl --model $2 --out $(held)/adapters --seed $$(SEED) $$(ADAPT))
$(call made,$(held)/$1.jsonl,$(held)/$1/adapters.jsonl,eval $(held)/$1/adapters.jsonl --model $2 $$(EVAL))
endef
writes = --model $1 -k $$(HELD_K) --seed $$(SEED) $$(GENERATE)

$(eval $(call made,$(held)/tasks.jsonl,$$(HELDOUT),tasks $$(HELDOUT)))
$(eval $(call made,$(held)/none.jsonl,$(held)/tasks.jsonl,eval $(held)/tasks.jsonl --model $$(MODEL) $$(EVAL)))
$(eval $(call made,$(held)/in-context.jsonl,$(held)/tasks.jsonl,eval $(held)/tasks.jsonl --model $$(MODEL) --in-context $$(EVAL)))
$(eval $(call row,passage,$$(MODEL),,--template none))
$(eval $(call row,oracle,$$(MODEL),,--template $$(ORACLE)))
$(eval $(call row,self,$$(MODEL),,$(call writes,$$(MODEL))))
$(foreach n,$(numbers),$(eval $(call row,round-$n,$(call before,$n),$(call before,$n).jsonl,$(call writes,$(call before,$n)))))
