"""edit → score: what a rater's reply is worth, and what it leaves unscored."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages import rate
from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.filter import run as keep_best
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.rate import Rate
from stages.records.record import Record
from stages.records.score import Rating
from stages.scoring.rubric import RUBRIC, RatingScale
from stages.settings import Sampling
from stages.work import WholeSource
from tests.invented import Backwards, Lost, a_task, an_edit
from tests.invented_grids import an_arc_task

GREEDY = Sampling(temperature=0, max_tokens=99)
ADA = a_task("Ada")
SEALS = RatingScale()


def edits(*completions: str) -> list[Record]:
    return [Record(task=ADA, edit=an_edit(ADA, sample, text)) for sample, text in enumerate(completions)]


def by_key(lines: list[Record]) -> dict[str, Record]:
    return {rate.make_key(line): line for line in lines}


def rated(lines: list[Record], answer: Callable[[Request], str], scale: RatingScale = SEALS) -> list[Rating]:
    wanted = by_key(lines)
    asked = [rate.make_request(line, scale.read(), GREEDY, chat=False) for line in lines if rate.says_something(line)]
    made = {rate.make_key(line): line for line in rate.run(wanted, asked, Backwards(answer, "rater"), scale)}
    assert made.keys() == wanted.keys()
    found = [made[rate.make_key(line)].score for line in lines]
    assert all(score and score.judge == "rubric:rater" and score.rating for score in found)
    return [score.rating for score in found if score and score.rating]


def test_a_value_lies_between_the_ends_of_the_scale() -> None:
    lines = edits("alpha", "beta", "gamma")
    replies = {"alpha": "4", "beta": "12", "gamma": "20"}
    found = rated(lines, lambda asked: f"Final Score: {next(n for t, n in replies.items() if t in str(asked.prompt))}")
    assert [(rating.points, rating.value) for rating in found] == [(4, 0.0), (12, 0.5), (20, 1.0)]


def test_the_rubric_shows_the_passage_and_the_self_edit_without_thoughts() -> None:
    (line,) = edits("<think>Hm.</think>She was born in {context}.")
    prompt = rate.make_request(line, RUBRIC, GREEDY, chat=False).prompt
    assert "Title: Ada\nDocument:\nAda was born in Velm." in str(prompt)
    assert str(prompt).endswith("Implications:\nShe was born in {context}.\n")


def test_a_self_edit_that_says_nothing_is_worth_nothing_and_nobody_is_asked() -> None:
    engine = Backwards(lambda _: "Final Score: 20")
    lines = edits("  ", "A line.")
    unread = Record(task=ADA, edit=an_edit(ADA, 2).model_copy(update={"error": "no JSON"}))
    found = rated([*lines, unread], engine.answer)
    assert [(rating.value, rating.error) for rating in found] == [
        (0.0, "it says nothing"),
        (1.0, None),
        (0.0, "no JSON"),
    ]


def test_what_never_came_is_unscored_and_made_again() -> None:
    def lost(request: Request) -> str:
        if "beta" in str(request.prompt):
            raise Lost("timeout: no answer within 5 s")
        return "Rather good, I would say." if "gamma" in str(request.prompt) else "Final Score: 8"

    lines = [*edits("alpha", "beta", "gamma"), *edits("x")]
    never = lines.pop().edit
    assert never is not None
    update = {"finish": "failed", "error": "the server was gone", "completion": "", "id": "never"}
    lines.append(Record(task=ADA, edit=never.model_copy(update=update)))
    found = rated(lines, lost)
    assert [rating.value for rating in found] == [0.25, None, None, None]
    assert [str(rating.error).partition(":")[0] for rating in found] == [
        "None",
        "timeout",
        "unparsable",
        "it was never written (the server was gone); run `seal generate` again",
    ]
    scored = list(rate.run(by_key(lines), [], Backwards(lost)))
    assert not any(rate.plan(lines).still_valid(line) for line in scored[3:])


def test_a_score_that_was_cut_in_the_middle_of_its_digits_is_none() -> None:
    class Cut(Backwards):
        def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
            yield from (replace(each, finish="length") for each in super().sample(requests, progress))

    replies = {"alpha": "Final Score: 15", "beta": "Final Score: 12\nThis self-edit is goo"}
    lines = edits(*replies)
    asked = [rate.make_request(line, RUBRIC, GREEDY, chat=False) for line in lines]
    engine = Cut(lambda request: next(text for name, text in replies.items() if name in str(request.prompt)))
    made = {str(line.edit and line.edit.completion): line.score for line in rate.run(by_key(lines), asked, engine)}
    ratings = [score.rating for name in replies if (score := made[name]) and score.rating]
    assert [rating.value for rating in ratings] == [None, 0.5]
    assert str(ratings[0].error).startswith("truncated: the score in ")


def test_the_filter_keeps_the_best_rated_self_edit() -> None:
    lines = edits("alpha", "delta")
    wanted = by_key(lines)
    asked = [rate.make_request(line, RUBRIC, GREEDY, chat=False) for line in lines]
    engine = Backwards(lambda request: f"Final Score: {12 if 'delta' in str(request.prompt) else 8}")
    kept = keep_best(rate.run(wanted, asked, engine)).examples
    assert [(each.completion, each.value, each.baseline) for each in kept] == [("delta", 0.5, None)]


class Unasked:
    """An engine that must not be loaded."""

    name, served, chats = "hf", False, False

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def test_what_cannot_be_rated_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    engine = Unasked()
    arc = [Record(task=an_arc_task(), edit=an_edit(ADA))]
    with pytest.raises(BadConfig, match="are choices, no texts; a rubric has nothing to rate"):
        Rate(engine).prepare(arc, WholeSource(arc))  # type: ignore[arg-type]
    with pytest.raises(BadConfig, match="--lowest 5, --highest 5: the highest must be above"):
        Rate(engine, RatingScale(lowest=5, highest=5)).prepare(edits("x"))  # type: ignore[arg-type]
    others = [
        (".", BadInput, "a folder, not a file"),
        ("/dev/null", BadInput, "a pipe or a device, which can be read once"),
    ]
    for name, kind, words in [("none.txt", MissingInput, "no such file"), *others]:
        with pytest.raises(kind, match=f"--rubric {name}: {words}"):
            Rate(engine, RatingScale(Path(name))).prepare(edits("x"))  # type: ignore[arg-type]
    (tmp_path / "rubric.txt").write_text("How good is {title}?")
    with pytest.raises(BadConfig, match=r"does not contain \{completion\}"):
        Rate(engine, RatingScale(tmp_path / "rubric.txt")).prepare(edits("x"))  # type: ignore[arg-type]
    with pytest.raises(BadLine, match="occurs twice; give the lines of `seal generate`"):
        Rate(engine).prepare(edits("x") * 2)  # type: ignore[arg-type]
    with pytest.raises(BadLine, match=r"has no edit \(run `seal generate` first\)"):
        Rate(engine).prepare([Record(task=ADA)])  # type: ignore[arg-type]
