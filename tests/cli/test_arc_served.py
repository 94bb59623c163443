"""Few-shot self-edits from a server: distinct ones, second tries, structured output, and runs that go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.records.jsonl import to_json
from stages.records.record import Record
from tests.cli.conftest import Finished, seal
from tests.invented_grids import a_choice, an_arc_task
from tests.services.behaviours import Behaviour, ok, status
from tests.services.scripted import Scripted, scripted
from tests.services.scripts import Script, always, in_turn

TOOLS = ("basic", "size", "chain", "repeat")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [to_json(Record(task=an_arc_task(name))) for name in ("mirror", "other")]
    (tmp_path / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def generate(folder: Path, server: Scripted, *more: object) -> Finished:
    asked = ("generate", "tasks.jsonl", "-k", 4, "--engine", "openai", "--model", "m", "--base-url", server.url)
    return seal(*asked, "--retry-for", "5", *more, cwd=folder)


def by_seed(*texts: str) -> Script:
    """The same seed gets the same answer."""

    def answer(n: int, body: Mapping[str, Any]) -> Behaviour:
        return ok(texts[body["seed"] % len(texts)])

    return answer


def chosen(text: str) -> list[tuple[str, list[str]]]:
    """(task, tools) of each line."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["task"]["id"], line["edit"]["chosen"]["tools"]) for line in lines]


def test_distinct_self_edits_are_fewer_than_asked_for_and_the_file_is_complete(folder: Path) -> None:
    with scripted(by_seed(*(a_choice(tool) for tool in TOOLS[:2]))) as server:
        first = generate(folder, server, "--unique", "-o", "edits.jsonl")
        asked = len(server.asked)
        again = generate(folder, server, "--unique", "-o", "edits.jsonl")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    found = chosen((folder / "edits.jsonl").read_text())
    assert len(found) == len({(task, *tools) for task, tools in found}) <= 4
    assert "nothing to do" in again.err
    assert len([each for each in server.asked if each.path.endswith("completions")]) == 8 <= asked


def test_without_a_file_distinct_ones_leave_on_stdout(folder: Path) -> None:
    with scripted(always(ok(a_choice("basic")))) as server:
        plain = generate(folder, server)
        unique = generate(folder, server, "--unique")
        journal = generate(folder, server, "--unique", "--journal", "kept")
    assert (len(plain.lines), len(unique.lines), len(journal.lines)) == (8, 2, 2)
    assert sorted(chosen(unique.out)) == [("mirror", ["basic"]), ("other", ["basic"])]
    assert plain.code == unique.code == journal.code == 0


def test_second_tries_make_them_distinct_where_they_can(folder: Path) -> None:
    texts = [a_choice(*tools) for tools in ((), ("basic",), ("size",), ("basic", "size"), ("chain",), ("repeat",))]
    with scripted(by_seed(*texts, "I do not know")) as server:
        once = generate(folder, server, "--unique")
        often = generate(folder, server, "--unique", "--retry-invalid", 20)
    assert once.code == often.code == 0
    assert len(once.lines) < 8 == len(often.lines)
    assert "8 out" in often.err
    assert "self-edits are asked for again" in often.err


def test_a_run_that_a_server_ends_goes_on_to_the_same_file(folder: Path) -> None:
    answers = by_seed(*(a_choice(tool) for tool in TOOLS[:3]), "no JSON")
    ways = ("--unique", "--retry-invalid", 3)
    with scripted(answers) as server:
        whole = generate(folder, server, *ways, "-o", "whole.jsonl")

        def dying(n: int, body: Mapping[str, Any]) -> Behaviour:
            return answers(n, body) if n < 11 else status(401)

    with scripted(dying) as server:
        broken = generate(folder, server, *ways, "--concurrency", 1, "-o", "parts.jsonl")
    with scripted(answers) as server:
        on = generate(folder, server, *ways, "-o", "parts.jsonl")
    assert (whole.code, broken.code, on.code) == (0, 77, 0), whole.err + broken.err + on.err
    assert "goes on" in on.err
    assert (folder / "parts.jsonl").read_text() == (folder / "whole.jsonl").read_text()


def test_structured_output_is_asked_for_and_told_on_the_line(folder: Path) -> None:
    with scripted(always(ok(a_choice("basic")))) as server:
        run = generate(folder, server, "--structured")
    bodies = [each.body for each in server.asked if each.path.endswith("completions")]
    assert {body["response_format"]["type"] for body in bodies} == {"json_schema"}
    assert all(line["edit"]["sampling"]["structured"] for line in run.lines)
    assert bodies[0]["messages"][0]["role"] == "system"
    assert (bodies[0]["temperature"], bodies[0]["top_p"], bodies[0]["max_tokens"]) == (0.8, 1.0, 128)


def test_a_refusal_is_told_as_the_models_own_and_asked_again(folder: Path) -> None:
    refused = ok("", finish="content_filter")
    with scripted(in_turn(*[refused] * 9, ok(a_choice("basic")))) as server:
        run = generate(folder, server, "--retry-invalid", 1, "--concurrency", 1)
    errors = [line["edit"]["error"] for line in run.lines]
    assert run.code == 0
    assert [error for error in errors if error] == ["refused: the content filter of the server"]


def test_a_batch_answers_once(folder: Path) -> None:
    asked = ("generate", "tasks.jsonl", "--engine", "openai", "--model", "m", "--emit-batch", "calls.jsonl")
    again = seal(*asked, "--retry-invalid", 2, cwd=folder, OPENAI_API_KEY="")
    assert (again.code, "--retry-invalid 2: a batch answers once" in again.err) == (78, True)
    first = seal(*asked, "--structured", cwd=folder, OPENAI_API_KEY="")
    assert first.code == 0, first.err
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == 30
    assert all("response_format" in call["body"] for call in calls)


def test_thoughts_are_read_over_and_one_without_an_end_is_told_and_no_reward(folder: Path) -> None:
    thought = ok(f"<think>\nNot {a_choice('size')}\n</think>\n\n{a_choice('basic')}")
    with scripted(in_turn(*[thought] * 7, ok("<think>\nSo", finish="length"))) as server:
        run = generate(folder, server, "--concurrency", 1)
    edits = [line["edit"] for line in run.lines]
    assert run.code == 3
    assert [edit["chosen"]["tools"] for edit in edits if edit["chosen"]] == [["basic"]] * 7
    assert [edit["completion"] for edit in edits if edit["error"]] == ["<think>\nSo"]
    assert "seal generate: 1 of 8 self-edits were cut off at --max-tokens" in run.err
    assert "failed, once: the model thought until --max-tokens; take more of them" in run.err
    assert "1 failed" in run.err
