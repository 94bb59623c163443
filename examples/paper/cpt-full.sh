#!/usr/bin/env bash
# Continued pretraining, version 2 of the paper: all weights are trained, one epoch at 7e-5, on five self-edits of each
# validation passage and the passage once. TABLE=cpt-full-2067 has the paper's numbers for 2,067 passages, all of SQuAD's
# validation set. EDITS=gpt4_1_val.json makes the row gpt-4.1 of the paper's own texts. It shares its rounds with table-2.sh.
# At full size: what table-2.sh needs for two rounds of Qwen2.5-7B; its 7.6 billion weights are trained at 18 bytes each,
# 137 GB, so on one GPU of 141 GB or more (--checkpoint-every N in POOL takes 180 GB of disk, each row's model 15 GB).
#   HELDOUT=heldout.jsonl examples/paper/cpt-full.sh
#   HELDOUT=all.jsonl RUN=runs/paper/2067 TABLE=cpt-full-2067 examples/paper/cpt-full.sh
set -euo pipefail
export HELD_K="${HELD_K:-5}"
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}"
ROUND=2 examples/round.sh rounds
export HELD_IN="${TABLE:-cpt-full}" ADAPT="--pool --method full --pool-passages once --no-split-newlines --epochs 1 \
  --batch-size 4 --accumulation 2 --warmup-ratio 0.03 ${POOL:-}"
rows none passage self round-2 ${EDITS:+file}
in=$RUN/$HELD_IN
"$seal" report none="$in/none.jsonl" passage="$in/passage.jsonl" self="$in/self.jsonl" round-2="$in/round-2.jsonl" \
  ${EDITS:+gpt-4.1="$in/file.jsonl"} --expect "$HELD_IN"
