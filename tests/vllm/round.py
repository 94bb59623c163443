"""A round of the tiny world with every engine: the same greedy texts, and how long each takes.

    .venv-vllm/bin/python -m tests.vllm.round [TASKS [K]]

Every engine writes the self-edits and answers the questions of the same adapters; all greedily, so that what they say
can be compared. Adapters are trained once. The server's own start is told apart.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.cli.conftest import SEAL, surroundings
from tests.conftest import ROOT
from tests.vllm.server import serving

TINY = ROOT / "examples" / "tiny"
MODEL = TINY / "model"
RECIPE = ("--rank", "8", "--alpha", "16", "--target", "all-linear", "--learning-rate", "6e-3", "--epochs", "4")
RECIPE += ("--schedule", "constant")
GREEDY = ("--temperature", "0", "--max-tokens", "170")
ENGINES = ("hf", "vllm", "openai")


def seal(folder: Path, *arguments: object) -> float:
    """Runs the command to its end; seconds."""
    started = time.monotonic()
    env = surroundings(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1")
    subprocess.run([*SEAL, *map(str, arguments)], cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - started


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def edits_of(path: Path) -> dict[str, str]:
    """What was written, by task."""
    return {line["task"]["id"]: line["edit"]["completion"] for line in lines(path)}


def answers_of(path: Path) -> dict[str, str]:
    """What was answered with each adapter, and without."""
    found = {}
    for line in lines(path):
        for answer in line["score"]["answers"]:
            found[f"{line['adapter']['id']}/{answer['id']}"] = answer["prediction"]
            found[f"{line['task']['id']}/{answer['id']}"] = answer["baseline_prediction"]
    return found


def differing(one: dict[str, str], other: dict[str, str]) -> int:
    """How many of the texts are not the same. Raises ValueError where they are not about the same."""
    if one.keys() != other.keys():
        raise ValueError("the two engines were asked about different things")
    return sum(one[key] != other[key] for key in one)


def rounds(folder: Path, tasks: int, k: int) -> list[dict[str, Any]]:
    """A row per engine."""
    seal(folder, "tasks", TINY / "heldout.jsonl", "--sample", tasks, "-o", "tasks.jsonl")
    seal(folder, "generate", "tasks.jsonl", "--model", MODEL, "-k", k, "--max-tokens", 170, "-o", "edits.jsonl")
    seal(folder, "adapt", "edits.jsonl", "--out", "adapters", *RECIPE, "-o", "adapters.jsonl")
    rows = []
    with ExitStack() as stack:
        for engine in ENGINES:
            begun = time.monotonic()
            flags: tuple[object, ...] = ("--engine", engine, "--model", MODEL)
            if engine == "openai":
                url = stack.enter_context(serving(MODEL, folder / "log", name="tiny", slots=tasks * k + 1))
                flags = ("--engine", engine, "--model", "tiny", "--base-url", f"{url}/v1")
            ready = time.monotonic() - begun
            written = seal(folder, "generate", "tasks.jsonl", "-k", 1, *GREEDY, *flags, "-o", f"{engine}-edits.jsonl")
            scored = seal(folder, "eval", "adapters.jsonl", "-j", "exact", *flags, "-o", f"{engine}-scores.jsonl")
            rows.append({"engine": engine, "ready_s": ready, "generate_s": written, "eval_s": scored})
    compare(folder, rows)
    return rows


def compare(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Adds to each row how many texts there are, and how many differ from those of transformers."""
    edits, answers = edits_of(folder / "hf-edits.jsonl"), answers_of(folder / "hf-scores.jsonl")
    for row in rows:
        name = row["engine"]
        row["edits"], row["answers"] = len(edits), len(answers)
        row["other_edits"] = differing(edits, edits_of(folder / f"{name}-edits.jsonl"))
        row["other_answers"] = differing(answers, answers_of(folder / f"{name}-scores.jsonl"))


def main() -> None:
    tasks, k = (int(word) for word in [*sys.argv[1:], "12", "3"][:2])
    with tempfile.TemporaryDirectory() as name:
        for row in rounds(Path(name), tasks, k):
            print(
                json.dumps({key: round(value, 1) if isinstance(value, float) else value for key, value in row.items()})
            )


if __name__ == "__main__":
    main()
