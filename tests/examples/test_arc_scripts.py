"""The few-shot loop by the scripts and the Makefile, on the tiny ARC model at a small size."""

import json
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.examples.test_scripts import SEAL, lines, run
from tests.stages.invented_grids import a_choice

WORLD = ROOT / "examples/tiny/arc"
FLAGS = {
    "MODEL": "examples/tiny/arc/model",
    "GENERATE": "--temperature 1 --max-tokens 64",
    "ADAPT": "--rank 8",
    "EVAL": "--max-tokens 24",
}


def votes_of(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How often each task's first test was put."""
    return {line["task"]["id"]: len(line["score"]["answers"][0]["votes"]) for line in rows}


def two_puzzles(folder: Path) -> Path:
    """The first two held-out ones, with their solutions beside them."""
    for kind in ("challenges", "solutions"):
        every = json.loads((WORLD / f"heldout_{kind}.json").read_text())
        (folder / f"two_{kind}.json").write_text(json.dumps(dict(list(every.items())[:2])))
    return folder / "two_challenges.json"


def test_a_few_shot_round_makes_the_next_model(tmp_path: Path) -> None:
    puzzles = str(WORLD / "train_challenges.json")
    small = {"CONTEXTS": "1", "K": "2", "SEEDS": "1", "SEED": "3", "FILTER": "--keep best"}
    run(["examples/arc/round.sh"], **FLAGS, **small, RUN=str(tmp_path), TASKS=puzzles)
    folder = tmp_path / "round-1"
    sizes = {name: len(lines(folder / f"{name}.jsonl")) for name in ("tasks", "edits", "adapters", "scores", "sft")}
    assert sizes == {"tasks": 1, "edits": 2, "adapters": 2, "scores": 2, "sft": 1}
    chosen = [line["edit"]["chosen"] for line in lines(folder / "edits.jsonl")]  # type: ignore[index]
    assert sum(choice is not None for choice in chosen) >= 1
    fits = [line["adapter"]["fit"] for line in lines(folder / "adapters.jsonl")]  # type: ignore[index]
    assert {(fit["rank"], fit["alpha"], fit["schedule"], fit["batch_size"]) for fit in fits} == {(8, 16, "cosine", 2)}
    assert {line["score"]["judge"] for line in lines(folder / "scores.jsonl")} == {"grids"}  # type: ignore[index]
    (kept,) = lines(folder / "sft.jsonl")
    assert isinstance(kept["prompt"], list) and len(kept["prompt"]) == 2
    assert (folder / "model" / "chat_template.jinja").is_file() or "chat_template" in (
        folder / "model" / "tokenizer_config.json"
    ).read_text()


def test_the_rows_of_the_few_shot_ladder(tmp_path: Path) -> None:
    chosen = {**FLAGS, "HELDOUT": str(two_puzzles(tmp_path)), "HELD_K": "1", "ROUNDS": "0", "SEED": "1"}
    (tmp_path / "mine.json").write_text(a_choice(learning_rate=3e-3, epochs=2))
    chosen |= {"ROWS": "in-context none self", "LAST": "oracle", "ORACLE": f"oracle:{tmp_path}/mine.json"}
    settings = [f"{name}={value}" for name, value in chosen.items()]
    where = [f"RUN={tmp_path}/run", f"SEAL={SEAL}", "INSTALLED="]
    run(["make", "--no-print-directory", "--jobs=2", "ladder", *where, *settings])
    assert (tmp_path / "run/ladder.png").read_bytes().startswith(b"\x89PNG")
    found = {row: lines(tmp_path / f"run/heldout/{row}.jsonl") for row in ("in-context", "none", "self", "oracle")}
    assert all(len(rows) == 2 for rows in found.values())
    votes = {row: votes_of(rows) for row, rows in found.items()}
    assert set(votes["in-context"].values()) == {1}
    assert votes["none"] == votes["oracle"]
    assert min(votes["none"].values()) > 10
    assert {line["edit"]["template"] for line in found["oracle"]} == {chosen["ORACLE"]}  # type: ignore[index]
