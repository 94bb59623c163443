"""Invented ARC tasks, and what is said about them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.domains.arc.self_edit import SWITCHES
from stages.records.arc import ArcTask
from stages.records.frozen import content_id
from stages.records.record import SelfEdit

Rows = Sequence[Sequence[int]]
MIRRORED = (([[1, 2, 3]], [[3, 2, 1]]), ([[4, 0, 5]], [[5, 0, 4]]), ([[6, 6, 7]], [[7, 6, 6]]))


def an_arc_task(
    name: str = "mirror",
    shown: Iterable[tuple[Rows, Rows]] = MIRRORED,
    tests: Iterable[tuple[Rows, Rows | None]] = (([[8, 1, 2]], [[2, 1, 8]]),),
) -> ArcTask:
    """Rows are mirrored, left to right."""
    return ArcTask.model_validate(
        {
            "id": name,
            "domain": "arc",
            "train": [{"input": before, "output": after} for before, after in shown],
            "test": [{"input": before, "output": after} for before, after in tests],
        }
    )


def a_choice(
    *tools: str, strategy: str = "train_using_output_tokens", learning_rate: float = 1e-3, epochs: int = 2
) -> str:
    """A self-edit with these groups of tools on."""
    said: Mapping[str, Any] = {
        "data_generation": {key: group in tools for group, key in SWITCHES.items()},
        "training": {"strategy": strategy, "learning_rate": learning_rate, "num_train_epochs": epochs},
    }
    return json.dumps(said)


def an_arc_edit(task: ArcTask, completion: str, sample: int = 0, error: str | None = None) -> SelfEdit:
    return SelfEdit(
        id=content_id(task.id, sample, completion),
        sample=sample,
        model="editor",
        template="tools",
        prompt="Choose.",
        completion=completion,
        finish="stop",
        tokens=5,
        sampling={},
        error=error,
    )
