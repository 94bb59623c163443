#!/usr/bin/env bash
# SEAL's rounds: a model learns from its own best self-edits, and the next round starts from the model that comes out.
#   ROUND=2 RUN=runs/mine MODEL=DIR TASKS=FILE examples/round.sh    rounds 1 and 2, in RUN/round-1 and RUN/round-2
#   ROUNDS=2 RUN=runs/mine HELDOUT=FILE examples/round.sh ladder    each round's model, measured on held-out tasks
#   examples/round.sh round 2, heldout, row self, report            parts of it; make --jobs=2 ladder runs rows side by side
#   examples/round.sh sequence 0    a continual run: STEPS passages, from the model of round FROM (0: MODEL itself)
#   PLAN=1 …    nothing is made: what it would cost, in a table (docs/planning.md)
#   RAY="auto --gpus-per-worker 1" …    the lines of each stage spread over a cluster (docs/clusters.md)
#   rows: none, in-context, passage, oracle, self, round-N; file (EDITS=FILE, NAME of their editor); server (SERVER=flags)
# Run it again at any time: what is finished is left alone, what was interrupted goes on, and what was made with other
# flags or from other input is made anew. A file that you have made or changed, or whose command you typed, is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
seal=${SEAL:-.venv/bin/seal} run=${RUN:-runs/tiny} model=${MODEL:-examples/tiny/model} seed=${SEED:-0}
if [ "$model" = examples/tiny/model ]; then # it has a recipe of its own; any other model gets the commands' defaults
  : "${GENERATE=--max-tokens 170 --top-p 1}" "${EVAL=--judge exact}"
  : "${ADAPT=--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4}"
  : "${SFT=--rank 16 --alpha 32 --learning-rate 2e-3 --epochs 4 --batch-size 8 --micro-batch 8}"
fi
contexts=${CONTEXTS:-50} k=${K:-5} seeds=${SEEDS:-2} held_k=${HELD_K:-3} rounds=${ROUNDS:-2}
tasks=${TASKS:-examples/tiny/train.jsonl} heldout=${HELDOUT:-examples/tiny/heldout.jsonl}
template=${TEMPLATE:+--template $TEMPLATE} # of the models' own self-edits; unset: the default
workers=${RAY:+--ray $RAY}
source examples/ensure.sh
held=$run/${HELD_IN:-heldout} # the rows, and what they are made of

model_of() { [ "$1" = 0 ] || [ -n "${PLAN:-}" ] && echo "$model" || echo "$run/round-$1/model"; }

edits() { # NUMBER: the tasks of a round, and what its model writes about them
  local in=$run/round-$1 from; from=$(model_of $(($1 - 1)))
  ensure "$in/tasks.jsonl" tasks "$tasks" --sample "$contexts" --skip $((contexts * ($1 - 1))) --seed "$seed"
  ensure "$in/edits.jsonl" generate "$in/tasks.jsonl" --model "$from" -k "$k" --seed "$seed" $workers ${GENERATE:-} $template
}

learn() { # FOLDER MODEL: what the model becomes by the best of the scored self-edits
  ensure "$1/sft.jsonl" filter "$1/scores.jsonl" --seed "$seed" ${FILTER:-}
  ensure "$1/model.jsonl" sft "$1/sft.jsonl" --model "$2" --out "$1/model" --seed "$seed" ${SFT:-}
}

round() { # NUMBER
  local in=$run/round-$1 from; from=$(model_of $(($1 - 1)))
  edits "$1"
  ensure "$in/adapters.jsonl" adapt "$in/edits.jsonl" --model "$from" --out "$in/adapters" --seeds "$seeds" --seed "$seed" $workers ${ADAPT:-}
  ensure "$in/scores.jsonl" eval "$in/adapters.jsonl" --model "$from" $workers ${EVAL:-}
  learn "$in" "$from"
}

proxy() { # a first round in which a rubric scores the self-edits, without training: its row is round-proxy
  edits 1
  ensure "$run/round-proxy/scores.jsonl" rate "$run/round-1/edits.jsonl" $workers ${RATE:-}
  learn "$run/round-proxy" "$model"
}

rows() { echo ${ROWS:-none passage self} $(seq -f 'round-%g' "$rounds") ${LAST:-}; }

heldout() { ensure "$held/tasks.jsonl" tasks "$heldout"; }

row() { # NAME: one row of the ladder: how well the self-edits of a model teach it held-out tasks
  local in=$held from=$model writes=(generate "$held/tasks.jsonl") flags="--seed $seed $workers ${GENERATE:-} -k $held_k"
  case $1 in
    none) ensure "$in/none.jsonl" eval "$in/tasks.jsonl" --model "$model" $workers ${EVAL:-}; return ;;
    in-context) ensure "$in/$1.jsonl" eval "$in/tasks.jsonl" --model "$model" --in-context $workers ${EVAL:-}; return ;;
    passage) flags="--template none" ;;
    oracle) flags="--template ${ORACLE:-oracle}" ;;
    round-*) from=$(model_of "${1#round-}"); writes+=(--model "$from"); flags+=" $template" ;;
    self) writes+=(--model "$from"); flags+=" $template" ;;
    file) # self-edits that are there, those of the held-out tasks
      mkdir -p "$in/file"
      sed -E 's/^\{"v": 1, "task": \{"id": "([^"]+)".*/\1/' "$in/tasks.jsonl" > "$in/file/ids.txt"
      writes=(tasks "$EDITS" --ids "$in/file/ids.txt") flags=${NAME:+--editor $NAME} ;;
    server) flags="${flags/$workers/} $SERVER $template" ;; # it is the server that works
  esac
  ensure "$in/$1/edits.jsonl" "${writes[@]}" $flags
  ensure "$in/$1/adapters.jsonl" adapt "$in/$1/edits.jsonl" --model "$from" --out "$in/adapters" --seed "$seed" $workers ${ADAPT:-}
  ensure "$in/$1.jsonl" eval "$in/$1/adapters.jsonl" --model "$from" $workers ${EVAL:-}
}

sequence() { # NUMBER: self-edits of held-out passages one after the other onto one model, asked about all after each
  local in=$run/sequence-$1 from; from=$(model_of "${FROM:-0}")
  ensure "$in/tasks.jsonl" tasks "$heldout" --sample "${STEPS:-8}" --seed $((seed + $1))
  ensure "$in/edits.jsonl" generate "$in/tasks.jsonl" --model "$from" --seed "$seed" $workers ${GENERATE:-} -k 1
  ensure "$in/steps.jsonl" adapt "$in/edits.jsonl" --model "$from" --sequential --out "$in/steps" --seed "$seed" ${ADAPT:-}
  ensure "$in/matrix.jsonl" eval "$in/steps.jsonl" --model "$from" --on "$in/tasks.jsonl" $workers ${EVAL:-}
}

report() {
  local name named=()
  for name in $(rows); do named+=("${name//-/ }=$held/$name.jsonl"); done
  "$seal" report "${named[@]}" --against self --plot "$run/ladder.png" --seed "$seed" || [ $? = 3 ]
}

case ${1:-rounds} in
  rounds) for ((number = 1; number <= ${ROUND:-1}; number++)); do round "$number"; done ;;
  ladder)
    for ((number = 1; number <= rounds; number++)); do round "$number"; done
    heldout
    for name in $(rows); do row "$name"; done
    report ;;
  *) "$@" ;;
esac
