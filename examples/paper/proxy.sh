#!/usr/bin/env bash
# The proxy reward: GPT-4.1 scores the self-edits of a first round by the paper's rubric, and no adapter is trained for them.
# At full size: a key of OpenAI for 250 calls (RATE names another rater), and a GPU of 80 GB for one training of the model
# and 400 small ones for the rows. How many rounds the paper took is not said; this is one. It shares its run with
# table-2.sh.
#   HELDOUT=heldout.jsonl examples/paper/proxy.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}" RATE="${RATE:---engine openai --model gpt-4.1}"
examples/round.sh proxy
rows self round-proxy
"$seal" report self="$RUN/heldout/self.jsonl" proxy="$RUN/heldout/round-proxy.jsonl" --expect proxy
