"""adapter → score without answers: how likely gold answers and passages become, and what stays unscored."""

import json
from collections.abc import Callable, Iterable, Iterator
from math import log
from typing import Any

import pytest

from stages import filter as keeping
from stages import report
from stages.domains.likelihood import LikelihoodMeter, LikelihoodOf, is_measured
from stages.domains.qa import QA
from stages.engines.local import LocalEngine
from stages.errors import BadConfig, BadInput, BadLine
from stages.eval import Eval
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.judge import Gradable
from stages.judges.factory import LocalJudge
from stages.records.jsonl import to_json
from stages.records.parser import parse_record
from stages.records.record import Record
from stages.records.score import Likelihood, Score
from stages.records.task import UNANSWERABLE, make_task
from stages.scoring.grading import get_owner_id
from stages.work import WholeSource
from tests.invented import Lost, Notes, a_line, a_task, an_adapter, an_edit
from tests.invented_grids import an_arc_task

Odds = Callable[[Request], float]


class Oracle:
    """An engine that asks a function how likely each text is, and tells the last one first."""

    model = "student"

    def __init__(self, odds: Odds) -> None:
        self.odds, self.asked = odds, list[Request]()

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        self.asked += (batch := list(requests))
        for each in reversed(batch):
            progress.begin_work([each.id])
            try:
                value = self.odds(each)
            except Lost as error:
                yield Completion(each.id, "", "failed", None, error=str(error))
            else:
                yield Completion(each.id, each.continuation or "", "stop", None, log_probability=log(value))


def adapted(seed: int = 0, task: Any = None, **lost: str) -> Record:
    task = task or a_task()
    edit = an_edit(task)
    return Record(task=task, edit=edit, adapter=an_adapter(edit, seed, **lost))


def measured(lines: list[Record], odds: Odds, of: LikelihoodOf = "answers", **more: Any) -> list[Score]:
    made = {
        each.adapter and each.adapter.id: each
        for each in LikelihoodMeter(QA(), of).measure(lines, Oracle(odds), **more)
    }
    assert len(made) == len(lines)
    scores = [made[line.adapter and line.adapter.id].score for line in lines]
    return [score for score in scores if score]


def better_when_adapted(request: Request) -> float:
    """Velm becomes likely, the bridge always is; the blank before them costs half."""
    base = 0.8 if request.adapter or "bridge" in str(request.continuation) else 0.2
    return base / 2 if str(request.continuation).startswith(" ") else base


def test_the_value_is_the_mean_over_questions_beside_that_of_the_model_as_it_was() -> None:
    (score,) = measured([adapted()], better_when_adapted)
    assert (score.value, score.baseline) == (pytest.approx(0.8), pytest.approx(0.5))
    assert (score.judge, score.answers, score.kind) == ("likelihood:answers", (), "likelihood")
    assert [(each.gold, each.baseline) for each in score.likelihoods] == [
        ("Velm", pytest.approx(0.2)),
        ("a bridge", pytest.approx(0.8)),
    ]


def test_an_answer_counts_with_a_blank_before_it_too_and_of_several_the_likeliest() -> None:
    task = make_task("Ada", "Ada was born in Velm.", [("Where?", "Velm"), ("Who?", "Ada")])
    first = task.questions[0].model_copy(update={"other_answers": ("Old Velm",)})
    task = task.model_copy(update={"questions": (first, task.questions[1])})
    odds = {"Velm": 0.1, " Velm": 0.3, "Old Velm": 0.2, " Old Velm": 0.6, "Ada": 0.4, " Ada": 0.1}
    (score,) = measured([Record(task=task)], lambda each: odds[str(each.continuation)])
    assert [(each.gold, each.value) for each in score.likelihoods] == [
        ("Old Velm", pytest.approx(0.6)),
        ("Ada", pytest.approx(0.4)),
    ]
    assert (score.value, score.baseline) == (pytest.approx(0.5), None)


def test_a_text_is_no_likelier_than_certain_whatever_a_float_says() -> None:
    assert measured([adapted()], lambda _: 1 + 1e-12)[0].value == 1.0


def test_a_passage_is_measured_under_its_title_and_needs_no_questions() -> None:
    engine = Oracle(lambda each: 0.7 if each.adapter else 0.4)
    bare = a_task(pairs=[])
    (line,) = LikelihoodMeter(QA(), "passage").measure([adapted(task=bare)], engine)
    assert {(each.prompt, each.continuation) for each in engine.asked} == {("Ada\n", bare.text)}
    assert line.score is not None
    assert (line.score.value, line.score.baseline) == (pytest.approx(0.7), pytest.approx(0.4))
    assert line.score.likelihoods[0].gold is None


def test_what_is_in_work_is_a_line_which_could_be_blamed_for_a_crash() -> None:
    lines, notes = [adapted(seed) for seed in range(2)], Notes()
    measured(lines, better_when_adapted, progress=notes)
    assert set(notes.started) == set(map(get_owner_id, lines))


def test_the_baseline_is_measured_once_and_not_at_all_where_a_finished_line_has_it() -> None:
    engine, meter = Oracle(better_when_adapted), LikelihoodMeter(QA(), "answers")
    first, second = meter.measure([adapted(0), adapted(1)], engine)
    assert sum(each.adapter is None for each in engine.asked) == 4
    again = Oracle(better_when_adapted)
    (line,) = meter.measure([adapted(1)], again, known=[first])
    assert all(each.adapter for each in again.asked)
    assert line == second


def test_a_baseline_that_is_known_in_part_is_measured_again() -> None:
    def lost(request: Request) -> float:
        if "bridge" in str(request.continuation) and not request.adapter:
            raise Lost("too long")
        return 0.5

    first = adapted(0).grow(score=measured([adapted(0)], lost)[0])
    assert first.score is not None and (first.score.value, first.score.baseline) == (0.5, None)
    assert not is_measured(first)
    again = measured([adapted(1)], better_when_adapted, known=[first])[0]
    assert again.baseline == pytest.approx(0.5)


def test_what_the_engine_fails_to_tell_is_unscored_with_its_reason_and_made_again() -> None:
    def lost(request: Request) -> float:
        if "bridge" in str(request.continuation) and request.adapter:
            raise Lost("prompt and text of 99 tokens are longer than the context of 64")
        return 0.5

    (score,) = measured([adapted()], lost)
    assert (score.value, score.bounds, score.baseline) == (None, (pytest.approx(0.25), pytest.approx(0.75)), 0.5)
    assert [each.error for each in score.likelihoods][
        1
    ] == "prompt and text of 99 tokens are longer than the context of 64"
    assert not is_measured(adapted().grow(score=score))
    assert keeping.run([adapted().grow(score=score)]).examples == ()


def test_a_failed_training_is_unscored_and_a_self_edit_that_cannot_be_read_is_worth_nothing() -> None:
    ours, theirs = measured([adapted(fault="training"), adapted(1, fault="edit")], better_when_adapted)
    assert (ours.value, theirs.value, theirs.baseline) == (None, 0.0, pytest.approx(0.5))
    assert {each.error for each in ours.likelihoods} == {"the training failed"}
    gone = measured([adapted()], better_when_adapted, lost={"adapters/one": "no weights"})[0]
    assert (gone.value, {each.error for each in gone.likelihoods}) == (None, {"no weights"})


def test_the_filter_takes_likelihoods_and_no_other_kind_beside_them() -> None:
    lines = [adapted(0), adapted(1)]
    scored = [line.grow(score=score) for line, score in zip(lines, measured(lines, better_when_adapted), strict=True)]
    (kept,) = keeping.run(scored).examples
    assert (kept.value, kept.baseline) == (pytest.approx(0.8), pytest.approx(0.5))
    with pytest.raises(BadLine, match=r"of another kind \(accuracy\) than those before \(likelihood:answers\)"):
        keeping.run([*scored, a_line(a_task("Bob"), [True, True])])
    (passage,) = measured(lines[1:], better_when_adapted, "passage")
    mixed = [scored[0], lines[1].grow(score=passage)]
    with pytest.raises(BadLine, match=r"of another kind \(likelihood:passage\) than those before \(likelihood:answers"):
        keeping.run(mixed)
    with pytest.raises(BadInput, match=r"different kinds \(likelihood:answers and likelihood:passage\)"):
        report.run([("both", mixed)])


def test_a_pessimistic_likelihood_is_the_least_that_it_can_be_and_its_baseline_the_most() -> None:
    def lost(request: Request) -> float:
        if "bridge" in str(request.continuation):
            raise Lost("too long")
        return 0.6 if request.adapter else 0.5

    whole, partly = measured([adapted(0), adapted(1)], lambda _: 0.75)[0], measured([adapted(1)], lost)[0]
    lines = [adapted(0).grow(score=whole), adapted(1).grow(score=partly)]
    assert keeping.run(lines).examples == ()
    (kept,) = keeping.run(lines, unscored="pessimistic").examples  # 0.6 / 2 at least, against (0.5 + 1) / 2 at most
    assert (kept.value, kept.baseline) == (pytest.approx((0.75 + 0.3) / 2), pytest.approx(0.75))
    (alone,) = keeping.run(lines[1:], unscored="pessimistic").examples
    assert alone.value == pytest.approx(0.3)
    row = report.run([("one", lines[1:])])[0]
    assert (row.mean, row.least, row.most) == (None, pytest.approx(0.3), pytest.approx(0.8))


def test_a_judge_has_nothing_to_grade_in_a_likelihood() -> None:
    (score,) = measured([adapted()], better_when_adapted)
    with pytest.raises(BadLine, match="its score is a likelihood; nothing was answered that a judge could grade"):
        Gradable()(adapted().grow(score=score))


def test_a_line_is_read_as_it_was_written_and_a_mean_that_is_none_is_refused() -> None:
    (score,) = measured([adapted()], better_when_adapted)
    line = adapted().grow(score=score)
    assert parse_record(json.loads(to_json(line))) == line
    assert "likelihoods" not in to_json(a_line(a_task(), [True, False]))
    item = Likelihood(id="q", gold="Velm", value=0.5, baseline=0.25, error=None)
    for wrong in ({"value": 0.6}, {"baseline": None}, {"value": None}):
        told = {"value": 0.5, "baseline": 0.25, "model": "m", "judge": "likelihood:answers", "answers": (), **wrong}
        with pytest.raises(ValueError, match="must be the mean of the likelihoods, null where one is"):
            Score(**told, likelihoods=(item,))


def test_what_cannot_be_measured_is_refused_before_a_model_is_loaded() -> None:
    lines = [adapted()]

    def prepare(of: Any, *, engine: str = "hf", lines: list[Record] = lines, **more: Any) -> object:
        return Eval(LocalEngine("nowhere", engine), LocalJudge(), likelihood=of, **more).prepare(
            lines, WholeSource(lines)
        )

    for named, words in (
        ({"engine": "vllm"}, "--likelihood answers: --engine vllm does not tell how likely a given text is"),
        ({"max_tokens": 8}, "--max-tokens 8: --likelihood answers writes no answers; leave one of them out"),
        ({"stop": ("\n",)}, r"--stop '\\n': --likelihood answers writes no answers; leave one of them out"),
        ({"judge_given": "exact"}, "--judge exact: --likelihood answers writes no answers"),
    ):
        with pytest.raises(BadConfig, match=words):
            prepare("answers", **named)
    with pytest.raises(BadConfig, match="--in-context: --likelihood passage asks no questions"):
        prepare("passage", in_context=True)
    with pytest.raises(BadConfig, match="--likelihood words: take answers or passage"):
        prepare("words")
    with pytest.raises(BadConfig, match="tasks of the domain arc have no gold answers or passages that are texts"):
        prepare("answers", lines=[Record(task=an_arc_task())])
    for gold in (UNANSWERABLE, "Unanswerable.", "CANNOTANSWER"):
        odd = a_task(pairs=[("Who is Bob?", gold)])
        with pytest.raises(BadLine, match="has a question without an answer, whose likelihood says nothing"):
            prepare("answers", lines=[Record(task=odd)])
    with pytest.raises(BadLine, match="has no questions"):
        prepare("answers", lines=[Record(task=a_task(pairs=[]))])
    with pytest.raises(BadLine, match="has no passage to measure"):
        prepare("passage", lines=[Record(task=make_task("Ada", " ", [("Who?", "Ada")]))])
