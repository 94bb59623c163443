#!/usr/bin/env bash
# Table 1, few-shot learning on ARC: demonstrations in the context, self-edits of the base model, those after a round of
# SEAL, and a human's choice (ORACLE=oracle:FILE takes another one).
# At full size: Llama-3.2-1B-Instruct on a GPU of 24 GB; a round of 12 puzzles and 15 self-edits, which are 180 trainings,
# and 110 for the rows. TASKS and HELDOUT are the filtered challenges of the paper's code, their solutions beside them.
#   TASKS=arc-agi_training_challenges_filtered_1B_training_set.json \
#     HELDOUT=arc-agi_evaluation_challenges_filtered_1B_eval_set.json examples/paper/table-1.sh
#   MODEL=examples/tiny/arc/model examples/paper/table-1.sh      on the tiny ARC model
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "${MODEL:-}" != examples/tiny/arc/model ] || . examples/tiny/arc/recipe.sh # it has a recipe and puzzles of its own
export RUN="${RUN:-runs/paper/arc}" MODEL="${MODEL:-meta-llama/Llama-3.2-1B-Instruct}" HELD_K="${HELD_K:-5}"
export HELDOUT="${HELDOUT:?give the file of challenges to measure on}"
examples/arc/round.sh
examples/round.sh heldout
for name in in-context self round-1 oracle; do examples/round.sh row "$name"; done
in=$RUN/heldout
"${SEAL:-.venv/bin/seal}" report in-context="$in/in-context.jsonl" self="$in/self.jsonl" round-1="$in/round-1.jsonl" \
  oracle="$in/oracle.jsonl" --expect table-1
