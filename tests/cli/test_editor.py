"""Self-edits of one model teach another, and the lines say who wrote, who learned and who answered."""

from pathlib import Path

from stages.records.record import Record
from tests.cli.conftest import SMALL_LORA, jsonl, seal
from tests.invented import a_task
from tests.services.adapters import Adapters
from tests.services.behaviours import ok
from tests.services.scripted import scripted
from tests.services.scripts import always


def test_the_editor_need_not_be_the_student(tmp_path: Path, model_dir: Path) -> None:
    tasks = jsonl([Record(task=a_task())])
    with scripted(always(ok("Ada was born in Velm.\nAda built a bridge.")), models=("gpt-9",)) as server:
        asked = ("--engine", "openai", "--base-url", server.url, "--model", "gpt-9", "--chat")
        edits = seal("generate", "-k", 1, *asked, stdin=tasks, cwd=tmp_path)
    assert (edits.code, edits.lines[0]["edit"]["model"]) == (0, "gpt-9")
    adapters = seal("adapt", "--model", model_dir, "--out", "a", *SMALL_LORA, stdin=edits.out, cwd=tmp_path)
    scores = seal("eval", "--max-tokens", 4, stdin=adapters.out, cwd=tmp_path)
    (line,) = scores.lines
    assert (line["edit"]["model"], line["adapter"]["model"], line["score"]["model"]) == (
        "gpt-9",
        str(model_dir),
        str(model_dir),
    )
    assert scores.code == 0


def test_the_student_must_be_named_where_the_editor_is_no_model_here(tmp_path: Path) -> None:
    with scripted(always(ok("A line.")), models=("gpt-9",)) as server:
        asked = ("--engine", "openai", "--base-url", server.url, "--model", "gpt-9")
        edits = seal("generate", "-k", 1, *asked, stdin=jsonl([Record(task=a_task())]), cwd=tmp_path)
    run = seal("adapt", "--out", "a", stdin=edits.out, cwd=tmp_path)
    assert run.code == 66
    assert "seal: the lines name gpt-9, which is no model here: give --model DIR" in run.err


def test_a_server_answers_with_the_students_adapters(tmp_path: Path, model_dir: Path) -> None:
    tasks = jsonl([Record(task=a_task(title)) for title in ("Ada", "Bo")])
    edits = seal("generate", "-k", 1, "--model", model_dir, "--max-tokens", 8, stdin=tasks, cwd=tmp_path)
    adapters = seal("adapt", "--out", "a", *SMALL_LORA, stdin=edits.out, cwd=tmp_path)
    script = Adapters()
    with scripted(script) as server:
        asked = ("--engine", "openai", "--base-url", server.url, "--model", "m", "-o", "scores.jsonl")
        run = seal("eval", *asked, stdin=adapters.out, cwd=tmp_path)
    assert run.code == 0
    assert "note: answering with m, but adapters were trained on" in run.err
    lines = [Record.model_validate_json(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.score is not None and line.adapter is not None
        assert {answer.prediction.split(":")[0] for answer in line.score.answers if answer.prediction} == {
            line.adapter.id
        }
        assert all(str(answer.baseline_prediction).startswith("no adapter") for answer in line.score.answers)
    assert script.there == {}
