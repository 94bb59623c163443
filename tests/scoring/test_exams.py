"""Adapters that answer tasks of another file: instead of their own, and beside them."""

from pathlib import Path

import pytest

from stages import eval as stage
from stages.domains.qa import QA
from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.interfaces import Request
from stages.judge import Gradable
from stages.judges.exact import ExactJudge
from stages.records.jsonl import encode_line
from stages.records.parser import parse_record
from stages.records.record import Origin, Record
from stages.records.strict_json import parse_json
from stages.records.task import Task
from stages.scoring.exams import list_exam_lines, read_exam, refuse_other_tasks, require_adapters
from stages.scoring.grading import get_owner_id
from tests.invented import Backwards, Lost, a_task, an_adapter, an_edit

ANCHORS = (a_task("Bo"), a_task("Cy"))


def adapted(title: str = "Ada", seed: int = 0, **lost: str) -> Record:
    task = a_task(title)
    return Record(task=task, edit=an_edit(task), adapter=an_adapter(an_edit(task), seed, path=f"to/{seed}", **lost))


def student(request: Request) -> str:
    """Knows where people were born until it is adapted, and bridges always."""
    if "born" in str(request.prompt):
        return "no idea" if request.adapter else "Velm"
    return "a bridge"


def score(lines: list[Record], engine: Backwards, **settings: object) -> list[Record]:
    return list(stage.run(lines, engine, domain=QA(), judge=ExactJudge(), **settings))  # type: ignore[arg-type]


def file_of(tmp_path: Path, *lines: Record) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b"".join(map(encode_line, lines)))
    return path


def read(path: Path) -> tuple[Task, ...]:
    return read_exam(path, "--on", "qa", QA().check)


# ---- other tasks instead


def test_every_adapter_has_a_line_for_every_task_and_the_baseline_of_a_task_is_asked_once() -> None:
    engine, lines = Backwards(student), [adapted(seed=0), adapted(seed=1)]
    made = score(list_exam_lines(lines, ANCHORS), engine)
    assert len({get_owner_id(line) for line in made}) == 4
    assert sum(request.adapter is None for request in engine.asked) == 2 * 2
    assert len({request.id for request in engine.asked}) == len(engine.asked) == 4 + 4 * 2
    for line in made:
        assert line.score is not None and line.adapter is not None and line.adapter.origin is not None
        assert (line.score.value, line.score.baseline, line.edit) == (0.5, 1.0, None)
        assert line.adapter.origin.task_id == lines[0].task.id
        assert lines[0].edit is not None
        assert line.adapter.origin.edit_id == lines[0].edit.id


def test_an_adapter_that_several_lines_share_is_asked_once() -> None:
    line = adapted()
    made = list_exam_lines([line, line.grow(task=a_task("Di"), edit=None, meta={"second": 2})], ANCHORS)
    assert len(made) == 2
    assert [each.adapter and each.adapter.origin and each.adapter.origin.task_id for each in made] == [line.task.id] * 2
    assert line.adapter is not None
    pooled = line.grow(adapter=line.adapter.model_copy(update={"fit": {"rank": 4, "pool": {}}}))
    asked = list_exam_lines([pooled, pooled.grow(task=a_task("Di"), edit=None)], ANCHORS)
    assert [each.adapter and each.adapter.origin for each in asked] == [Origin(task_id=None, edit_id=None)] * 2
    assert len(score(asked, Backwards(student))) == 2


def test_such_a_line_reads_back_and_can_be_judged_and_scored_again() -> None:
    made = score(list_exam_lines([adapted()], ANCHORS), Backwards(student))
    check = Gradable()
    for line in made:
        assert parse_record(parse_json(encode_line(line))) == line
        check(line)
    again = list_exam_lines(made, ANCHORS)
    assert [line.adapter for line in again] == [line.adapter for line in list_exam_lines([adapted()], ANCHORS)]


def test_a_line_without_an_adapter_has_nobody_to_ask() -> None:
    with pytest.raises(BadLine, match="no adapter for --on to ask; the plain model is: seal eval FILE"):
        stage.Scorable(QA(), on_others=True)(Record(task=a_task()))
    stage.Scorable(QA(), on_others=True)(adapted().grow(task=a_task(pairs=[])))  # its own questions are not asked


def test_the_tasks_are_those_of_any_lines_each_once(tmp_path: Path) -> None:
    path = file_of(tmp_path, adapted(), adapted(seed=1), Record(task=ANCHORS[0]))
    assert [task.title for task in read(path)] == ["Ada", "Bo"]


# ---- other tasks beside


def test_the_anchors_are_answered_beside_the_own_questions() -> None:
    engine = Backwards(student)
    first, second = score([adapted(), adapted(seed=1)], engine, anchors=ANCHORS)
    for line in (first, second):
        assert line.score is not None and line.score.retention is not None
        kept = line.score.retention
        assert (line.score.value, len(line.score.answers)) == (0.5, 2)
        assert (kept.value, kept.baseline, kept.judge, len(kept.answers)) == (0.5, 1.0, "exact", 4)
        assert [anchor.task_id for anchor in kept.anchors] == [task.id for task in ANCHORS]
        assert parse_record(parse_json(encode_line(line))) == line
        assert stage.is_answered(line)
    assert sum(request.adapter is None for request in engine.asked) == 3 * 2


def test_a_known_line_gives_the_baselines_of_its_anchors_too() -> None:
    engine, known = Backwards(student), score([adapted()], Backwards(student), anchors=ANCHORS)
    score([adapted(seed=1)], engine, anchors=ANCHORS, known=known)
    assert all(request.adapter for request in engine.asked)


def test_an_anchor_that_the_engine_failed_to_answer_leaves_the_retention_open_and_is_asked_again() -> None:
    def shaky(request: Request) -> str:
        if request.adapter and "Cy" in str(request.prompt):
            raise Lost("timeout")
        return student(request)

    (line,) = score([adapted()], Backwards(shaky), anchors=ANCHORS)
    assert line.score is not None and line.score.retention is not None
    assert (line.score.value, line.score.retention.value, line.score.retention.baseline) == (0.5, None, 1.0)
    assert not stage.is_answered(line)


def test_a_self_edit_that_cannot_be_read_forgets_nothing_and_a_failed_training_is_unscored() -> None:
    unread, failed = score(
        [adapted(fault="edit"), adapted(seed=1, fault="training")], Backwards(student), anchors=ANCHORS
    )
    assert unread.score is not None and unread.score.retention is not None
    assert (unread.score.value, unread.score.retention.value) == (0.0, 1.0)
    assert failed.score is not None and failed.score.retention is not None
    assert (failed.score.value, failed.score.retention.value) == (None, None)


def test_a_line_of_the_plain_model_has_no_retention() -> None:
    (line,) = score([Record(task=a_task())], Backwards(student), anchors=ANCHORS)
    assert line.score is not None
    assert line.score.retention is None
    assert "retention" not in line.score.model_dump()


# ---- what cannot be used


def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path) -> None:
    refused = {
        "line 2: task 'Bo' has no questions": [Record(task=a_task()), Record(task=a_task("Bo", []))],
        "line 2: two different tasks have the id": [
            Record(task=a_task()),
            Record(task=a_task("Bo").model_copy(update={"id": a_task().id})),
        ],
        "no tasks in it": [],
    }
    for words, lines in refused.items():
        with pytest.raises(BadInput, match=words):
            read(file_of(tmp_path, *lines))
    with pytest.raises(BadInput, match="line 1: task 'Ada' is of the domain qa, but the adapters are of arc"):
        read_exam(file_of(tmp_path, adapted()), "--retain", "arc", QA().check)
    with pytest.raises(MissingInput, match=r"--on .*nowhere\.jsonl: no such file"):
        read(tmp_path / "nowhere.jsonl")
    (tmp_path / "tasks.jsonl").write_text("Ada was born in Velm.\n")
    with pytest.raises(BadInput, match=r"tasks\.jsonl"):
        read(tmp_path / "tasks.jsonl")


def test_an_anchor_with_the_id_of_another_task_is_refused() -> None:
    twin = a_task("Bo").model_copy(update={"id": a_task().id})
    with pytest.raises(BadLine, match="two different tasks have the id"):
        refuse_other_tasks([adapted()], [twin])


def test_anchors_that_no_adapter_would_answer_are_refused() -> None:
    with pytest.raises(BadConfig, match="--retain: it asks adapters, and no line has one"):
        require_adapters([Record(task=a_task("Ada"))])
    require_adapters([Record(task=a_task("Ada")), adapted()])


def test_what_to_type_for_a_file_that_is_no_lines_names_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text('[{"title": "A"}]')
    with pytest.raises(BadInput, match=rf"make tasks of it with `seal tasks {path}`"):
        read(path)
