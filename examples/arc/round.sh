#!/usr/bin/env bash
# One round of the paper's few-shot learning with its own settings, on a GPU: 12 ARC tasks, 15 self-edits each, one
# adapter a self-edit, every self-edit kept that solves its task. TASKS is ARC's file of challenges, its solutions beside
# it. The paper has one round; CONTEXTS=… and ROUND=2 take fresh tasks for another one.
set -euo pipefail
cd "$(dirname "$0")/../.."
export TASKS="${TASKS:?give the file of challenges: TASKS=arc-agi_training_challenges.json}"
export ROUND="${ROUND:-1}" RUN="${RUN:-runs/arc}" MODEL="${MODEL:-meta-llama/Llama-3.2-1B-Instruct}"
export CONTEXTS="${CONTEXTS:-12}" K="${K:-15}" SEEDS="${SEEDS:-1}" SEED="${SEED:-0}"
export GENERATE="${GENERATE:-}" ADAPT="${ADAPT:-}" EVAL="${EVAL:-}" FILTER="${FILTER:---keep above:0.99}"
export SFT="${SFT:---rank 16 --alpha 16 --learning-rate 5e-5 --epochs 8 --batch-size 5}"
examples/round.sh
