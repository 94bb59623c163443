#!/usr/bin/env bash
# Table 2 of the paper with a real language model on a laptop: a small pretrained one, passages of SQuAD, adapters that
# are trained on self-edits, and the questions asked without the passages in sight. Each file of RUN is made by one command.
#   MODEL=DIR RUN=runs/mine examples/gemma/run.sh      all of it; `make demo-real` is the same
#   examples/gemma/run.sh passages, rows, row NAME, round, report, costs, show      parts of it, in this order
#   examples/gemma/run.sh tune      rates, epochs and ranks, tried on passages that are in no row: TUNE RATES EPOCHS RANKS
#                (whatever ADAPT says of them) and TUNED, what is learned: passage, qwen, cloze. Alpha is twice the rank
#   MODEL=       a model directory, or a GGUF file, which is imported first; without one: what get.sh has made
#   SEAL_DATA=   the folder with the paper's base_val.json and iter0_train.json (its code: data/synthetic_data, in eval and
#                in train); without them the passages are those of rajpurkar/squad, and the row of Qwen2.5-7B is left out
#   HELDOUT= TASKS= GPT=     other files of passages to measure on and to learn writing from; the paper's gpt4_1_val.json
#   HELD= TRAIN= K= HELD_K= SEEDS= SEED=     held-out passages; those of the round, and self-edits of each; self-edits of a
#                held-out passage, adapters of a self-edit; the seed. FULL=1: 48 passages, a round of 24 × 4, two seeds
#   ROWS= BEST=  which rows; the template of the row self-best (seal generate --template)
#   CLOZE= ASKED=    questions that the row cloze makes of a passage, at most (24); that the model of the rows taught,
#                taught-again and taught-passage learns to write (12). These rows are made where ROWS names them, and want
#                many training passages. Questions are learned for five epochs, whatever ADAPT says
#   GENERATE ADAPT EVAL RAG FILTER SFT TEACH      flags of these stages; of `seal sft` for the row taught
#   PLAN=1 …     nothing is made: what it would cost, in a table (docs/planning.md)
# Run it again at any time: what is finished is left alone, what was interrupted goes on, and what was made with other
# flags or from other input is made anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
seal=${SEAL:-.venv/bin/seal} run=${RUN:-runs/gemma/table} model=${MODEL:-runs/gemma/model} seed=${SEED:-0}
python=${PYTHON:-.venv/bin/python}
if [ -n "${FULL:-}" ]; then : "${HELD=48}" "${TRAIN=24}" "${K=4}" "${SEEDS=2}"; fi
: "${GENERATE=--max-tokens 192}" "${EVAL=--max-tokens 32 --stop \\n}" # a base model ends no answer, and goes on to ask
asked=${ASKED:-12} questions=(--template examples/gemma/questions.txt)
pairs=(--no-split-newlines --epochs 5) # how questions are learned: in fewer epochs than texts
writes_questions=(${GENERATE:-} --max-tokens $((80 * asked)) --no-chat "${questions[@]}")
k=${K:-2} held_k=${HELD_K:-1} seeds=${SEEDS:-1} tune=${TUNE:-6}
data=${SEAL_DATA:-../shared/data/seal_paper}
heldout=${HELDOUT:-$data/base_val.json} tasks=${TASKS:-$data/iter0_train.json}
hub_heldout=() hub_tasks=()
if [ ! -e "$heldout" ]; then heldout=rajpurkar/squad hub_heldout=(--split validation --sample 200); fi
if [ ! -e "$tasks" ]; then tasks=rajpurkar/squad hub_tasks=(--sample 100); fi
all_rows="none passage self ${BEST:+self-best} cloze qwen ${GPT:+gpt-4.1} mix rag in-context round-1 passage-equal"
home=$run
source examples/ensure.sh

tell() { echo "${0##*/}: $*" >&2; }

find_model() {
  if [ ! -e "$model" ]; then
    tell "$model: no model; make it: ACCEPT_GEMMA_TERMS=1 examples/gemma/get.sh, or name another one: MODEL=DIR"; exit 2
  fi
  case $model in *.gguf) # of each file a directory of its own, which a plan makes for the run, too
    local sum imported; sum=$(sum_file "$model"); imported=$home/model-${sum:0:12}
    [ -e "$imported/config.json" ] || "$seal" import "$model" --out "$imported"
    model=$imported ;;
  esac
}

drop_edits() { sed -E 's/, "edit": \{.*/}/' "$1" | uniq; } # FILE: its tasks, each once

passages() { # to measure on, to search in (rag), to learn writing from, to tune with: no passage is in two of the first
  ensure "$run/validation.jsonl" tasks "$heldout" "${hub_heldout[@]}" --seed "$seed"
  ensure "$run/training.jsonl" tasks "$tasks" "${hub_tasks[@]}" --seed "$seed"
  put "$run/passages.jsonl" drop_edits "$run/validation.jsonl"
  put "$run/others.jsonl" drop_edits "$run/training.jsonl"
  ensure "$run/held.jsonl" tasks "$run/passages.jsonl" --sample "${HELD:-4}" --seed "$seed"
  ensure "$run/train.jsonl" tasks "$run/others.jsonl" --sample "${TRAIN:-2}" --skip "$tune" --seed "$seed"
}

texts() { # FILE OF…: the first self-edits that somebody else has written of the tasks of a file
  mkdir -p "${1%/*}"
  sed -E 's/^\{"v": 1, "task": \{"id": "([^"]+)".*/\1/' "$2" > "$1.ids"
  put "$1" list_first "${@:3}" --ids "$1.ids"
}

list_first() { "$seal" tasks "$@" --quiet | grep -E "\"sample\": ($(seq -s'|' 0 $((held_k - 1)))),"; } # FLAGS OF seal tasks

tokens() { # FILE: tokens of a task's self-edits, of an adapter's epoch, of all its epochs, on average
  "$python" -m examples.gemma.tokens "$1"
}

adapt_and_eval() { # FOLDER FILE MODEL JUDGE FLAGS…: adapters of a folder's self-edits with these flags, and their answers
  ensure "$1/adapters.jsonl" adapt "$1/edits.jsonl" --model "$3" --out "$run/adapters" --seeds "$seeds" --seed "$seed" ${ADAPT:-} "${@:5}"
  ensure "$2" eval "$1/adapters.jsonl" --model "$3" ${EVAL:-} ${4:+--judge $4}
}

model_of() { if [ -n "${PLAN:-}" ]; then echo "$model"; else echo "$run/$1/model"; fi; } # NAME: what learn makes; in a plan nothing is

finished=" "
row() { # NAME: how well the questions of the held-out passages are answered
  case $finished in *" $1 "*) return ;; *) finished+="$1 " ;; esac
  find_model
  local in=$run/rows/$1 from=$model written trained epoch _ flags=()
  local asks=(eval "$run/held.jsonl" --model "$model") writes=(generate "$run/held.jsonl" --seed "$seed")
  local own=(-k "$held_k" ${GENERATE:-})
  case $1 in
    none) ensure "$in.jsonl" "${asks[@]}" ${EVAL:-}; return ;;
    in-context) ensure "$in.jsonl" "${asks[@]}" --in-context ${EVAL:-}; return ;;
    rag) ensure "$in.jsonl" "${asks[@]}" --retrieve "$run/passages.jsonl" ${RAG:-} ${EVAL:-}; return ;;
    passage) ensure "$in/edits.jsonl" "${writes[@]}" --model "$model" --template none ;;
    passage-equal) # as many tokens as an adapter of round-1 is trained on
      row passage; row round-1; in=$run/rows/$1
      read -r _ epoch _ < <(tokens "$run/rows/passage/adapters.jsonl")
      read -r _ _ trained < <(tokens "$run/rows/round-1/adapters.jsonl")
      ensure "$in/edits.jsonl" "${writes[@]}" --model "$model" --template none
      flags=(--epochs $(((trained + epoch / 2) / epoch))) ;;
    self) ensure "$in/edits.jsonl" "${writes[@]}" --model "$model" "${own[@]}" ;;
    self-best) ensure "$in/edits.jsonl" "${writes[@]}" --model "$model" "${own[@]}" --template "$BEST" ;;
    mix) # ways of writing by turns, until they have as many tokens as the self-edits of the row self; one adapter of all
      row self; in=$run/rows/$1
      read -r written _ < <(tokens "$run/rows/self/edits.jsonl")
      ensure "$in/edits.jsonl" "${writes[@]}" --model "$model" ${GENERATE:-} --template mix:examples/templates/mix.txt --budget-tokens "$written"
      flags=(--pool-by task.id --pool-passages once) ;;
    cloze) # by rule, and written by no model
      mkdir -p "$in"
      put "$in/edits.jsonl" "$python" -m examples.gemma.cloze "$run/held.jsonl" --most "${CLOZE:-24}"
      flags=("${pairs[@]}") ;;
    taught|taught-again) # its own questions, once it has learned to ask: from the rule's, and again from the best of its own
      "${1/-/_}"; in=$run/rows/$1 from=$(model_of "$1") flags=("${pairs[@]}")
      ensure "$in/edits.jsonl" "${writes[@]}" --model "$from" -k "$held_k" "${writes_questions[@]}" ;;
    taught-passage) # the control: what that model learns from the passage alone
      taught; in=$run/rows/$1 from=$(model_of taught)
      ensure "$in/edits.jsonl" "${writes[@]}" --model "$from" --template none ;;
    qwen)
      if ! grep -qF '"edit": {' "$run/validation.jsonl"; then
        tell "qwen: left out, as the passages have no self-edits of Qwen2.5-7B beside them: SEAL_DATA=FOLDER names the paper's files"; return
      fi
      texts "$in/edits.jsonl" "$run/held.jsonl" "$run/validation.jsonl" ;;
    gpt-4.1)
      if [ ! -e "${GPT:-}" ]; then tell "gpt-4.1: left out; GPT=FILE names the paper's gpt4_1_val.json"; return; fi
      texts "$in/edits.jsonl" "$run/held.jsonl" "$GPT" --editor gpt-4.1 ;;
    round-1)
      round; in=$run/rows/$1 from=$(model_of "$1")
      ensure "$in/edits.jsonl" "${writes[@]}" --model "$from" "${own[@]}" ${BEST:+--template "$BEST"} ;;
    *) tell "$1: no such row; there are $all_rows, and taught, taught-again and taught-passage"; exit 2 ;;
  esac
  adapt_and_eval "$in" "$in.jsonl" "$from" "" "${flags[@]}"
}

round() { # what the model becomes by the best of its own self-edits of the training passages (ReST-EM)
  find_model
  ensure "$run/round-1/edits.jsonl" generate "$run/train.jsonl" --model "$model" -k "$k" --seed "$seed" ${GENERATE:-} ${BEST:+--template $BEST}
  learn round-1 "$model" ""
}

learn() { # NAME MODEL JUDGE FLAGS…: the model that has learned the best of NAME's self-edits, trained on with these flags
  local in=$run/$1
  adapt_and_eval "$in" "$in/scores.jsonl" "${@:2}"
  ensure "$in/sft.jsonl" filter "$in/scores.jsonl" --seed "$seed" ${FILTER:-}
  ensure "$in/model.jsonl" sft "$in/sft.jsonl" --model "$2" --out "$in/model" --seed "$seed" ${SFT:-}
}

taught() { # the model, once it has learned to write the rule's questions, from the training passages
  find_model; mkdir -p "$run/taught"
  put "$run/taught/sft.jsonl" "$python" -m examples.gemma.cloze "$run/train.jsonl" --most "$asked" "${questions[@]}"
  ensure "$run/taught/model.jsonl" sft "$run/taught/sft.jsonl" --model "$model" --out "$run/taught/model" --seed "$seed" ${TEACH:-}
}

taught_again() { # the same after a round on its own questions, whose reward counts no answer that recites the passage
  taught
  local from; from=$(model_of taught)
  ensure "$run/taught-again/edits.jsonl" generate "$run/train.jsonl" --model "$from" -k "$k" --seed "$seed" "${writes_questions[@]}"
  learn taught-again "$from" exact "${pairs[@]}"
}

rows() {
  local name
  for name in ${ROWS:-$all_rows}; do row "$name"; done
}

name_rows() { # the rows that are there, as seal report takes them: named
  local name
  named=()
  for name in ${ROWS:-$all_rows}; do
    [ ! -e "$run/rows/$name.jsonl" ] || named+=("${name/round-/round }=$run/rows/$name.jsonl")
  done
}

report() {
  name_rows
  "$seal" report "${named[@]}" --against passage --seed "$seed" --plot "$run/table.png" --html "$run/report.html" || [ $? = 3 ]
  "$seal" report "${named[@]}" --against none --seed "$seed" || [ $? = 3 ]
}

costs() { # what each row took, and what it gained by that
  name_rows
  "$python" -m examples.gemma.costs "$run" "${named[@]}" | tee "$run/costs.md"
}

show() { # self-edits with their answers, for a reader
  local name files=()
  for name in self self-best mix cloze taught taught-again qwen round-1; do [ ! -e "$run/rows/$name.jsonl" ] || files+=("$run/rows/$name.jsonl"); done
  "$python" -m examples.gemma.show "${files[@]}" --most 20 > "$run/self-edits.md"
  tell "self-edits with their answers in $run/self-edits.md"
}

tune() { # each rate, number of epochs and rank, on the passage alone, with a self-edit of Qwen2.5-7B, and with the rule's questions
  local name rate epochs rank file way in=$run/tune answered=() likely=()
  find_model; passages
  ensure "$in/tasks.jsonl" tasks "$run/others.jsonl" --sample "$tune" --seed "$seed"
  ensure "$in/passage.jsonl" generate "$in/tasks.jsonl" --model "$model" --template none
  ! grep -qF '"edit": {' "$run/training.jsonl" || texts "$in/qwen.jsonl" "$in/tasks.jsonl" "$run/training.jsonl"
  for name in ${TUNED:-passage qwen}; do
    case $name in
      cloze) put "$in/cloze.jsonl" "$python" -m examples.gemma.cloze "$in/tasks.jsonl" --most "${CLOZE:-24}" ;;
      passage|qwen) ;;
      *) tell "TUNED: $name: there are passage, qwen and cloze"; exit 2 ;;
    esac
    [ -e "$in/$name.jsonl" ] || continue # texts of Qwen2.5-7B that the passages do not have
    for epochs in ${EPOCHS:-3 10}; do for rate in ${RATES:-3e-4 1e-3 2e-3 5e-3}; do for rank in ${RANKS:-32}; do
      way=(--epochs "$epochs" --learning-rate "$rate" --rank "$rank" --alpha $((2 * rank)))
      [ "$name" != cloze ] || way+=(--no-split-newlines)
      file=$in/$name-$epochs-$rate-$rank
      ensure "$file-adapters.jsonl" adapt "$in/$name.jsonl" --model "$model" --out "$in/adapters" --seed "$seed" ${ADAPT:-} "${way[@]}"
      ensure "$file.jsonl" eval "$file-adapters.jsonl" --model "$model" ${EVAL:-}
      ensure "$file-likelihood.jsonl" eval "$file-adapters.jsonl" --model "$model" --likelihood answers
      answered+=("$name, $epochs epochs at $rate, rank $rank=$file.jsonl")
      likely+=("$name, $epochs epochs at $rate, rank $rank=$file-likelihood.jsonl")
    done; done; done
  done
  "$seal" report "${answered[@]}" --before none --seed "$seed" || [ $? = 3 ]
  "$seal" report "${likely[@]}" --before none --seed "$seed" || [ $? = 3 ]
}

if [ $# = 0 ]; then
  find_model
  passages; rows
  [ -n "${PLAN:-}" ] || for part in report costs show; do "$part"; done
else
  "$@"
fi
