#!/usr/bin/env bash
# The demo for several seeds, and its control: a random self-edit is kept instead of the best. Mean and standard error
# of each row over the seeds. Three minutes a seed and two for its control, on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=${*:-0 1 2}
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
rows=()
for seed in $seeds; do
  best=runs/seeds/$seed control=runs/seeds/$seed-control
  make --no-print-directory --jobs=2 ladder RUN="$best" SEED="$seed" ROUNDS=2
  make --no-print-directory --jobs=2 "$control"/heldout/round-{1,2}.jsonl RUN="$control" SEED="$seed" FILTER="--keep random"
  for row in none passage self round-1 round-2; do rows+=("$row=$best/heldout/$row.jsonl"); done
  for row in round-1 round-2; do rows+=("control-$row=$control/heldout/$row.jsonl"); done
done
.venv/bin/seal report "${rows[@]}" --against self --plot runs/seeds/ladder.png
