# Sourced by the scripts beside it: the settings of knowledge incorporation, as in examples/squad/round.sh. HELDOUT are
# the validation passages. For the paper's own 200, with their 974 questions, in its code's data folder:
#   seal tasks base_val.json | jq -c '{task}' | uniq > heldout.jsonl
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export MODEL="${MODEL:-Qwen/Qwen2.5-7B}"
if [ "$MODEL" = examples/tiny/model ]; then # it has a recipe, which examples/round.sh knows, and passages of its own
  export TASKS="${TASKS:-examples/tiny/train.jsonl}" HELDOUT="${HELDOUT:-examples/tiny/heldout.jsonl}"
else
  export ADAPT="${ADAPT:---pad-mode eos}" EVAL="${EVAL:---judge lexical}"
fi
export TASKS="${TASKS:-rajpurkar/squad}"
export HELDOUT="${HELDOUT:?give the validation passages: seal tasks rajpurkar/squad --split validation --sample 200 -o FILE}"
export CONTEXTS="${CONTEXTS:-50}" K="${K:-5}" SEEDS="${SEEDS:-3}" HELD_K="${HELD_K:-1}"
seal=${SEAL:-.venv/bin/seal}

rows() { # NAME…: the rows on the validation passages, as files of the run
  local name
  examples/round.sh heldout
  for name; do examples/round.sh row "$name"; done
}
