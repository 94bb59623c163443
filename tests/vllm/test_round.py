"""One round of the tiny world with every engine: the same greedy texts."""

from pathlib import Path

from tests.vllm.conftest import NEEDS_VLLM
from tests.vllm.round import rounds

pytestmark = NEEDS_VLLM


def test_every_engine_writes_and_answers_alike(tmp_path: Path) -> None:
    rows = rounds(tmp_path, tasks=2, k=1)
    assert [row["engine"] for row in rows] == ["hf", "vllm", "openai"]
    for row in rows:
        assert (row["other_edits"], row["other_answers"]) == (0, 0)
        assert row["edits"] == 2
        assert row["answers"] > 20
