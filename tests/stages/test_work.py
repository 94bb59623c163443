"""Running a stage: what its worker is told."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from seal_cli.terminal.console import QuietMode
from stages import adapt, generate, judge, rate
from stages import eval as evaluate
from stages.domains.qa import QA
from stages.domains.writing import Writing
from stages.interfaces import FitJob, FitResult, NullProgress, Progress
from stages.judges.command import CommandRater
from stages.judges.exact import ExactJudge
from stages.rate import RateByProgram, _ProgramWorker
from stages.records.record import Record
from stages.scoring.candidates import EditTracker
from stages.scoring.rubric import RatingScale
from stages.settings import Sampling
from stages.work import Worker, resume
from tests.cli.conftest import jsonl
from tests.cli.inside import run_inside
from tests.invented import Backwards, a_line, a_task, an_edit, plan_lines

LINES = [Record(task=a_task(), edit=an_edit(a_task(), sample, f"Text {sample}.")) for sample in range(3)]


@pytest.mark.parametrize("in_shell", [True, False])
def test_whether_a_line_is_to_be_made_is_known_without_a_look_at_all_the_others(
    in_shell: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Collection[str]] = []

    def make(self: object, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        told.append(keys)
        return iter(())

    monkeypatch.setattr(_ProgramWorker, "make", make)
    monkeypatch.setattr(QuietMode, "on", True)  # no process shows what goes on
    if in_shell:
        assert run_inside("rate", "--program", "true", stdin=jsonl(LINES), cwd=tmp_path).code == 0
    else:
        resume(RateByProgram("true"), LINES, tmp_path / "rated.jsonl")
    (keys,) = told
    assert (len(keys), isinstance(keys, Mapping)) == (3, True)


class ByKey(dict[str, Any]):
    """A mapping of a run's lines that no lease may walk through: that would be their square."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all lines are looked at for a few of them")

    keys = values = items = __iter__  # type: ignore[assignment]


class Refusing:
    """A trainer that says of every job that it diverged."""

    model = "student"

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        return (FitResult(job.id, None, 0, 0, 0, 0.0, 0.0, "the loss is not finite") for job in jobs)


def list_workers() -> Iterator[tuple[Worker, Iterable[str]]]:
    """A worker of each stage with three lines, and their keys."""
    written, edited = generate.plan(LINES, samples=3).wanted, rate.plan(LINES).wanted
    trained = plan_lines(LINES, "student", domain=QA(), out=Path("out"))
    asked = evaluate.plan(line.grow(edit=None) for line in LINES[:1]).wanted
    graded = {judge.key_of(line): line for line in [a_line(a_task(), (True, False))]}
    engine, scale = Backwards(lambda _: "Final Score: 8"), RatingScale()
    asking = evaluate._Asking(QA(), Sampling(), in_context=False, chat=False, usable={}, lost={})
    yield generate._Writer(ByKey(written), engine, Writing(QA(), samples=3), EditTracker()), written
    yield generate._Copier(ByKey(written), QA(), "none", ""), written
    yield adapt._Trainer(ByKey(trained), Refusing(), ()), trained
    yield evaluate._Examiner(ByKey(asked), engine, ExactJudge(), asking, ()), asked
    yield judge._Grader(ByKey(graded), ExactJudge()), graded
    yield rate._Rater(ByKey(edited), engine, lambda lines: iter(()), scale), edited
    yield _ProgramWorker(ByKey(edited), CommandRater("true")), ()


def test_a_few_lines_are_made_without_a_look_at_all_the_others() -> None:
    for worker, keys in list_workers():
        for key in keys:
            assert len(list(worker.make([key]))) == 1, worker
