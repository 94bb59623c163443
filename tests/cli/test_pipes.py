"""stdin and stdout: what is read, what is written, and who may print where."""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.records.frozen import content_id
from stages.records.record import Record
from tests.cli.conftest import SEAL, jsonl, passages, pipe, seal, surroundings
from tests.cli.inside import run_inside
from tests.forked import forked_seal
from tests.invented import a_line, a_task, an_adapter, an_edit, numbered

SCORES = jsonl(a_line(a_task(f"Town {n}"), [True, n % 2 == 0]) for n in range(3))
LOUD = """
import os
from stages.interfaces import Completion
from stages.judges.base import Verdict


def shout():
    print("a library prints")
    os.write(1, b"a library writes to fd 1\\n")
    os.system("echo a child prints")


class Engine:
    def __init__(self, model, *, device, batch_size):
        shout()
        self.model = model

    def sample(self, requests, progress):
        for request in requests:
            shout()
            yield Completion(request.id, "a \\x1b[31mred\\x00 answer \\u2028 \\ud800", "stop", 3)


class Doubtful:
    name = "doubtful"

    def grade(self, cases):
        for case in cases:
            shout()
            yield Verdict(None, "timeout")
"""


def test_a_dash_is_stdout_as_it_is_stdin(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text(passages(2))
    for _ in range(2):  # not a file that stands in the way of the next
        assert len(run_inside("tasks", "many.jsonl", "-o", "-", cwd=tmp_path).lines) == 2
    assert len(run_inside("filter", "-", "-o", "-", stdin=SCORES, cwd=tmp_path).lines) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["many.jsonl"]


def test_lines_that_come_late_are_read_though_the_pipe_was_left_non_blocking(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    first, rest = SCORES.split("\n", 1)
    with subprocess.Popen(
        [*SEAL, "filter", "-"], stdin=reading, stdout=subprocess.PIPE, cwd=tmp_path, env=surroundings(), text=True
    ) as command:
        os.close(reading)
        with os.fdopen(writing, "w") as feed:
            feed.write(f"{first}\n")
            feed.flush()
            while struct.unpack("i", fcntl.ioctl(feed, termios.FIONREAD, bytes(4))) != (0,):
                time.sleep(0.01)
            time.sleep(0.3)
            feed.write(rest)
        out, _ = command.communicate()
    assert (command.returncode, out.count("\n")) == (0, 3)


def test_head_ends_a_pipe_silently_with_141(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text(passages(4000))
    ended = pipe("seal tasks many.jsonl | head -1; echo ${PIPESTATUS[0]}", cwd=tmp_path)
    first, code = ended.out.splitlines()
    assert Record.model_validate_json(first)
    assert (code, ended.err) == ("141", "")


@pytest.mark.parametrize(
    "command", ["schema", "doctor --json", "merge tasks.jsonl --missing", "report tasks.jsonl --view"]
)
def test_every_command_that_writes_to_a_closed_pipe_ends_with_141_and_no_words_of_it(
    command: str, source: Path, tmp_path: Path
) -> None:
    assert seal("tasks", source, "--shard", "1/3", "-o", tmp_path / "tasks.jsonl").code == 0
    ended = pipe(f"(sleep 0.2; seal {command}; echo $? > code) | true", cwd=tmp_path)
    assert (tmp_path / "code").read_text() == "141\n", ended.err
    assert "pipe" not in ended.err.lower()


@pytest.mark.parametrize("arguments", [["tasks", "{source}"], ["schema"], ["report", "{scores}", "--json"]])
def test_a_full_disk_behind_stdout_is_74(arguments: list[str], source: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(SCORES)
    named = [text.format(source=source, scores=tmp_path / "scores.jsonl") for text in arguments]
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [forked_seal(), *named], stdout=full, stderr=subprocess.PIPE, env=surroundings(), text=True
        )
    assert run.returncode == 74
    assert run.stderr.endswith(
        "seal: no space left on the device (standard output); free some and run the same again\n"
    )
    assert "Traceback" not in run.stderr


def test_a_closed_stream_is_not_taken_by_the_next_file(source: Path, tmp_path: Path) -> None:
    """Neither is the output then lost in silence, nor are lines written to what is no stream."""
    (tmp_path / "tasks").symlink_to(source)
    shut = subprocess.run(["bash", "-c", f"{sys.executable} -m seal_cli tasks tasks >&-"], **closing(tmp_path))
    assert (shut.returncode, shut.stderr) == (74, "seal: [Errno 9] Bad file descriptor: 'standard output'\n")
    everything = f"{sys.executable} -m seal_cli tasks tasks -o out.jsonl <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", everything], **closing(tmp_path)).returncode == 0
    assert (tmp_path / "out.jsonl").read_text() == seal("tasks", source).out


def closing(folder: Path) -> dict[str, Any]:
    return {"cwd": folder, "env": surroundings(), "stderr": subprocess.PIPE, "text": True}


def test_stdout_carries_records_alone_whoever_prints(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "config.json").write_text("{}")
    task = a_task()
    edit = an_edit(task)
    lines = jsonl([Record(task=task, edit=edit, adapter=an_adapter(edit))])
    arguments = ("--model", tmp_path, "--engine", "loud:Engine", "--judge", "loud:Doubtful")
    scored = seal("eval", *arguments, stdin=lines, cwd=tmp_path)
    (line,) = scored.lines
    answers = line["score"]["answers"]
    assert [answer["prediction"] for answer in answers] == ["a \x1b[31mred\x00 answer \u2028 ?"] * 2
    assert [(answer["correct"], answer["reason"]) for answer in answers] == [(None, "timeout")] * 2
    for shout in ("a library prints", "a library writes to fd 1", "a child prints"):
        assert shout in scored.err
    assert scored.code == 3  # unscored
    assert "seal eval: 1 in, 1 out, 0 failed, 1 unscored, " in scored.err


# ---- what is read


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda line: line.replace('"temperature": 1.0', '"temperature": NaN'), "not JSON: NaN is not JSON"),
        (lambda line: line.replace('"temperature": 1.0', '"temperature": -Infinity'), "-Infinity is not JSON"),
        (lambda line: line.replace('"temperature": 1.0', '"temperature": 1e999'), "not JSON: "),
        (lambda line: line.replace("1.0", "[" * 200 + "]" * 200, 1), "not JSON: nested too deeply"),
        (lambda line: line.replace("1.0", "[" * 700 + "]" * 700, 1), "not JSON: nested too deeply"),
        (lambda line: line.replace("1.0", "[" * 100_000 + "]" * 100_000, 1), "not JSON: nested too deeply"),
        (lambda line: "[1, 2]\n", "a JSON list, but each line must be a JSON object"),
        (lambda line: "null\n", "a JSON null, but each line must be a JSON object"),
        (lambda line: line.replace('"sample": 0', '"sample": "0"'), "edit.sample: input should be a valid in"),
        (lambda line: line.replace('"sample": 0', '"sample": 0, "colour": 1'), "edit.colour: extra inputs are not"),
        (lambda line: line.encode().replace(b"Velm", b"\xff\xfe", 1), "not UTF-8 (byte "),
    ],
)  # fmt: skip
def test_a_line_that_is_not_strict_json_or_no_record_is_65_with_its_place(
    spoil: Callable[[str], str | bytes], words: str
) -> None:
    good = jsonl([a_line(a_task(), [True, False])])
    bad = spoil(good)
    failed = seal("filter", "--strict", stdin=good.encode() + (bad if isinstance(bad, bytes) else bad.encode()))
    assert (failed.code, failed.out) == (65, "")
    assert failed.err.startswith("seal: stdin:2: ")
    assert words in failed.err
    assert failed.err.count("\n") == 1


def test_byte_order_marks_crlf_blank_lines_and_u2028_are_read() -> None:
    tasks = [a_task("Ada \u2028 line"), a_task("Bo")]
    plain = jsonl(a_line(task, [True, False]) for task in tasks)
    odd = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n\r\n  \r\n").encode().removesuffix(b"\n")
    assert seal("filter", stdin=odd).out == seal("filter", stdin=plain).out
    assert len(seal("filter", stdin=odd).lines) == 2


def test_half_a_character_becomes_a_replacement_character() -> None:
    line = jsonl([a_line(a_task(), [True, False], completion="HERE")]).replace('"HERE"', '"half \\ud800."')
    (kept,) = seal("filter", stdin=line).lines
    assert kept["completion"] == "half \ufffd."


# ---- parts of the input


def ids(text: str) -> list[str]:
    return [json.loads(line)["task"]["id"] for line in text.splitlines()]


def test_shards_together_are_the_whole_and_keep_the_lines_of_a_task_together(source: Path) -> None:
    whole = seal("tasks", source).out
    parts = [seal("tasks", source, "--shard", f"{i}/3").out for i in (1, 2, 3)]
    assert sorted(line for part in parts for line in part.splitlines()) == sorted(whole.splitlines())
    assert all(parts)
    lines = [a_line(numbered(f"T{n % 4}", 1), [True], sample=n) for n in range(12)]
    shards = [seal("tasks", "/dev/stdin", "--shard", f"{i}/2", stdin=jsonl(lines)) for i in (1, 2)]
    assert {*ids(shards[0].out)}.isdisjoint(ids(shards[1].out))


def test_limit_stops_after_that_many_lines(source: Path) -> None:
    whole = seal("tasks", source).out
    limited = seal("tasks", source, "--limit", "5")
    assert limited.out.splitlines() == whole.splitlines()[:5]
    assert "seal tasks: 5 in, 5 out, " in limited.err


def test_samples_with_skips_are_disjoint_and_depend_on_the_seed_alone(source: Path, tmp_path: Path) -> None:
    first = seal("tasks", source, "--sample", "4", "--seed", "1")
    second = seal("tasks", source, "--sample", "8", "--seed", "1", "--skip", "4")
    assert len(ids(first.out)) == 4
    assert sorted(ids(first.out) + ids(second.out)) == sorted(ids(seal("tasks", source).out))
    assert "sampled 4 tasks of " in first.err
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("".join(reversed(source.read_text().splitlines(keepends=True))))
    assert sorted(ids(seal("tasks", backwards, "--sample", "4", "--seed", "1").out)) == sorted(ids(first.out))
    assert sorted(ids(seal("tasks", source, "--sample", "4", "--seed", "2").out)) != sorted(ids(first.out))
    failed = seal("tasks", source, "--sample", "9", "--skip", "4")
    assert failed.code == 78
    assert "--sample 9 --skip 4: the source has only 12 tasks" in failed.err


def test_passage_only_lines_ask_no_model_and_carry_content_ids(source: Path) -> None:
    lines = seal("generate", "-t", "none", stdin=seal("tasks", source, "--limit", "2").out).lines
    assert [line["edit"]["completion"] for line in lines] == ["", ""]
    assert [line["edit"]["id"] for line in lines] == [content_id(line["task"]["id"], "none") for line in lines]
