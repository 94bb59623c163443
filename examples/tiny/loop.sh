#!/usr/bin/env bash
# One round as a pipe, on the tiny model. RUN, CONTEXTS and K may be set from outside.
set -euo pipefail
cd "$(dirname "$0")/../.."
seal() { "${SEAL:-.venv/bin/seal}" "$@"; }
run=${RUN:-runs/loop} model=${MODEL:-examples/tiny/model}
mkdir -p "$run"

seal tasks examples/tiny/train.jsonl --sample "${CONTEXTS:-20}" |
  seal generate --model "$model" -k "${K:-3}" --max-tokens 170 |
  seal adapt --out "$run/adapters" --rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4 |
  seal eval --judge exact |
  seal filter > "$run/sft.jsonl"
seal sft "$run/sft.jsonl" --model "$model" --out "$run/model" --rank 16 --alpha 32 --learning-rate 2e-3 --epochs 4
