"""Lines made by hand through the commands: each stage takes what the one before would have made."""

import json
from pathlib import Path
from typing import Any

from stages.domains.arc.self_edit import SWITCHES
from tests.cli.conftest import SMALL_LORA, seal
from tests.invented_grids import MIRRORED, a_choice

QUESTION = {"question": "What colour is the inn?", "answer": "red"}
TASK = {"context": "The inn is red. It is old.", "questions": [QUESTION]}
META = {"row": 7}


def lines_of(*lines: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def test_from_completions_to_the_pair_that_is_kept(model_dir: Path, tmp_path: Path) -> None:
    edits = [{"task": TASK, "edit": {"completion": text}, "meta": META} for text in ("It is red.", "It is old.")]
    adapted = seal(
        "adapt", "--model", model_dir, *SMALL_LORA, "--out", "adapters", stdin=lines_of(*edits), cwd=tmp_path
    )
    assert (adapted.code, len(adapted.lines)) == (0, 2)
    by_hand = [{"task": TASK, "adapter": {"path": line["adapter"]["path"]}, "meta": META} for line in adapted.lines]
    scored = seal("eval", "--judge", "exact", stdin=lines_of(*by_hand), cwd=tmp_path)
    assert (scored.code, {line["score"]["model"] for line in scored.lines}) == (0, {str(model_dir)})
    judged = [{**edit, "score": {"value": value}} for edit, value in zip(edits, (0.5, 1), strict=True)]
    kept = seal("filter", stdin=lines_of(*judged), cwd=tmp_path)
    assert [(line["completion"], line["value"], line["meta"]) for line in kept.lines] == [("It is old.", 1.0, META)]
    assert [line["meta"] for line in (*adapted.lines, *scored.lines)] == [META] * 4


def test_arc_edits_by_hand_are_shown_without_a_model(tmp_path: Path) -> None:
    pairs = [{"input": before, "output": after} for before, after in MIRRORED]
    task = {"train": pairs, "test": [{"input": [[8, 1, 2]]}]}
    edits = [{"task": task, "edit": {"completion": text}, "meta": META} for text in (a_choice(*SWITCHES), "turn it")]
    good, bad = seal("adapt", "--show-data", stdin=lines_of(*edits), cwd=tmp_path).lines
    assert (good["chosen"]["tools"], good["error"], good["meta"]) == (list(SWITCHES), None, META)
    assert (bad["tasks"], bad["error"], bad["meta"]) == ([], "there is no JSON object in the completion", META)
