#!/usr/bin/env bash
# Continual self-edits (section 5): the model after two rounds takes in 8 passages one after the other, and is asked about
# all of them so far after each; SEQUENCES times, with other passages.
# At full size: what table-2.sh needs, which shares its run, and a GPU of 80 GB for 512 small trainings, one after the
# other. ADAPT="--gate 0.02 --retain anchors.jsonl" refuses updates that cost too much of what was known.
# Unlike the paper's, all self-edits are written by the model before the first step, not by the model so far; and LoRAs are
# kept beside each other, which is the function that merging them gives, but for the paper's rounding to bfloat16.
#   HELDOUT=heldout.jsonl examples/paper/continual.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
export RUN="${RUN:-runs/paper/implications}" FROM="${FROM:-2}" STEPS="${STEPS:-8}"
matrices=()
[ "$FROM" = 0 ] || ROUND=$FROM examples/round.sh rounds
for ((number = 0; number < ${SEQUENCES:-64}; number++)); do
  examples/round.sh sequence "$number"
  matrices+=("$RUN/sequence-$number/matrix.jsonl")
done
"$seal" report "${matrices[@]}" --matrix "$RUN/continual.png" --expect continual
