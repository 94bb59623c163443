#!/usr/bin/env bash
# Continual self-edits on the tiny world: what a gate, and a reward that counts what is forgotten, keep of the rest.
#   examples/tiny/continual.sh sequences    8 passages in turn, 3 seeds: own self-edits, an oracle's, with replay, with a gate
#   examples/tiny/continual.sh rewards      16 passages, 4 self-edits each, 3 seeds: which of them a reward chooses
# RUN, SEEDS, STEPS, REPLAYS, GATES, PASSAGES, K may be set from outside. Five minutes each on one idle core.
set -euo pipefail
cd "$(dirname "$0")/../.."
run=${RUN:-runs/continual} seeds=${SEEDS:-3} steps=${STEPS:-8} passages=${PASSAGES:-16} k=${K:-4}
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
seal=${SEAL:-.venv/bin/seal} model=examples/tiny/model
recipe="--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4"
make_lines() { [ -e "$1" ] || "$seal" "${@:2}" -o "$1" || [ $? = 3 ]; } # FILE STAGE FLAGS…

prepare() { # the anchors, and the oracle's self-edits
  [ -e "$run/world/known.jsonl" ] || "${PYTHON:-.venv/bin/python}" -m examples.tiny.continual --out "$run/world"
}

steps_of() { # NAME EDITS FLAGS…: a model of all self-edits, asked about the passages and the anchors after every step
  local in=$run/$1 edits=$2; shift 2
  make_lines "$in.jsonl" adapt "$edits" --model $model $recipe --sequential --seeds "$seeds" --out "$in" "$@"
  make_lines "$in-matrix.jsonl" eval "$in.jsonl" --on "$run/tasks.jsonl" --judge exact
  make_lines "$in-anchors.jsonl" eval "$in.jsonl" --on "$run/world/anchors.jsonl" --judge exact
}

show_sequences() { # NAME…: accuracy before and after, forgetting, transfer, anchors in the end and after the worst step
  local name
  printf '%s\t' row before after forgetting transfer anchors worst refused; echo
  for name; do
    "$seal" report "$run/$name-matrix.jsonl" --matrix "$run/$name.png" --json 2> /dev/null | jq -rs --arg name "$name" \
      --slurpfile anchors "$run/$name-anchors.jsonl" '
      def percent: . * 1000 | round / 10;
      ($anchors | group_by([.adapter.step.sequence, .adapter.step.number])
        | map({step: .[0].adapter.step.number, share: ([.[].score.answers[].correct] | (map(select(.)) | length) / length)})
        | group_by(.step) | map([.[].share] | add / length)) as $kept
      | .[-1] as $facts | [$name, (.[0].mean | add / length | percent), ($facts.mean_accuracy | percent),
        ($facts.forgetting | percent), ($facts.backward_transfer | percent), ($kept[-1] | percent), ($kept | min | percent),
        ([.[].refused // 0] | add)] | @tsv'
  done
}

sequences() {
  local share gate names=(own oracle)
  prepare
  make_lines "$run/tasks.jsonl" tasks examples/tiny/heldout.jsonl --limit "$steps"
  make_lines "$run/own-edits.jsonl" generate "$run/tasks.jsonl" --model $model -k 1 --max-tokens 170 --top-p 1
  head -n "$steps" "$run/world/oracle.jsonl" > "$run/oracle-edits.jsonl"
  steps_of own "$run/own-edits.jsonl"
  steps_of oracle "$run/oracle-edits.jsonl"
  for share in ${REPLAYS:-0.25 0.5}; do # of passages like the anchors, which are not among them
    steps_of "oracle-replay-$share" "$run/oracle-edits.jsonl" --replay "$run/world/known.jsonl:$share"
    names+=("oracle-replay-$share")
  done
  for gate in ${GATES:-0.02 0.05}; do
    steps_of "oracle-$gate" "$run/oracle-edits.jsonl" --gate "$gate" --retain "$run/world/anchors.jsonl" --judge exact
    names+=("oracle-$gate")
  done
  show_sequences "${names[@]}"
}

rewards() { # each rule keeps a self-edit of every passage; what it kept is trained once more, and measured
  local seed rule flags rules=(value retain-above gain-forgetting)
  prepare
  for ((seed = 0; seed < seeds; seed++)); do
    local in=$run/rewards-$seed; mkdir -p "$in"
    make_lines "$in/tasks.jsonl" tasks examples/tiny/train.jsonl --sample "$passages" --seed "$seed"
    make_lines "$in/edits.jsonl" generate "$in/tasks.jsonl" --model $model -k "$k" --max-tokens 170 --top-p 1 --seed "$seed"
    make_lines "$in/adapters.jsonl" adapt "$in/edits.jsonl" --model $model $recipe --out "$in/adapters" --seed "$seed"
    make_lines "$in/scores.jsonl" eval "$in/adapters.jsonl" --retain "$run/world/anchors.jsonl" --judge exact
    for rule in "${rules[@]}"; do
      case $rule in
        value) flags= ;;
        retain-above) flags="--retain-above ${RETAIN:-0.95}" ;;
        gain-forgetting) flags="--reward gain-forgetting:${FORGETTING:-1}" ;;
      esac
      make_lines "$in/$rule-kept.jsonl" filter "$in/scores.jsonl" $flags
      jq -c --slurpfile kept "$in/$rule-kept.jsonl" 'select(.edit.id | IN($kept[].edit_id))' "$in/edits.jsonl" > "$in/$rule.jsonl"
      make_lines "$in/$rule-again.jsonl" adapt "$in/$rule.jsonl" --model $model $recipe --out "$in/again" --seed $((seed + 1000))
      make_lines "$in/$rule-scores.jsonl" eval "$in/$rule-again.jsonl" --retain "$run/world/anchors.jsonl" --judge exact
    done
  done
  printf '%s\t' rule kept accuracy anchors 'by seed'; echo
  for rule in "${rules[@]}"; do
    cat "$run"/rewards-*/"$rule-scores.jsonl" | wc -l | tr '\n' '\t' | sed "s/^/$rule\t/"
    for ((seed = 0; seed < seeds; seed++)); do
      jq -s '[map(.score.value), map(.score.retention.value)] | map(add / length)' "$run/rewards-$seed/$rule-scores.jsonl"
    done | jq -rs 'def percent: . * 1000 | round / 10;
      [(map(.[0]) | add / length | percent), (map(.[1]) | add / length | percent), (map(map(percent)) | tojson)] | @tsv'
  done
}

mkdir -p "$run"
if [ $# = 0 ]; then sequences; rewards; else for part; do "$part"; done; fi
