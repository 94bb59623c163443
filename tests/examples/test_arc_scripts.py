"""The few-shot loop by the scripts and the Makefile, on the tiny ARC model at a small size."""

import json
from pathlib import Path

from tests.conftest import ROOT
from tests.examples.test_scripts import lines, run
from tests.forked import forked_seal

WORLD = ROOT / "examples/tiny/arc"
FLAGS = {
    "MODEL": "examples/tiny/arc/model",
    "GENERATE": "--temperature 1 --max-tokens 64",
    "ADAPT": "--rank 8",
    "EVAL": "--max-tokens 24",
}


def a_puzzle(folder: Path) -> str:
    """A file of one held-out puzzle, its solution beside it."""
    for kind in ("challenges", "solutions"):
        puzzles = json.loads((WORLD / f"heldout_{kind}.json").read_bytes())
        (folder / f"held_{kind}.json").write_text(json.dumps(dict(list(puzzles.items())[:1])))
    return str(folder / "held_challenges.json")


def a_short_edit() -> dict[str, object]:
    """A self-edit without tools, for one epoch: a dozen steps of training instead of hundreds."""
    edit = json.loads((WORLD / "oracle.json").read_bytes())
    tools = dict.fromkeys(edit["data_generation"], False)
    return {"data_generation": tools, "training": {**edit["training"], "num_train_epochs": 1}}


def test_a_few_shot_round_makes_the_next_model_and_table_1_of_the_paper(tmp_path: Path) -> None:
    puzzles = str(WORLD / "train_challenges.json")
    small = {"CONTEXTS": "1", "K": "2", "SEEDS": "1", "SEED": "3", "FILTER": "--keep best"}
    (tmp_path / "oracle.json").write_text(json.dumps(a_short_edit()))
    more = {"HELDOUT": a_puzzle(tmp_path), "HELD_K": "1", "ORACLE": f"oracle:{tmp_path}/oracle.json"}
    where = {"RUN": str(tmp_path), "TASKS": puzzles, "SEAL": str(forked_seal())}
    table = run(["examples/paper/table-1.sh"], **FLAGS, **small, **more, **where).stdout
    rows = {cells[0]: cells[1:3] for line in table.splitlines() if (cells := line.split())}
    assert [rows[name][0] for name in ("in-context", "self", "round-1", "oracle")] == ["0.0", "20.0", "72.5", "100.0"]
    assert {rows[name][1] for name in ("in-context", "self", "round-1", "oracle")} <= {"0.0", "100.0"}
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
    """What the script would do; the commands themselves are run elsewhere."""
    fake = tmp_path / "seal"
    fake.write_text('#!/bin/sh\necho seal "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    rows = {"ROWS": "in-context none self", "LAST": "oracle", "ORACLE": "oracle:mine.json", "ROUNDS": "0"}
    where = {"RUN": "/nowhere", "SEAL": str(fake), "HELDOUT": f"{WORLD}/heldout_challenges.json"}
    done = run(["examples/round.sh", "ladder"], **FLAGS, **rows, **where).stdout.splitlines()
    held = "/nowhere/heldout/tasks.jsonl"
    assert done[-1].startswith("seal report in context=/nowhere/heldout/in-context.jsonl none=")
    assert "oracle=/nowhere/heldout/oracle.jsonl --against self" in done[-1]
    assert any(
        line.startswith(f"seal eval {held} --model {FLAGS['MODEL']} --in-context {FLAGS['EVAL']}") for line in done
    )
    assert any(line.startswith(f"seal generate {held} --template oracle:mine.json --overwrite -o ") for line in done)
    assert any(line.startswith(f"seal tasks {WORLD}/heldout_challenges.json") for line in done)
