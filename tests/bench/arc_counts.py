"""How many rows each setting of a self-edit's switches gives, for the paper's 12 + 10 ARC tasks.

    OMP_NUM_THREADS=1 python -m tests.bench.arc_counts [--seed N]

One JSON object: {task: {setting: [leave-one-out, leave-two-out]}}, before the cut to 250 rows and without a limit on
tokens. A setting is four digits, 1 for on: basic, size, chain, repeat. The seed moves a count by a few rows, where
a copy with other colours, another order or a translation is one that is there already.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from stages.domains.arc.training_set import LEFT_OUT, Pair, make_leave_out_rows
from stages.domains.arc.transforms import GROUPS
from stages.records.arc import make_grid

ARC = Path(__file__).parents[3] / "shared" / "data" / "arc"
CHALLENGES = (
    "arc-agi_training_challenges_filtered_1B_training_set.json",
    "arc-agi_evaluation_challenges_filtered_1B_eval_set.json",
)


def tasks(folder: Path = ARC) -> Iterator[tuple[str, tuple[Pair, ...]]]:
    """Each task's name and demonstrations."""
    for name in CHALLENGES:
        for task, parts in json.loads((folder / name).read_text(encoding="utf-8")).items():
            yield task, tuple(Pair(make_grid(pair["input"]), make_grid(pair["output"])) for pair in parts["train"])


def counts(demonstrations: Sequence[Pair], *, seed: int) -> Mapping[str, tuple[int, int]]:
    """How many rows (leave-one-out, leave-two-out) each setting of the switches gives, before any limit.

    A setting is four digits, 1 for on: basic, size, chain, repeat.
    """
    found = {}
    for switches in product("01", repeat=len(GROUPS)):
        groups = [group for group, switch in zip(GROUPS, switches, strict=True) if switch == "1"]
        one, two = (len(make_leave_out_rows(demonstrations, count, groups, seed=seed)) for count in LEFT_OUT)
        found["".join(switches)] = (one, two)
    return found


def main() -> None:
    parser = ArgumentParser(prog="python -m tests.bench.arc_counts", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    if not ARC.is_dir():
        sys.exit(f"{ARC} is not there: the ARC tasks are read beside the project")
    print(json.dumps({task: counts(demonstrations, seed=seed) for task, demonstrations in tasks()}))


if __name__ == "__main__":
    main()
