#!/usr/bin/env bash
# The ablation of prompts: two rounds for each of five templates, and the self-edits of the base model.
# At full size: five times what table-2.sh needs; the template implications shares its run with it. TEMPLATES="rewrite"
# does a part; the others' rows are printed as published.
#   HELDOUT=heldout.jsonl examples/paper/prompts.sh
set -euo pipefail
. "$(dirname "$0")/settings.sh"
runs=${RUN:-runs/paper} named=()
for template in ${TEMPLATES:-implications implications-long implications-very-long rewrite self-qa}; do
  export RUN="$runs/$template" TEMPLATE=$template
  ROUND=2 examples/round.sh rounds
  rows self round-1 round-2
  named+=("$template-0=$RUN/heldout/self.jsonl" "$template-1=$RUN/heldout/round-1.jsonl" "$template-2=$RUN/heldout/round-2.jsonl")
done
"$seal" report "${named[@]}" --expect prompts
