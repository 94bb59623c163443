"""Self-edits of several calls, mixes and budgets from end to end, with a scripted server as the editor."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.invented import a_task
from tests.services.behaviours import Behaviour, ok, status
from tests.services.scripted import Scripted, scripted
from tests.services.scripts import Script, prompt_of

ENTITIES = '```json\n{"summary": "Ada", "entities": ["Ada", "Velm", "a bridge", "ada"]}\n```'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task(title)) for title in ("Ada", "Bo")]))
    return tmp_path


def graph(n: int, body: Mapping[str, Any]) -> Behaviour:
    """An editor that knows what Ada is about, and nothing of Bo."""
    asked = prompt_of(body)
    if "### Entities:" not in asked:
        return ok(ENTITIES if "Ada" in asked else "There is nothing in it.")
    names = [line[2:] for line in asked.splitlines() if line.startswith("- ")]
    return ok(f"### On {' and '.join(names)}\nThey belong together.")


def write(
    folder: Path, server: Scripted, *flags: object, out: str = "edits.jsonl"
) -> tuple[int, str, list[dict[str, Any]]]:
    editor = ("--engine", "openai", "--base-url", server.url, "--model", "m", "--retry-for", "0", "--chat")
    done = seal("generate", "tasks.jsonl", *editor, *flags, "-o", out, cwd=folder)
    file = folder / out
    lines = [json.loads(line)["edit"] for line in file.read_text().splitlines()] if file.exists() else []
    return done.code, done.err, lines


def edits_of(folder: Path, script: Script, *flags: object) -> tuple[list[dict[str, Any]], Scripted]:
    with scripted(script) as server:
        code, err, lines = write(folder, server, *flags)
        assert code == 0, err
    return lines, server


def test_a_self_edit_joins_the_texts_about_pairs_and_triples_and_keeps_every_call(folder: Path) -> None:
    (ada, bo), server = edits_of(folder, graph, "-t", "entigraph", "-k", "1", "--pairs", "2")
    assert len(server.asked) == 2 + 3
    assert (ada["template"], ada["prompt"], ada["finish"], ada["error"]) == ("entigraph", "", "stop", None)
    assert ada["entities"] == ["Ada", "Velm", "a bridge"]
    first, *relations = ada["calls"]
    assert (first["about"], first["completion"]) == ([], ENTITIES)
    assert [len(call["about"]) for call in relations] == [2, 2, 3]
    assert ada["completion"].split("\n\n---\n\n") == [call["completion"] for call in relations]
    assert ada["tokens"] == sum(call["tokens"] for call in relations)
    assert len({call["seed"] for call in ada["calls"]}) == 4
    assert all(
        call["prompt"][1]["content"].endswith("\n".join(f"- {name}" for name in call["about"])) for call in relations
    )
    assert bo["completion"] == "" and bo["error"].startswith("the model named no entity of the passage, too few")
    assert bo["calls"][0]["completion"] == "There is nothing in it."


def test_such_self_edits_are_trained_on_by_text_and_a_passage_without_entities_is_worth_nothing(folder: Path) -> None:
    edits_of(folder, graph, "-t", "entigraph", "-k", "1", "--pairs", "2", "--triples", "0")
    shown = seal("adapt", "edits.jsonl", "--show-data", "--no-split-newlines", cwd=folder)
    assert [len(line["sequences"]) for line in shown.lines] == [3, 0]
    assert shown.lines[0]["sequences"][0].startswith("Ada\n### On ")
    rows = [json.loads(line) for line in (folder / "edits.jsonl").read_text().splitlines()]
    scored = "".join(json.dumps({**row, "score": {"value": 0.0}}) + "\n" for row in rows[:1])
    kept = seal("filter", stdin=scored, cwd=folder)
    assert kept.code == 65
    assert "took 3 calls (entigraph): no prompt alone has its text, so `seal sft` has nothing to learn" in kept.err


def test_a_call_that_never_came_fails_the_self_edit_and_the_same_command_asks_again(folder: Path) -> None:
    def broken(n: int, body: Mapping[str, Any]) -> Behaviour:
        return status(400) if prompt_of(body).endswith("- Velm\n- a bridge") else graph(n, body)

    flags = ("-t", "entigraph", "-k", "1", "--triples", "0")
    with scripted(broken) as server:
        code, _, (ada, _) = write(folder, server, *flags)
        assert code == 3
        assert (ada["finish"], ada["completion"], ada["tokens"]) == ("failed", "", None)
        assert "400" in ada["error"] and sorted(call["finish"] for call in ada["calls"]) == ["failed", *["stop"] * 3]
        server.script = graph
        asked = len(server.asked)
        code, _, again = write(folder, server, *flags)
    assert (code, len(server.asked) - asked) == (0, 4)  # that of Bo, who has failed by himself, stays
    assert again == edits_of(folder, graph, *flags, "--overwrite")[0]


def test_each_sample_of_a_mix_says_which_template_it_took(folder: Path) -> None:
    (folder / "mix.txt").write_text("2 rewrite\nself-qa\n")
    lines, _ = edits_of(folder, lambda n, body: ok("a line"), "-t", "mix:mix.txt", "-k", "3")
    assert sorted(line["template"] for line in lines) == ["rewrite"] * 4 + ["self-qa"] * 2
    assert all(("question-answer" in str(line["prompt"])) == (line["template"] == "self-qa") for line in lines)
    again, _ = edits_of(folder, lambda n, body: ok("a line"), "-t", "mix:mix.txt", "-k", "3", "--overwrite")
    assert again == lines
    (folder / "mix.txt").write_text("rewrite\nself-qa\n")
    with scripted(graph) as server:
        code, err, _ = write(folder, server, "-t", "mix:mix.txt", "-k", "3")
    assert (code, "text" in err, len(server.asked)) == (73, True, 0)


def test_a_mix_is_a_batch_like_any_other(folder: Path) -> None:
    (folder / "mix.txt").write_text("rewrite\nself-qa\n")
    flags = ("-t", "mix:mix.txt", "-k", "2", "--engine", "openai", "--model", "m", "--emit-batch", "calls.jsonl")
    assert seal("generate", "tasks.jsonl", *flags, cwd=folder).code == 0
    calls = [
        json.loads(line)["body"]["messages"][0]["content"] for line in (folder / "calls.jsonl").read_text().splitlines()
    ]
    assert sorted("question-answer" in call for call in calls) == [False, False, True, True]


def test_a_budget_of_tokens_is_filled_and_the_overshoot_told(folder: Path) -> None:
    with scripted(lambda n, body: ok("a line of text")) as server:
        _, _, probe = write(folder, server, "-k", "1", out="probe.jsonl")
        each = probe[0]["tokens"]
        code, err, lines = write(folder, server, "--budget-tokens", str(2 * each + 1))
        asked = len(server.asked)
        again = write(folder, server, "--budget-tokens", str(2 * each + 1))
    assert (code, len(lines)) == (0, 6)
    told = (
        f"6 self-edits of 2 tasks have {6 * each} tokens; {2 * (each - 1)} are over the budget of {2 * each + 1} a task"
    )
    assert told in err
    assert again[0] == 0 and again[2] == lines and len(server.asked) == asked


def test_a_budget_that_is_not_reached_says_that_nobody_knows_how_many_lines_there_would_be(folder: Path) -> None:
    with scripted(lambda n, body: ok("a line of text") if n < 3 else status(401)) as server:
        code, err, _ = write(folder, server, "--budget-tokens", "4000", "--max-tokens", "4000")
    assert code == 77
    assert re.search(r"ended early: [23] of at most 128 lines done and kept in edits.jsonl.part", err), err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--budget-tokens", "0"), 2, "--budget-tokens 0: should be greater than or equal to 1"),
        (("--pairs", "3"), 78, "--pairs 3: is for --template entigraph"),
        (("-t", "entigraph", "--pairs", "0", "--triples", "0"), 78, "no relation would be asked for"),
        (("-t", "entigraph", "--emit-batch", "c.jsonl"), 78, "asks about the answers to its own first calls"),
        (("--budget-tokens", "9", "--emit-batch", "c.jsonl"), 78, "--budget-tokens 9: a batch answers once"),
        (("-t", "none", "--budget-tokens", "9"), 78, "--budget-tokens 9: --template none asks no model"),
        (("-t", "mix:nowhere.txt"), 66, "mix:nowhere.txt: no such file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    folder: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    editor = ("--engine", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    done = seal("generate", "tasks.jsonl", *editor, *flags, cwd=folder)
    assert (done.code, words in done.err) == (code, True), done.err


def test_a_self_edit_of_several_calls_fills_a_budget_that_takes_more_than_one_call(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text(jsonl([Record(task=a_task())]))
    with scripted(graph) as server:
        flags = ("-t", "entigraph", "--triples", "0")
        _, _, (ada,) = write(folder, server, *flags, "-k", "1", out="probe.jsonl")
        each = [call["tokens"] for call in ada["calls"][1:]]
        budget = ("--budget-tokens", sum(each), "--max-tokens", max(each))
        _, err, lines = write(folder, server, *flags, *budget)
    assert len(lines) == 1 and "0 are over the budget" in err  # were two asked at once, one would be too many
