"""The commonest reasons for failed, worthless and unscored lines are said at the end of a run."""

from seal_cli.runs.summary import Counts, Reasons
from stages.records.record import Adapter, Gate, Record, SelfEdit, Step
from stages.records.score import AnchorAnswers, Answer, Score, make_retention
from stages.records.task import make_task

TASK = make_task("Inn", "The inn is red.", [("What colour?", "red"), ("What is red?", "the inn")])


def edit(error: str | None, finish: str = "stop") -> Record:
    found = SelfEdit.model_validate(
        {
            **{
                "id": "e",
                "sample": 0,
                "model": "m",
                "template": "t",
                "prompt": "p",
                "completion": "",
                "finish": finish,
            },
            **{"tokens": 0, "sampling": {}, "error": error},
        }
    )
    return Record(task=TASK, edit=found)


def adapter(error: str | None, fault: str | None = "training") -> Record:
    found = Adapter.model_validate(
        {
            **{"id": "a", "seed": 0, "model": "m", "path": None, "fit": {}, "train": None},
            **{"fault": fault, "error": error},
        }
    )
    return edit(None).grow(adapter=found)


def scored(*reasons: str | None) -> Record:
    answers = [
        Answer(
            id=str(place),
            prediction="red",
            correct=None if reason else True,
            reason=reason,
            baseline_prediction=None,
            baseline_correct=None,
        )
        for place, reason in enumerate(reasons)
    ]
    return adapter("ignored").grow(score=Score(value=None, baseline=None, model="m", judge="j", answers=tuple(answers)))


def told(*lines: Record) -> list[str]:
    reasons = Reasons()
    for line in lines:
        reasons.add(line)
    return [*reasons.describe()]


def test_lines_that_went_well_give_no_reason() -> None:
    assert told(edit(None), adapter(None, None)) == []


def test_reasons_that_differ_in_numbers_alone_are_one() -> None:
    first, second = (adapter(f"training diverged: the loss is nan at step {step} of 40") for step in (3, 17))
    assert told(first, second) == ["failed, 2 times: training diverged: the loss is nan at step 3 of 40"]


def test_the_models_failures_and_ours_are_told_apart() -> None:
    many = adapter("9 epochs over 250 rows are 1125 steps of 2, more than the 375 that are allowed", "edit")
    assert told(many, edit("no JSON object"), edit("the server is gone", "failed")) == [
        "worth 0, once: 9 epochs over 250 rows are 1125 steps of 2, more than the 375 that are allowed",
        "worth 0, once: no JSON object",
        "failed, once: the server is gone",
    ]


def test_a_score_line_tells_why_its_answers_are_unscored_and_nothing_older() -> None:
    assert told(scored("timeout", None), scored("timeout", "timeout")) == ["unscored, 2 times: timeout"]


def test_three_reasons_are_told_and_the_others_counted() -> None:
    lines = [adapter(word) for word in ("a", "b", "b", "c", "c", "c", "d", "d", "d", "d")]
    assert told(*lines) == [
        "failed, 4 times: d",
        "failed, 3 times: c",
        "failed, 2 times: b",
        "and one more reason, once",
    ]


def test_the_closing_line_has_all_counts() -> None:
    counts = Counts(read=250, written=500, rejected=2)
    assert counts.describe("adapt", 61.23) == "seal adapt: 250 in, 500 out, 0 failed, 0 unscored, 2 rejected, 61.2 s"


def test_refused_updates_are_counted_and_their_falls_said() -> None:
    answers = [
        Answer(id=str(n), prediction="", correct=n < 3, reason=None, baseline_prediction="", baseline_correct=True)
        for n in range(4)
    ]
    kept = make_retention([AnchorAnswers(task_id="t", answers=tuple(answers))], "exact")
    lines = []
    for limit in (0.1, 0.2, 0.3):
        gate = Gate(limit=limit, fall=0.25, refused=limit < 0.25, retention=kept)
        step, line = Step(sequence=0, number=0, before=None, gate=gate), adapter(None, None)
        assert line.adapter is not None
        lines.append(line.grow(adapter=line.adapter.model_copy(update={"step": step})))
    counts = Counts()
    for line in (*lines, lines[0].grow(score=scored("timeout").score)):
        counts.add(line)
    assert ", 2 updates refused, " in counts.describe("adapt", 1.0)
    assert (counts.list_facts()["refused"], counts.failed) == (2, 0)
    assert "refused" not in Counts().list_facts() and "refused" not in Counts().describe("adapt", 1.0)
    assert told(*lines) == ["refused, 2 times: accuracy on the anchors falls from 100.0 % to 75.0 %, by more than 0.1"]
