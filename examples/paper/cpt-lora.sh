#!/usr/bin/env bash
# Continued pretraining, version 1 of the paper: one LoRA for all validation passages, five self-edits each, and the passage
# behind each of them. EDITS=gpt4_1_val.json makes the row gpt-4.1 of the paper's own texts. It shares its rounds with
# table-2.sh.
# At full size: what table-2.sh needs for two rounds of Qwen2.5-7B, and a GPU of 80 GB for four trainings of up to 200
# passages, 1,000 self-edits and 400 steps.
#   HELDOUT=heldout.jsonl examples/paper/cpt-lora.sh
set -euo pipefail
export HELD_K="${HELD_K:-5}"
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}"
ROUND=2 examples/round.sh rounds
export HELD_IN=cpt-lora ADAPT="--pool --no-split-newlines --epochs 3 --batch-size 4 --accumulation 2 ${POOL:-${ADAPT:-}}"
rows none passage self round-2 ${EDITS:+file}
in=$RUN/$HELD_IN
"$seal" report none="$in/none.jsonl" passage="$in/passage.jsonl" self="$in/self.jsonl" round-2="$in/round-2.jsonl" \
  ${EDITS:+gpt-4.1="$in/file.jsonl"} --expect cpt-lora
