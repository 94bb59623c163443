#!/usr/bin/env bash
# The few-shot loop on the tiny ARC model: one ReST-EM round, measured on held-out puzzles, beside a human's self-edit.
set -euo pipefail
cd "$(dirname "$0")/../../.."
seed=${SEED:-0} rounds=${ROUNDS:-1} world=examples/tiny/arc
run=${RUN:-runs/demo-arc-$seed}
# One core per process, two processes; on the CPU also where there is a GPU, so that the numbers are the README's.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
export MODEL=$world/model TASKS=$world/train_challenges.json HELDOUT=$world/heldout_challenges.json
export CONTEXTS="${CONTEXTS:-24}" K="${K:-8}" SEEDS=1 HELD_K="${HELD_K:-2}"
export ROWS="in-context none self" LAST=oracle ORACLE=oracle:$world/oracle.json FILTER="--keep above:0.99"
export GENERATE="--temperature 1 --max-tokens 64" ADAPT="--rank 16 --alpha 32" EVAL="--max-tokens 24"
export SFT="--rank 16 --alpha 32 --learning-rate 5e-3 --epochs 8 --batch-size 8 --micro-batch 8"
make --no-print-directory --jobs=2 ladder RUN="$run" ROUNDS="$rounds" SEED="$seed"
"${SEAL:-.venv/bin/seal}" report "$run/heldout/round-$rounds.jsonl" --arc "$run/puzzles.png" 2>/dev/null
echo "plot: $run/ladder.png   puzzles: $run/puzzles.png   records: $run/round-*/*.jsonl, $run/heldout/*.jsonl" >&2
