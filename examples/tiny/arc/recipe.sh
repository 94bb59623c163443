# Sourced by demo.sh and by examples/paper/table-1.sh: the tiny ARC model, its puzzles, and how it is trained and asked.
world=examples/tiny/arc
export MODEL=$world/model TASKS="${TASKS:-$world/train_challenges.json}" HELDOUT="${HELDOUT:-$world/heldout_challenges.json}"
export CONTEXTS="${CONTEXTS:-24}" K="${K:-8}" SEEDS="${SEEDS:-1}" HELD_K="${HELD_K:-2}"
export ORACLE="${ORACLE:-oracle:$world/oracle.json}" FILTER="${FILTER:---keep above:0.99}"
export GENERATE="${GENERATE:---temperature 1 --max-tokens 64}" ADAPT="${ADAPT:---rank 16 --alpha 32}" EVAL="${EVAL:---max-tokens 24}"
export SFT="${SFT:---rank 16 --alpha 32 --learning-rate 5e-3 --epochs 8 --batch-size 8 --micro-batch 8}"
