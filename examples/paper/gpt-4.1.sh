#!/usr/bin/env bash
# Another editor: GPT-4.1 writes the self-edits, and the student learns from them.
# At full size: a key of OpenAI for 200 calls (SERVER names another editor, any server), or EDITS=gpt4_1_val.json, the
# paper's own texts, five a passage where its table has one; a GPU of 80 GB for 400 small trainings, of the paper's texts
# 1,200. It shares its run with table-2.sh.
#   HELDOUT=heldout.jsonl EDITS=gpt4_1_val.json examples/paper/gpt-4.1.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}" SERVER="${SERVER:---engine openai --model gpt-4.1}" NAME=gpt-4.1
row=${EDITS:+file} && row=${row:-server}
rows none passage "$row"
in=$RUN/heldout
"$seal" report none="$in/none.jsonl" passage="$in/passage.jsonl" gpt-4.1="$in/$row.jsonl" --expect gpt-4.1
