"""Continual self-edits: the order is the plan, a stopped run goes on at its step, a failed step changes nothing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stages.adapt import Adapt
from stages.errors import BadConfig, BadLine, Crashed
from stages.interfaces import NullProgress
from stages.records.record import Record
from stages.trainers.local import LocalTrainer
from stages.work import Work, resume
from tests.bits import assert_same
from tests.invented import a_task, an_edit
from tests.trainers.exact import FLOAT32

TITLES = ("Ada", "Bo", "Cy")
SMALL = {"rank": 2, "alpha": 4.0, "epochs": 1, "targets": ("q_proj",), "learning_rate": 1e-2}


def edits(titles: Iterable[str] = TITLES) -> list[Record]:
    return [Record(task=a_task(title), edit=an_edit(a_task(title), completion=f"{title} is red.")) for title in titles]


def stage(model: Path, out: Path, **settings: Any) -> Adapt:
    trainer = LocalTrainer(str(model), device=FLOAT32)
    return Adapt(out, sequential=True, trainer=trainer, fit=SMALL, **settings)


def planned(model: Path, out: Path, records: list[Record], **settings: Any) -> list[str]:
    work = stage(model, out, **settings).prepare(records)
    assert isinstance(work, Work)
    return list(work.plan.wanted)


class Stopped(NullProgress):
    """Ends the run when work on a third job begins."""

    def __init__(self) -> None:
        self.begun = 0

    def begin_work(self, names: Iterable[str]) -> None:
        self.begun += 1
        if self.begun > 2:
            raise KeyboardInterrupt


def weights(lines: Iterable[Record]) -> list[bytes]:
    paths = [Path(line.adapter.path) for line in lines if line.adapter and line.adapter.path]
    return [(path / "adapter_model.safetensors").read_bytes() for path in paths]


def test_a_stopped_run_goes_on_at_its_step_and_trains_nothing_twice(model_dir: Path, tmp_path: Path) -> None:
    whole = resume(stage(model_dir, tmp_path / "whole"), edits(), tmp_path / "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        resume(stage(model_dir, tmp_path / "parts"), edits(), tmp_path / "parts.jsonl", Stopped())
    assert len((tmp_path / "parts.jsonl").read_bytes().splitlines()) == 2
    watched = Stopped()
    lines = resume(stage(model_dir, tmp_path / "parts"), edits(), tmp_path / "parts.jsonl", watched)
    assert watched.begun == 1
    assert [line.adapter and line.adapter.id for line in lines] == [line.adapter and line.adapter.id for line in whole]
    found, expected = (
        {f"{step}.safetensors": data for step, data in enumerate(weights(each))} for each in (lines, whole)
    )
    assert_same(found, expected)
    steps = [line.adapter.step for line in lines if line.adapter]
    assert [(step.sequence, step.number) for step in steps if step] == [(0, 0), (0, 1), (0, 2)]
    ids = [line.adapter.id for line in lines if line.adapter]
    assert [step.before for step in steps if step] == [None, *ids[:-1]]


def test_another_order_is_another_sequence_and_its_beginning_the_same(model_dir: Path, tmp_path: Path) -> None:
    there = planned(model_dir, tmp_path, edits())
    other = planned(model_dir, tmp_path, edits(("Ada", "Cy", "Bo")))
    assert there[0] == other[0]
    assert not set(there[1:]) & set(other[1:])
    assert planned(model_dir, tmp_path, edits(TITLES[:2])) == there[:2]
    assert len(set(planned(model_dir, tmp_path, edits(), seeds=2))) == 6


def test_a_step_that_cannot_be_read_leaves_the_model_as_it_was_and_says_so(model_dir: Path, tmp_path: Path) -> None:
    records = edits()
    assert records[1].edit is not None
    records[1] = records[1].grow(edit=records[1].edit.model_copy(update={"error": "no such tool"}))
    first, second, third = resume(stage(model_dir, tmp_path / "ad"), records, tmp_path / "lines.jsonl")
    assert second.adapter is not None and third.adapter is not None and third.adapter.step is not None
    assert (second.adapter.fault, second.adapter.error) == ("edit", "no such tool; the model stays as it was")
    assert third.adapter.step.before == second.adapter.id
    same, changed = weights([first])[0] == weights([second])[0], weights([second])[0] != weights([third])[0]
    assert same and changed


def test_no_step_is_trained_on_another_model_than_it_names(model_dir: Path, tmp_path: Path) -> None:
    work = stage(model_dir, tmp_path).prepare(edits())
    assert isinstance(work, Work)
    first, _, third = work.plan.wanted
    found = work.open([]).make([first, third])
    assert next(found).adapter
    with pytest.raises(Crashed, match="step 1 of the sequence, the self-edit of 'Bo', kills its worker"):
        next(found)


def test_a_self_edit_that_comes_twice_and_a_trainer_of_ones_own_are_refused(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BadLine, match="occurs twice"):
        planned(model_dir, tmp_path, [*edits(), edits()[0]])
    for trainer, words in (
        ({"name": "my.module:Trainer"}, "only the trainers of seal build a sequence"),
        ({"checkpoint_every": 5}, "--checkpoint-every 5: a sequence goes on at the step that was stopped"),
    ):
        own = Adapt(tmp_path, sequential=True, trainer=LocalTrainer(str(model_dir), **trainer))
        with pytest.raises(BadConfig, match=words):
            own.prepare(edits())
