#!/usr/bin/env bash
# Figure 4: the self-edits of the base model, and of the models after one and two rounds. It shares its run with table-2.sh,
# and needs what that needs; 200 small trainings more for the row of the first round.
#   HELDOUT=heldout.jsonl examples/paper/rounds.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}"
ROUND=2 examples/round.sh rounds
rows self round-1 round-2
in=$RUN/heldout
"$seal" report self="$in/self.jsonl" round-1="$in/round-1.jsonl" round-2="$in/round-2.jsonl" --expect rounds
