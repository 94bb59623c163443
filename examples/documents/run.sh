#!/usr/bin/env bash
# From a folder of documents to one adapter, with the proof of what it learned: each file of RUN is made by one command.
#   DOCS=folder MODEL=DIR RUN=runs/mine examples/documents/run.sh      all of it; `make docs DOCS=… MODEL=… RUN=…` is the same
#   examples/documents/run.sh tasks, quiz, edits, kept, adapter, rows, row adapter, probes, card      parts of it, in this order
#   EXAM=FILE      questions of yours (task lines) instead of those that the model writes and the self-edits never see
#   K= BUDGET= TEMPLATE=      self-edits of a chunk: how many at most, tokens of all of them, the template (mix:FILE: several)
#   KEEP=best:4    a trial of each self-edit by itself, and the best of each chunk go into the adapter; KEEP=all: no trials
#   RANK= REPLAY=FILE:SHARE      of the adapter; texts that are mixed into its training, which the model is not to forget
#   ANCHORS=FILE PROBES=FILE     tasks that the model knew before; questions that the documents do not answer
#   GATE='learned>10 & lost<2'   what the card must say; if it does not, the script ends with 3, as where nothing is examined
#   RAY="local"    the lines of each stage spread over a cluster (docs/clusters.md)
#   RAG="--chunks 3"      the rows with retrieved chunks; ROWS: which rows there are
#   QUIZ GENERATE TRIAL FILTER ADAPT EVAL CARD      more flags of these stages
# Run it again at any time: what is finished is left alone, what was interrupted goes on, and what was made with other
# flags or from other input is made anew. A file that you have made or changed, or whose command you typed, is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
seal=${SEAL:-.venv/bin/seal} run=${RUN:-runs/documents} model=${MODEL:-examples/tiny/model} seed=${SEED:-0}
world=examples/documents/tiny
if [ "$model" = examples/tiny/model ]; then # it has a recipe of its own, found on other documents (docs/documents.md)
  recipe="--target all-linear --schedule cosine --warmup-ratio 0.05"
  : "${CHUNK=128}" "${TEMPLATE=rewrite}" "${BUDGET=120}" "${RANK=32}" "${EVAL=--judge exact}"
  : "${QUIZ=--template implications -k 12 --max-tokens 170 --top-p 1 --judge exact}" "${GENERATE=--max-tokens 170 --top-p 1}"
  : "${TRIAL=--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4}"
  : "${ADAPT=$recipe --learning-rate 3e-3 --epochs 10 --batch-size 16 --pool-passages once}"
  if [ "${DOCS:-$world/documents}" = $world/documents ]; then # what else is known of these
    : "${REPLAY=$world/known.jsonl:0.2}" "${ANCHORS=$world/anchors.jsonl}" "${PROBES=$world/probes.jsonl}"
  fi
fi
: "${ADAPT=--epochs 3 --batch-size 4 --accumulation 2 --no-split-newlines --pool-passages once}" # as the paper's pools
documents=${DOCS:-$world/documents} rank=${RANK:-32} keep=${KEEP:-all}
workers=${RAY:+--ray $RAY}
all_rows="none passage in-context rag adapter adapter-rag"
source examples/ensure.sh

tasks() { ensure "$run/tasks.jsonl" tasks "$documents" --chunk-tokens "${CHUNK:-512}" --model "$model"; }

quiz() { # the half that rewards, and the half that examines, by fact; or an exam that somebody has
  ensure "$run/quiz.jsonl" quiz "$run/tasks.jsonl" --model "$model" --seed "$seed" ${QUIZ:-}
  if [ -n "${EXAM:-}" ]; then ensure "$run/exam.jsonl" tasks "$EXAM"; return; fi
  ensure "$run/exam.jsonl" quiz "$run/quiz.jsonl" --exam --allow-empty
}

edits() {
  ensure "$run/edits.jsonl" generate "$run/quiz.jsonl" --model "$model" --seed "$seed" --template "${TEMPLATE:-mix:examples/templates/mix.txt}" \
    --budget-tokens "${BUDGET:-4000}" ${K:+-k $K} $workers ${GENERATE:-}
}

find_lines() { grep "$@" || [ $? = 1 ]; } # FLAGS OF grep: none is no failure

kept() { # the self-edits that teach most, each by itself; of a chunk without questions that reward, all
  local in=$run/trials; mkdir -p "$in"
  if [ "$keep" = all ]; then ensure "$run/kept.jsonl" tasks "$run/edits.jsonl"; return; fi
  put "$in/edits.jsonl" find_lines -vF '"questions": []' "$run/edits.jsonl"
  put "$in/untried.jsonl" find_lines -F '"questions": []' "$run/edits.jsonl"
  ensure "$in/adapters.jsonl" adapt "$in/edits.jsonl" --model "$model" --out "$in/adapters" --seed "$seed" --allow-empty \
    $workers ${TRIAL:-}
  ensure "$in/scores.jsonl" eval "$in/adapters.jsonl" --model "$model" --allow-empty $workers ${EVAL:-}
  ensure "$in/kept.jsonl" filter "$in/scores.jsonl" --edits --keep "$keep" --seed "$seed" --allow-empty ${FILTER:-}
  local found=("$in/kept.jsonl"); [ ! -s "$in/untried.jsonl" ] || found+=("$in/untried.jsonl")
  ensure "$run/kept.jsonl" tasks "${found[@]}" --allow-empty
}

pool() { # LINES EDITS FLAGS…: one adapter for all documents
  ensure "$1" adapt "$2" "${@:3}" --pool --model "$model" --out "$run/adapters" --rank "$rank" --alpha $((2 * rank)) --seed "$seed" \
    ${REPLAY:+--replay $REPLAY} ${ADAPT:-}
}

adapter() { pool "$run/adapters.jsonl" "$run/kept.jsonl"; }

row() { # NAME: how well the exam is answered
  local in=$run/rows exam=$run/exam.jsonl
  local asks=(eval "$exam" --model "$model") adapted=(eval "$run/adapters.jsonl" --on "$exam" --model "$model")
  local found=(--retrieve "$run/tasks.jsonl" ${RAG:-})
  case $1 in
    none) ensure "$in/$1.jsonl" "${asks[@]}" $workers ${EVAL:-} ;;
    in-context) ensure "$in/$1.jsonl" "${asks[@]}" --in-context $workers ${EVAL:-} ;;
    rag) ensure "$in/$1.jsonl" "${asks[@]}" "${found[@]}" $workers ${EVAL:-} ;;
    passage)
      ensure "$run/passage/edits.jsonl" generate "$run/tasks.jsonl" --model "$model" --template none
      pool "$run/passage/adapters.jsonl" "$run/passage/edits.jsonl"
      ensure "$in/$1.jsonl" eval "$run/passage/adapters.jsonl" --on "$exam" --model "$model" $workers ${EVAL:-} ;;
    adapter) ensure "$in/$1.jsonl" "${adapted[@]}" ${ANCHORS:+--retain $ANCHORS} $workers ${EVAL:-} ;;
    adapter-rag) ensure "$in/$1.jsonl" "${adapted[@]}" "${found[@]}" $workers ${EVAL:-} ;;
  esac
}

has_exam() {
  if [ ! -s "$run/exam.jsonl" ] && [ -n "${PLAN:-}" ]; then
    echo "${0##*/}: which questions will be left for the exam cannot be foreseen, so no row is in this plan; give EXAM=FILE" >&2
    exit 0
  elif [ ! -s "$run/exam.jsonl" ]; then
    echo "${0##*/}: no question is left to examine what was learned; write some (EXAM=FILE), have more written" \
      "(QUIZ='-k 8'), or take a larger model" >&2
    exit 3
  fi
}

rows() {
  local name
  has_exam
  for name in ${ROWS:-$all_rows}; do row "$name"; done
}

probes() { # what the model says where the documents say nothing
  [ -n "${PROBES:-}" ] || return 0
  ensure "$run/probes/none.jsonl" eval "$PROBES" --model "$model" $workers ${EVAL:-}
  ensure "$run/probes/adapter.jsonl" eval "$run/adapters.jsonl" --on "$PROBES" --model "$model" $workers ${EVAL:-}
}

card() { # what was learned, kept, lost and invented; an adapter that passes the gate is released: RUN/current
  [ -z "${PLAN:-}" ] || return 0 # supposed answers say nothing
  "$seal" card "$run" ${GATE:+--gate "$GATE"} --seed "$seed" ${CARD:-}
}

if [ "${1:-}" = settings ]; then # for a script that goes on from here
  return
elif [ $# = 0 ]; then
  for part in tasks quiz edits kept adapter rows probes card; do "$part"; done
else
  "$@"
fi
