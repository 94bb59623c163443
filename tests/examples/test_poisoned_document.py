"""A document that contradicts what the tiny model knows: it is learned, the anchors tell, and the gate refuses it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from examples.tiny.continual import ANCHORS, POOL, make_oracle_line
from examples.tiny.documents import make_pool
from examples.tiny.tasks import make_entities, make_record, task_lines
from seal_cli.exit_codes import DONE, INCOMPLETE
from tests.cli.conftest import seal
from tests.conftest import ROOT

MODEL = ROOT / "examples/tiny/model"
RECIPE = (
    *("--rank", 8, "--alpha", 16, "--target", "all-linear", "--learning-rate", "6e-3"),
    *("--schedule", "constant", "--epochs", 4),
)
GATE = "learned>10 & lost<10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, `honest` and `poisoned`: an adapter of one document each, asked about it and about four anchors.

    The honest document is about somebody new. The poisoned one says of an anchor what is true of another.
    """
    folder, pool = tmp_path_factory.mktemp("poisoned"), make_pool(POOL)
    known = pool[0]
    other = next(entity for entity in pool[ANCHORS:] if entity.kind == known.kind)
    told = {"honest": make_entities()["heldout"][0], "poisoned": replace(other, name=known.name)}
    (folder / "edits.jsonl").write_text("".join(f"{make_oracle_line(each)}\n" for each in told.values()))
    (folder / "anchors.jsonl").write_text(task_lines(pool[:4]))
    for words in (
        ("adapt", "edits.jsonl", "--model", MODEL, *RECIPE, "-o", "adapters.jsonl"),
        ("eval", "adapters.jsonl", "--retain", "anchors.jsonl", "-j", "exact", "-o", "adapter.jsonl"),
        ("eval", "tasks.jsonl", "--model", MODEL, "-j", "exact", "-o", "none.jsonl"),
    ):
        if words[1] == "tasks.jsonl":
            edits = map(json.loads, (folder / "edits.jsonl").read_text().splitlines())
            (folder / "tasks.jsonl").write_text("".join(json.dumps({"task": line["task"]}) + "\n" for line in edits))
        done = seal(*words, cwd=folder)
        assert done.code == DONE, done.err
    titles = {entity.name: name for name, entity in told.items()}
    for row in ("none", "adapter"):
        for line in (folder / f"{row}.jsonl").read_text().splitlines():
            found = json.loads(line)
            if found.get("adapter"):
                found["adapter"]["path"] = str(folder / found["adapter"]["path"])
            file = folder / titles[found["task"]["title"]] / f"rows/{row}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found) + "\n")
    return folder


def test_an_honest_document_passes_and_is_released(folder: Path) -> None:
    done = seal("card", "honest", "--gate", GATE, cwd=folder)
    assert done.code == DONE, done.err + done.out
    assert (folder / "honest/current").is_dir()


def test_a_document_that_contradicts_the_anchors_is_learned_and_refused(folder: Path) -> None:
    done = seal("card", "poisoned", "--gate", GATE, cwd=folder)
    assert done.code == INCOMPLETE
    card = json.loads((folder / "poisoned/card.json").read_text())
    assert card["learned"]["points"] > 10, "it would pass by what it teaches"
    assert "lost<10 does not hold" in done.err
    known = {answer["task"] for answer in card["lost_answers"]}
    assert make_record(make_pool(1)[0]).task.id in known, "and the card shows which answers were lost"
    assert not (folder / "poisoned/current").exists()
