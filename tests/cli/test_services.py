"""Servers that fail: what the stages do, by the table of tests/services/table.py."""

import json
from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.services.asking import CANARY
from tests.services.behaviours import Behaviour, die, echo, echo_escaped, ok, status
from tests.services.scripted import scripted
from tests.services.scripts import always, in_turn
from tests.services.table import FAILURES, Failing, run, scores, tasks

HELD = (  # the others take as long again; python -m tests.services.table runs them all
    "none",
    "400 for one prompt",
    "400 for ever",
    "401 that repeats the key",
    "429, Retry-After as a date",
    "500 for ever",
    "no answer in time, ever",
    "no choices, for one prompt",
    "dies after 3 answers",
    "dies after 3, back after 0.5 s",
    "Ctrl-C in the middle",
    "judge: INCORRECT",
    "judge: 401",
    "judge: a share fails for good",
    "judge: dies after 5 answers",
    "judge: Ctrl-C in the middle",
)


@pytest.mark.parametrize("failing", [row for row in FAILURES if row.name in HELD], ids=lambda row: row.name)
def test_a_failing_server_ends_as_the_table_says_and_the_same_command_goes_on(failing: Failing, tmp_path: Path) -> None:
    assert run(failing, tmp_path).wrong(failing) == []


def test_the_table_has_what_is_held() -> None:
    assert set(HELD) <= {row.name for row in FAILURES}


ECHOES = [ok("yes"), echo(401), echo(400), echo(500), echo_escaped(200), echo_escaped(400)]


@pytest.mark.parametrize("behaviour", ECHOES, ids=["200", "401", "400", "500", "200 escaped", "400 escaped"])
def test_a_key_is_in_no_output_log_cache_or_manifest(behaviour: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(jsonl(tasks()))
    (tmp_path / "scores.jsonl").write_text(jsonl(scores()))
    keys = {"OPENAI_API_KEY": CANARY, "SEAL_JUDGE_API_KEY": CANARY}
    calls = ("--retry-for", "0.5", "--rejects", "rejects.jsonl")
    with scripted(always(behaviour)) as server:
        ways = (
            ("generate", "tasks.jsonl", "--engine", "openai", "--model", "m", "--base-url", server.url),
            ("judge", "scores.jsonl", "-j", f"openai:m@{server.url}", "--cache", "v.sqlite"),
        )
        for number, way in enumerate(ways):
            journal = ("--journal", f"journal-{number}")
            for end in ((), ("-o", f"out-{number}.jsonl"), journal) if behaviour in ECHOES[:2] else (journal,):
                logs = {"OPENAI_LOG": "debug"} if behaviour is ECHOES[1] and not end else {}
                told = seal(*way, *calls, *end, cwd=tmp_path, **keys, **logs)
                assert told.code in (0, 3, 69, 77, 78)
                assert CANARY not in told.out + told.err
        assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {CANARY}"}
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_a_model_here_is_graded_by_a_server_and_verdicts_are_paid_for_once(tmp_path: Path, model_dir: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(jsonl(tasks()))
    with scripted(always(ok("no", usage={"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.25}))) as server:
        way = ("eval", "tasks.jsonl", "--model", model_dir, "--max-tokens", 4, "-j", f"openai:m@{server.url}")
        first = seal(*way, "--cache", "v.sqlite", cwd=tmp_path)
        calls = len(server.asked)
        second = seal(*way, "--cache", "v.sqlite", cwd=tmp_path)
        assert 0 < len(server.asked) == calls
    assert (first.code, second.code) == (0, 0)
    assert sorted(first.out.splitlines()) == sorted(second.out.splitlines())  # lines leave as they are graded
    assert {line["score"]["judge"] for line in first.lines} == {"openai:m"}
    told = f"judge openai:m: {calls} calls, 0 cached, 0 failed, 0 tried again, {9 * calls} + {calls} tokens"
    assert f"{told}, cost {0.25 * calls:.4g}" in first.err
    assert f"judge openai:m: 0 calls, {calls} cached, 0 failed" in second.err


def test_what_a_judge_left_unscored_is_told_with_the_way_to_grade_it(tmp_path: Path, model_dir: Path) -> None:
    with scripted(always(ok("perhaps"))) as server:
        way = ("--model", model_dir, "--max-tokens", 4, "-j", f"openai:m@{server.url}", "--cache", "none")
        run = seal("eval", *way, stdin=jsonl(tasks()[:1]), cwd=tmp_path)
    assert run.code == 3
    assert "asked again by: seal judge FILE -j openai:m@" in run.err
    (line,) = run.lines
    assert line["score"]["value"] is None
    assert line["score"]["bounds"] == [0.0, 1.0]
    assert {answer["reason"] for answer in line["score"]["answers"]} == {"unparsable: neither yes nor no: 'perhaps'"}


def test_a_judge_that_is_not_there_or_refuses_the_key_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")  # no model, if one looked
    way = ("eval", "--model", ".", "--retry-for", "0.5")
    gone = seal(*way, "-j", "openai:m@http://127.0.0.1:9/v1", stdin=jsonl(tasks()), cwd=tmp_path)
    assert (gone.code, "refuses the connection; start the server" in gone.err) == (69, True)


def test_a_judge_that_goes_away_costs_no_answer(tmp_path: Path, model_dir: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(jsonl(tasks()))
    script = in_turn(ok("yes"), ok("no"), ok("yes"), die())
    with scripted(script) as server:
        way = ("eval", "tasks.jsonl", "--model", model_dir, "--max-tokens", 4, "-j", f"openai:m@{server.url}")
        run = seal(*way, "--retry-for", "0.5", "--concurrency", 1, "-o", "scores.jsonl", cwd=tmp_path)
    assert run.code == 3, run.err
    assert "the judge openai:m is out of reach, and answers stay unscored from here on: http://127.0.0.1" in run.err
    lines = [Record.model_validate_json(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    answers = [answer for line in lines if line.score for answer in line.score.answers]
    assert all(answer.prediction is not None for answer in answers)
    assert [line.score.value for line in lines if line.score and line.score.value is None]
    assert {str(a.reason).split(":")[0] for a in answers if a.correct is None} == {"api_error"}
    done = seal(*way, "-o", "scores.jsonl", cwd=tmp_path)  # nobody is asked where nothing is to be done
    assert (done.code, "complete already; nothing to do" in done.err) == (3, True)
    with scripted(always(ok("yes"))) as server:
        again = seal("judge", "scores.jsonl", "-j", f"openai:m@{server.url}", "--cache", "none", cwd=tmp_path)
    assert again.code == 0
    assert all(line["score"]["value"] is not None for line in again.lines)


def test_a_cache_that_is_a_file_of_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(jsonl(scores()))
    for name in ("scores.jsonl", "out.jsonl"):
        way = ("judge", "scores.jsonl", "-j", "openai:m@http://127.0.0.1:9/v1", "--cache", name, "-o", "out.jsonl")
        run = seal(*way, cwd=tmp_path)
        assert (run.code, f"--cache {name}" in run.err) == (78, True)
    assert (tmp_path / "scores.jsonl").read_text() == jsonl(scores())


def test_another_servers_judge_of_the_same_name_is_another_judge(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(jsonl(scores()))
    way = ("judge", "scores.jsonl", "--cache", "v.sqlite", "-o", "out.jsonl")
    with scripted(always(ok("yes"))) as first, scripted(always(ok("no"))) as second:
        assert seal(*way, "-j", f"openai:m@{first.url}", cwd=tmp_path).code == 0
        refused = seal(*way, "-j", f"openai:m@{second.url}", cwd=tmp_path)
        assert (refused.code, "judge was 'openai:m@" in refused.err) == (73, True)
        other = seal(*way, "-j", f"openai:m@{second.url}", "--overwrite", cwd=tmp_path)
        assert (other.code, len(second.asked)) == (0, len(first.asked))
    values = [json.loads(line)["score"]["value"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert values == [0.0] * 8


def test_self_edits_are_rated_by_a_server_and_what_it_does_not_rate_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "edits.jsonl").write_text(jsonl([line.grow(adapter=None, score=None) for line in scores()]))
    way = ("rate", "edits.jsonl", "--engine", "openai", "--model", "m", "--concurrency", 1, "-o", "rated.jsonl")
    with scripted(in_turn(ok("Final Score: 20"), ok("Quite good."))) as server:
        first = seal(*way, "--base-url", server.url, cwd=tmp_path)
    assert first.code == 3, first.err
    lines = [json.loads(line)["score"] for line in (tmp_path / "rated.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines] == [1.0, *[None] * (len(lines) - 1)]
    assert lines[1]["rating"]["error"] == "unparsable: no `Final Score: N` in 'Quite good.'"
    with scripted(always(ok("Final Score: 4"))) as server:
        again = seal(*way, "--base-url", server.url, "--overwrite", cwd=tmp_path)
    assert again.code == 0, again.err
    kept = seal("filter", "rated.jsonl", cwd=tmp_path)
    assert (kept.code, {line["value"] for line in kept.lines}) == (0, {0.0, 1.0}), kept.err


def test_questions_that_a_server_did_not_try_make_the_run_incomplete_and_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(jsonl(tasks()[:1]))
    way = ("quiz", "tasks.jsonl", "--given", "--engine", "openai", "--model", "m", "-j", "exact", "--retry-for", "0.2")
    with scripted(in_turn(ok("one"), status(400, "not this one"))) as server:
        first = seal(*way, "--base-url", server.url, "--concurrency", 1, "-o", "quiz.jsonl", cwd=tmp_path)
    assert (first.code, "failed, once: unchecked: " in first.err) == (3, True), first.err
    with scripted(always(ok("one"))) as server:
        again = seal(*way, "--base-url", server.url, "-o", "quiz.jsonl", "--overwrite", cwd=tmp_path)
    assert again.code == 0, again.err
    (line,) = [json.loads(text) for text in (tmp_path / "quiz.jsonl").read_text().splitlines()]
    assert {each["reason"] for each in line["quiz"]["dropped"]} == {"not answered with the passage in sight"}
