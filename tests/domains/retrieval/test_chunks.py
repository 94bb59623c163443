"""The passages of a library that a question finds, and the prompts that they stand in."""

import pickle
from pathlib import Path

import pytest

from stages import eval as evaluate
from stages.domains.arc.domain import Arc
from stages.domains.qa import QA
from stages.domains.retrieval.chunks import ChunkIndex, retrieve_chunks
from stages.errors import BadConfig, BadInput, MissingInput
from stages.interfaces import Completion
from stages.judges.exact import ExactJudge
from stages.records.record import Record
from stages.records.task import QaTask, make_task
from stages.settings import Retrieval
from tests.cli.conftest import jsonl
from tests.invented import Backwards, a_line, an_adapter

BERGWERK = make_task("Rammelsberg", "Das Bergwerk am Rammelsberg wurde 1988 geschlossen.", [])
UNIVERSITY = make_task("北京大学", "北京大学成立于1898年，是中国的一所大学。", [])
LIBRARY = make_task("مكتبة", "تقع المكتبات الكبيرة في مدينة الإسكندرية.", [])
BRIDGE = make_task("Ada", "Ada built a bridge over the river in Velm.", [("What did Ada build?", "a bridge")])
INN = make_task("Inn", "The inn of Dorn serves lemon soup.", [("What is served at Dorn?", "lemon soup")])
ALL = (BERGWERK, UNIVERSITY, LIBRARY, BRIDGE, INN)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Wann schloss man die Bergwerke?", BERGWERK),
        ("哪一年成立北京大学?", UNIVERSITY),
        ("أين مكتبات المدينة الكبيرة؟", LIBRARY),
        ("Who was building bridges?", BRIDGE),
        ("Which soups are served?", INN),
    ],
)
def test_a_question_finds_its_passage_in_its_language(question: str, wanted: QaTask) -> None:
    assert ChunkIndex.of(ALL).find(question, 1) == (wanted,)


def test_the_order_of_the_library_changes_nothing_and_equals_come_by_their_ids() -> None:
    twins = [make_task(f"Inn {n}", "An inn with a red door.", []) for n in range(9)]
    one, other = ChunkIndex.of([*ALL, *twins]), ChunkIndex.of([*reversed(twins), *reversed(ALL)])
    assert one.identity == other.identity
    found = one.find("red door", 4)
    assert found == other.find("red door", 4)
    assert [chunk.id for chunk in found] == sorted(twin.id for twin in twins)[:4]


def test_a_passage_counts_once_however_many_tasks_ask_about_it() -> None:
    again = make_task(BRIDGE.title, BRIDGE.context, [("Where is the bridge?", "Velm")])
    assert ChunkIndex.of([again, BRIDGE, INN]).find("bridge", 3) == (min(again, BRIDGE, key=lambda task: task.id),)


def test_what_shares_no_term_is_not_found_and_the_question_is_asked_without_a_passage(tmp_path: Path) -> None:
    assert ChunkIndex.of(ALL).find("zzz", 3) == ()
    assert ChunkIndex.of([make_task("", "!?", [])]).find("zzz", 3) == ()
    task = make_task("Zzz", "Qqq.", [("Xxx?", "yyy")])
    domain, _ = retrieve(tmp_path, task, chunks=2)
    assert list(domain.queries(task, in_context=False, chat=False)) == list(
        QA().queries(task, in_context=False, chat=False)
    )


def retrieve(folder: Path, *tasks: QaTask, chunks: int | None = None) -> tuple[QA, dict[str, object]]:
    file = folder / "library.jsonl"
    file.write_text(jsonl(Record(task=task) for task in ALL))
    domain, settings = retrieve_chunks(QA(), tasks, Retrieval(file, chunks), in_context=False)
    assert isinstance(domain, QA)
    return domain, dict(settings)


def test_the_own_passage_alone_makes_the_in_context_prompt(tmp_path: Path) -> None:
    domain, settings = retrieve(tmp_path, BRIDGE, INN, chunks=1)
    for task in (BRIDGE, INN):
        seen = list(domain.queries(task, in_context=False, chat=False))
        assert seen == list(QA().queries(task, in_context=True, chat=False))
    assert settings["chunks"] == 1


def test_several_passages_stand_in_the_prompt_the_best_first_and_the_answer_names_them(tmp_path: Path) -> None:
    task = make_task("Ada", "", [("Which bridge is near the inn?", "none")])
    domain, _ = retrieve(tmp_path, task)
    (query,) = domain.queries(task, in_context=False, chat=False)
    assert f"Passage:\nAda\n{BRIDGE.context}\n\nInn\n{INN.context}\n\nQuestion: Topic: Ada\n" in str(query.prompt)
    (answer,) = domain.make_answers(task, [Completion("", "none", "stop", 1)], in_context=False)
    assert answer.chunks == (BRIDGE.id, INN.id)


def test_a_worker_elsewhere_asks_the_same(tmp_path: Path) -> None:
    domain, _ = retrieve(tmp_path, BRIDGE)
    (tmp_path / "library.jsonl").unlink()
    there = pickle.loads(pickle.dumps(domain))  # noqa: S301
    assert list(there.queries(BRIDGE, in_context=False, chat=True)) == list(
        domain.queries(BRIDGE, in_context=False, chat=True)
    )


def test_what_a_finished_line_knows_of_the_plain_model_names_its_passages_too(tmp_path: Path) -> None:
    domain, _ = retrieve(tmp_path, BRIDGE)
    line, settings = a_line(BRIDGE, [True]).grow(score=None), {"domain": domain, "judge": ExactJudge()}
    assert line.edit is not None
    lost = line.grow(adapter=an_adapter(line.edit, 1, fault="edit"))
    (made,) = evaluate.run([line], Backwards(lambda _: "a bridge"), **settings)
    afresh, resumed = (
        list(evaluate.run([lost], Backwards(lambda _: "a bridge"), **settings, known=known)) for known in ([], [made])
    )
    assert afresh == resumed
    assert resumed[0].score is not None
    assert resumed[0].score.answers[0].chunks[0] == BRIDGE.id


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="--chunks 2: passages that are retrieved: give --retrieve FILE, too"):
        retrieve_chunks(QA(), [], Retrieval(None, 2), in_context=False)
    with pytest.raises(BadConfig, match="--in-context shows the passage itself"):
        retrieve_chunks(QA(), [], Retrieval(tmp_path, None), in_context=True)
    with pytest.raises(BadConfig, match="tasks of the domain arc have no passages to find"):
        retrieve_chunks(Arc(), [], Retrieval(tmp_path, None), in_context=False)


def test_a_library_without_passages_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"--retrieve .*no\.jsonl: no such file"):
        retrieve_chunks(QA(), [], Retrieval(tmp_path / "no.jsonl"), in_context=False)
    file = tmp_path / "empty.jsonl"
    file.write_text(jsonl([Record(task=BRIDGE), Record(task=make_task("Bo", " ", [("Who?", "Bo")]))]))
    with pytest.raises(BadInput, match=r"--retrieve .*empty\.jsonl, line 2: task 'Bo' has no passage"):
        retrieve_chunks(QA(), [], Retrieval(file), in_context=False)
