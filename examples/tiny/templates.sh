#!/usr/bin/env bash
# Templates at equal tokens, on the tiny world's held-out passages: each writes self-edits of a passage until they have
# TOKENS tokens, all of them train one adapter, and it answers the passage's questions. RUN, HELD (passages), TOKENS,
# SEEDS and EPOCHS may be set from outside. Half an hour on one idle core; what is finished in RUN is kept.
#   examples/tiny/templates.sh implications rewrite self-qa mix       mix: implications and rewrite by turns
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
seal=${SEAL:-.venv/bin/seal} run=${RUN:-runs/templates} model=examples/tiny/model templates=${*:-implications rewrite self-qa mix}
recipe="--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs ${EPOCHS:-2}"
rows=()

mkdir -p "$run"
head -n "${HELD:-48}" examples/tiny/heldout.jsonl > "$run/tasks.jsonl"
printf '%s\n' implications rewrite > "$run/mix.txt"
for name in $templates; do
  template=$name edits=$run/$name-edits.jsonl adapters=$run/$name-adapters.jsonl
  [ "$name" != mix ] || template=mix:$run/mix.txt
  "$seal" generate "$run/tasks.jsonl" --model "$model" --template "$template" --budget-tokens "${TOKENS:-400}" \
    --max-tokens 170 --top-p 1 -o "$edits"
  "$seal" adapt "$edits" --model "$model" --pool-by task.id --pool-passages once --seeds "${SEEDS:-2}" $recipe \
    --out "$run/$name" -o "$adapters"
  "$seal" eval "$adapters" --model "$model" --judge exact -o "$run/$name.jsonl"
  rows+=("$name=$run/$name.jsonl")
done
"$seal" report "${rows[@]}" --against "${templates%% *}"
