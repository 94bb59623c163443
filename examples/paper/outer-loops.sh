#!/usr/bin/env bash
# Four outer loops side by side, two rounds each: the best self-edit (ReST-EM), a random one (the control), preferences
# (DPO), and advantages (GRPO's). On the tiny world; RUN, CONTEXTS, K, SEEDS, HELD, LOOPS may be set from outside.
#   examples/paper/outer-loops.sh 0 1 2      seeds of the loop; a minute for each loop and seed on one idle core
# All loops of a seed share the lines of round 1: what they differ in is what is made of the same rewards. The first
# table has the rewards of the self-edits that each round's model begins with, the second the held-out tasks at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
run=${RUN:-runs/outer-loops} loops=${LOOPS:-best random dpo weighted}
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUDA_VISIBLE_DEVICES=
export CONTEXTS=${CONTEXTS:-16} K=${K:-4} SEEDS=${SEEDS:-1} HELD_K=${HELD_K:-3} HELDOUT=$run/heldout.jsonl
seal=${SEAL:-.venv/bin/seal} recipe="--rank 16 --alpha 32 --epochs 4 --batch-size 8 --micro-batch 8"
seeds=${*:-0 1 2} rewards=() rows=()

choose_flags() { # LOOP: FILTER and SFT of examples/round.sh; dpo-low is dpo with a quarter of the learning rate
  local rate=2e-3
  case $1 in *-low) rate=5e-4 ;; esac
  case ${1%-low} in
    best) FILTER= SFT= ;;
    random) FILTER="--keep random" SFT= ;;
    dpo) FILTER=--pairs SFT="--loss dpo" ;;
    weighted) FILTER=--weights SFT="--loss weighted" ;;
  esac
  export FILTER SFT="$recipe --learning-rate $rate $SFT"
}

mkdir -p "$run"
[ -e "$HELDOUT" ] || { head -n "${HELD:-16}" examples/tiny/heldout.jsonl > "$HELDOUT.part" && mv "$HELDOUT.part" "$HELDOUT"; }
for seed in $seeds; do
  first=$run/$seed/best # is made before any other
  for loop in $loops; do
    export RUN=$run/$seed/$loop SEED=$seed
    choose_flags "$loop"
    if [ "$RUN" != "$first" ] && [ ! -e "$RUN/round-1" ]; then
      mkdir -p "$RUN/round-1"
      cp -r "$first"/round-1/{tasks,edits,adapters,scores}.jsonl* "$first/round-1/adapters" "$RUN/round-1/"
    fi
    examples/round.sh round 1
    examples/round.sh round 2
    examples/round.sh heldout
    if [ "$RUN" = "$first" ]; then
      examples/round.sh row self
      rewards+=("base=$RUN/round-1/scores.jsonl") rows+=("base=$RUN/heldout/self.jsonl")
    fi
    examples/round.sh row round-2
    rewards+=("$loop=$RUN/round-2/scores.jsonl") rows+=("$loop=$RUN/heldout/round-2.jsonl")
  done
done
"$seal" report "${rewards[@]}" || [ $? = 3 ] # 3: some of it is unscored
case " $loops " in *" best "*) against="--against base" ;; *) against= ;; esac
"$seal" report "${rows[@]}" $against || [ $? = 3 ]
