#!/usr/bin/env bash
# One round of the paper's knowledge incorporation (SEAL section 4.1) with its own settings, on a GPU: 50 SQuAD passages,
# 5 self-edits each, 3 reward seeds. Again with ROUND=2 for the next one. The lexical judge takes GPT-4.1's place
# (EVAL="--judge openai:gpt-4.1" is the paper's), and one end token is learned instead of pads up to 2,048 tokens
# (ADAPT="--pad-mode full" is the official recipe).
set -euo pipefail
cd "$(dirname "$0")/../.."
export ROUND="${ROUND:-1}" RUN="${RUN:-runs/squad}" MODEL="${MODEL:-Qwen/Qwen2.5-7B}" TASKS="${TASKS:-rajpurkar/squad}"
export CONTEXTS="${CONTEXTS:-50}" K="${K:-5}" SEEDS="${SEEDS:-3}" SEED="${SEED:-0}"
export GENERATE="${GENERATE:-}" ADAPT="${ADAPT:---pad-mode eos}" EVAL="${EVAL:---judge lexical}" SFT="${SFT:-}"
examples/round.sh
