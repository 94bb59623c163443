"""Batch files from end to end: calls out, answers in, and nothing sent."""

import json
from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.invented import a_line, a_task

GENERATE = ("generate", "tasks.jsonl", "-k", "2", "--engine", "openai", "--model", "gpt-9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task(title)) for title in ("Ada", "Bo")]))
    lines = [a_line(a_task(title), [True, False], completion=title) for title in ("Ada", "Bo")]
    (tmp_path / "scores.jsonl").write_text(jsonl(lines))
    return tmp_path


def calls(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def answer(folder: Path, texts: list[str | None]) -> None:
    """What a batch service gives back, in another order; None: a call that failed there."""
    rows = []
    for call, text in zip(calls(folder), texts, strict=True):
        body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
        response = {"status_code": 500 if text is None else 200, "request_id": "r", "body": body}
        rows.append(json.dumps({"id": "b", "custom_id": call["custom_id"], "response": response, "error": None}))
    (folder / "answers.jsonl").write_text("".join(f"{row}\n" for row in reversed(rows)))


def test_calls_are_written_without_a_key_and_without_a_server(folder: Path) -> None:
    run = seal(*GENERATE, "--emit-batch", "calls.jsonl", cwd=folder, OPENAI_API_KEY="")
    assert (run.code, run.out) == (0, "")
    assert "seal generate: 4 calls in calls.jsonl; give the answers with --from-batch" in run.err
    found = calls(folder)
    assert len({call["custom_id"] for call in found}) == 4
    assert {call["url"] for call in found} == {"/v1/chat/completions"}
    body = found[0]["body"]
    assert isinstance(body, dict)
    assert (body["model"], body["max_completion_tokens"]) == ("gpt-9", 8192)
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]


def test_answers_are_joined_by_their_ids_and_what_failed_there_is_told(folder: Path) -> None:
    seal(*GENERATE, "--emit-batch", "calls.jsonl", cwd=folder)
    answer(folder, ["one", "two", None, "four"])
    run = seal(*GENERATE, "--from-batch", "answers.jsonl", "-o", "edits.jsonl", cwd=folder)
    assert run.code == 3
    edits = [json.loads(line)["edit"] for line in (folder / "edits.jsonl").read_text().splitlines()]
    assert [(edit["sample"], edit["completion"], edit["finish"]) for edit in edits] == [
        (0, "one", "stop"),
        (1, "two", "stop"),
        (0, "", "failed"),
        (1, "four", "stop"),
    ]
    assert {edit["model"] for edit in edits} == {"gpt-9"}
    answer(folder, ["one", "two", "three", "four"])  # the batch was sent once more
    again = seal(*GENERATE, "--from-batch", "answers.jsonl", "-o", "edits.jsonl", cwd=folder)
    assert (again.code, "goes on: 3 of 4 lines" in again.err) == (0, True)


def test_answers_to_other_calls_are_refused(folder: Path) -> None:
    seal(*GENERATE, "--emit-batch", "calls.jsonl", cwd=folder)
    answer(folder, ["one", "two", "three", "four"])
    run = seal(*GENERATE, "--temperature", "0.5", "--from-batch", "answers.jsonl", cwd=folder)
    assert run.code == 65
    assert "answers none of these calls; was the batch made with other settings" in run.err


def test_stored_answers_are_graded_by_a_batch(folder: Path) -> None:
    judge = ("judge", "scores.jsonl", "-j", "openai:gpt-9", "--cache", "v.sqlite")
    assert seal(*judge, "--emit-batch", "calls.jsonl", cwd=folder, OPENAI_API_KEY="").code == 0
    answer(folder, ["yes" if n % 2 else "no" for n in range(len(calls(folder)))])
    run = seal(*judge, "--from-batch", "answers.jsonl", cwd=folder, OPENAI_API_KEY="")
    assert run.code == 0
    assert {line["score"]["judge"] for line in run.lines} == {"openai:gpt-9"}
    assert f"{len(calls(folder))} calls, 0 cached, 0 failed" in run.err
    (folder / "calls.jsonl").unlink()
    seal(*judge, "--emit-batch", "calls.jsonl", cwd=folder, OPENAI_API_KEY="")
    assert calls(folder) == []  # what is in the cache needs no call


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*GENERATE, "--emit-batch", "calls.jsonl", "-o", "edits.jsonl"), 2, "leave out -o"),
        ((*GENERATE, "--emit-batch", "calls.jsonl", "--from-batch", "answers.jsonl"), 2, "one after the other"),
        ((*GENERATE, "--emit-batch", "tasks.jsonl"), 73, "is there already"),
        ((*GENERATE, "--from-batch", "nowhere.jsonl"), 66, "nowhere.jsonl"),
        ((*GENERATE, "--from-batch", "tasks.jsonl"), 65, "no custom_id"),
        (("generate", "tasks.jsonl", "--emit-batch", "c.jsonl", "--model", "m"), 78, "only with --engine openai"),
        (("judge", "scores.jsonl", "--emit-batch", "c.jsonl"), 78, "only with an openai:… judge"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    run = seal(*arguments, cwd=folder, OPENAI_API_KEY="sk-1")
    assert (run.code, words in run.err) == (code, True), run.err
