#!/usr/bin/env bash
# Table 2, one passage at a time: the model as it is, trained on the passage, on its own self-edits, and on those that it
# writes after two rounds of SEAL. gpt-4.1.sh beside it makes the row gpt-4.1.
# At full size: Qwen2.5-7B on a GPU of 80 GB; two rounds of 50 passages, 5 self-edits and 3 seeds, which are 750 small
# trainings each, and 600 for the rows. EVAL="--judge openai:gpt-4.1" grades as the paper does (a key, 10,000 calls).
#   HELDOUT=heldout.jsonl examples/paper/table-2.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}"
ROUND=2 examples/round.sh rounds
rows none passage self round-2
in=$RUN/heldout
"$seal" report none="$in/none.jsonl" passage="$in/passage.jsonl" self="$in/self.jsonl" round-2="$in/round-2.jsonl" --expect table-2
