"""Few-shot self-edits as jobs: batch 2, cosine with a warm-up, rates and epochs of their own, chats with both masks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages.domains.arc.domain import Arc
from stages.domains.defaults import DEFAULTS
from stages.interfaces import FitJob
from stages.trainers.peft import PeftTrainer
from tests.conftest import make_model
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT64, distance, exact_norms, weights_of
from tests.trainers.jobs import by_id, many

EDITS = (
    a_choice(learning_rate=1e-3, epochs=3),
    a_choice(learning_rate=1e-3, epochs=3, strategy="train_using_all_tokens"),
    a_choice("size", learning_rate=1e-2, epochs=1),
    a_choice("size", "chain", learning_rate=3e-4, epochs=1),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random chat model in whose context a row has room."""
    folder = make_model(tmp_path_factory.mktemp("grids"), "llama-chat")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    return folder


def jobs(folder: Path) -> list[FitJob]:
    task, made = an_arc_task(), []
    for number, said in enumerate(EDITS):
        lesson = Arc().make_training_set(task, an_arc_edit(task, said))
        lesson = replace(lesson, examples=lesson.examples[:9])  # an odd number: the last batch is half full
        config = replace(DEFAULTS["arc"].fit, rank=4, **lesson.chosen)
        made.append(FitJob(str(number), lesson, config, 7 * number, folder / str(number)))
    return made


def test_they_are_trained_together_as_each_alone(model: Path, tmp_path: Path) -> None:
    alone = PeftTrainer(str(model), device=FLOAT64)
    exact_norms(alone.network)
    expected = by_id(alone.fit(jobs(tmp_path / "alone")))
    found = by_id(many(model, slots=3).fit(jobs(tmp_path / "together")))
    assert [result.error for result in found.values()] == [None] * len(EDITS)
    assert [result.steps for result in found.values()] == [15, 15, 5, 5] == [each.steps for each in expected.values()]
    for name in found:
        here, there = weights_of(tmp_path / "together" / name), weights_of(tmp_path / "alone" / name)
        assert distance(here, there) < BEYOND_ROUNDING, name
    masks = [weights_of(tmp_path / "together" / name) for name in ("0", "1")]
    assert distance(*masks) > 1e-4  # where the loss is makes a difference
