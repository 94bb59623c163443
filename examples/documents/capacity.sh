#!/usr/bin/env bash
# How many facts an adapter holds, by its rank: adapters of other ranks on the self-edits of `make docs`, in the same RUN.
#   RUN=runs/mine DOCS=folder MODEL=DIR examples/documents/capacity.sh      the variables are those of run.sh
#   RANKS="4 16 64" SEEDS=3      which ranks, and how many adapters of each
# Asked are the questions of the exam that the model gets wrong without an adapter. A table, RUN/capacity.png, and the
# smallest rank within the 95 % interval of the best. Run it again at any time, as run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/documents/run.sh settings
for part in tasks quiz edits kept; do "$part"; done
has_exam
row none
in=$run/capacity; mkdir -p "$in"
put "$in/facts.jsonl" "${PYTHON:-.venv/bin/python}" -m examples.documents.unknown "$run/rows/none.jsonl"
if [ ! -s "$in/facts.jsonl" ]; then echo "capacity.sh: the model knows all answers without an adapter" >&2; exit 3; fi
named=()
for rank in ${RANKS:-1 2 4 8 16 32 64}; do
  pool "$in/rank-$rank-adapters.jsonl" "$run/kept.jsonl" --seeds "${SEEDS:-1}"
  ensure "$in/rank-$rank.jsonl" eval "$in/rank-$rank-adapters.jsonl" --on "$in/facts.jsonl" --model "$model" $workers ${EVAL:-}
  named+=("rank $rank=$in/rank-$rank.jsonl")
done
"$seal" report "${named[@]}" --over rank --plot "$run/capacity.png" || [ $? = 3 ]
