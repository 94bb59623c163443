"""adapter → score where answers are grids: votes on the line, one baseline for all, nothing unscored that is wrong."""

from collections.abc import Callable, Iterable, Iterator

from stages import eval as stage
from stages.domains.arc.domain import Arc
from stages.domains.arc.voting import prompt_variants
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.judges.exact import ExactJudge
from stages.records.record import Record
from stages.records.score import GridAnswer
from tests.invented import Backwards, Lost, an_adapter
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task

TASK = an_arc_task()
WAYS = len(prompt_variants(TASK, in_context=False))


def adapted(sample: int = 0, fault: str | None = None) -> Record:
    edit = an_arc_edit(TASK, a_choice(epochs=sample + 1), sample)
    return Record(task=TASK, edit=edit, adapter=an_adapter(edit, fault=fault))


def grids(right: Callable[[Request], bool]) -> Backwards:
    """Answers as the grid is asked, mirrored or not: the test is 8 1 2 in one row or, turned, in one column."""

    def answer(request: Request) -> str:
        text = str(request.prompt[-1]["content"])  # type: ignore[index]
        row = text.removesuffix(" -> ")
        cells = row.translate(str.maketrans("[]\n", "   ")).split()
        said = cells[::-1] if right(request) else cells
        return ("[[" + " ".join(said) + "]]" if "\n" not in row else "[[" + "]\n [".join(said) + "]]") + "#"

    return Backwards(answer)


def scored(lines: list[Record], engine: Backwards, **more: object) -> list[Record]:
    return list(stage.run(lines, engine, domain=Arc(), judge=ExactJudge(), chat=True, **more))  # type: ignore[arg-type]


def test_the_adapted_model_and_the_plain_one_are_put_every_way() -> None:
    engine = grids(lambda request: request.adapter is not None)
    (line,) = scored([adapted()], engine)
    assert line.score is not None
    assert (line.score.value, line.score.baseline, line.score.judge) == (1.0, 0.0, "grids")
    (answer,) = line.score.answers
    assert isinstance(answer, GridAnswer)
    assert (answer.correct, answer.baseline_correct) == (True, False)
    assert (answer.prediction, answer.baseline_prediction) == ("[[2 1 8]]", "[[8 1 2]]")
    assert answer.attempts == (((2, 1, 8),),)
    assert len(answer.votes) == WAYS and all(vote.grid == ((2, 1, 8),) for vote in answer.votes)
    assert len(engine.asked) == 2 * WAYS


def test_the_plain_model_is_asked_once_for_all_adapters_of_a_task() -> None:
    engine = grids(lambda request: request.adapter is not None)
    lines = scored([adapted(0), adapted(1)], engine)
    assert len(engine.asked) == 3 * WAYS
    engine = grids(lambda request: True)
    (again,) = scored([adapted(2)], engine, known=lines)
    assert len(engine.asked) == WAYS
    assert again.score is not None and again.score.baseline == 0.0
    (answer,) = again.score.answers
    assert isinstance(answer, GridAnswer) and answer.baseline_attempts == (((8, 1, 2),),)
    (failed,) = scored([adapted(3, fault="edit")], grids(lambda request: True), known=lines)
    assert failed.score is not None and isinstance(failed.score.answers[0], GridAnswer)


def test_a_failed_self_edit_is_wrong_without_a_vote() -> None:
    (line,) = scored([adapted(fault="edit")], grids(lambda request: True))
    assert line.score is not None and (line.score.value, line.score.baseline) == (0.0, 1.0)
    (answer,) = line.score.answers
    assert isinstance(answer, GridAnswer)
    assert (answer.prediction, answer.correct, answer.reason) == (None, False, "the edit failed")
    assert (answer.attempts, answer.votes) == ((), ())


def test_one_lost_vote_leaves_the_answer_unscored_and_is_asked_for_again() -> None:
    engine = grids(lambda request: True)
    honest, lost = engine.answer, []

    def failing(request: Request) -> str:
        if request.adapter and not lost:
            lost.append(request)
            raise Lost("timeout: no answer")
        return honest(request)

    engine.answer = failing
    (line,) = scored([adapted()], engine)
    assert line.score is not None
    assert (line.score.value, line.score.bounds, line.score.baseline) == (None, (0.0, 1.0), 1.0)
    assert line.score.answers[0].reason == "timeout: no answer"
    assert not stage.plan([adapted()]).still_valid(line)


def test_a_line_is_the_same_when_it_is_read_back() -> None:
    from stages.records.jsonl import to_json
    from stages.records.parser import read_records

    lines = scored([adapted(), adapted(1, fault="edit")], grids(lambda request: True))
    assert list(read_records([to_json(line).encode() for line in lines], "f")) == lines


def test_a_line_leaves_with_its_last_vote() -> None:
    """Not with the last of the whole run: what is done is then safe."""
    others = [an_arc_task(name) for name in ("one", "two", "three")]
    engine, out = grids(lambda request: True), []
    whole = engine.sample

    def sample(requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        for number, completion in enumerate(whole(requests, progress), 1):
            yield completion
            asked.append((number, len(out)))

    asked: list[tuple[int, int]] = []
    engine.sample = sample  # type: ignore[method-assign]
    records = [Record(task=task) for task in others]
    for line in stage.run(records, engine, domain=Arc(), judge=ExactJudge(), chat=True):
        out.append(line)
    assert [there for _, there in asked][-1] >= 2
    assert len(out) == 3


def test_a_prediction_that_ends_within_its_thought_leaves_its_answer_unscored() -> None:
    engine = grids(lambda request: request.adapter is not None)
    answer, first = engine.answer, []

    def thinks(request: Request) -> str:
        first.extend([request.id] if request.adapter and not first else [])
        return "<think>\n[[2 1 8]]#" if request.id in first else f"<think>\n[[9]]#\n</think>\n{answer(request)}"

    engine.answer = thinks
    (line,) = scored([adapted()], engine)
    assert line.score is not None
    (found,) = line.score.answers
    assert (found.correct, found.baseline_correct) == (None, False)
    assert found.reason == "the model ended within its thought"
    assert stage.is_answered(line)
