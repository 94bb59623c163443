#!/usr/bin/env bash
# The few-shot loop on the tiny ARC model: one ReST-EM round, measured on held-out puzzles, beside a human's self-edit.
set -euo pipefail
cd "$(dirname "$0")/../../.."
seed=${SEED:-0} rounds=${ROUNDS:-1}
run=${RUN:-runs/demo-arc-$seed}
# One core per process, two processes; on the CPU also where there is a GPU, so that the numbers are the README's.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
. examples/tiny/arc/recipe.sh
export ROWS="in-context none self" LAST=oracle
make --no-print-directory --jobs=2 ladder RUN="$run" ROUNDS="$rounds" SEED="$seed"
"${SEAL:-.venv/bin/seal}" report "$run/heldout/round-$rounds.jsonl" --arc "$run/puzzles.png" 2>/dev/null
echo "plot: $run/ladder.png   puzzles: $run/puzzles.png   records: $run/round-*/*.jsonl, $run/heldout/*.jsonl" >&2
