"""Few-shot lines when workers and whole runs are killed: distinct stays distinct, and no vote is asked for twice."""

import json
import signal
from pathlib import Path

import pytest

from stages.records.jsonl import to_json
from stages.records.record import Record
from tests.cli.conftest import Finished, seal
from tests.invented_grids import an_arc_task

ENGINE = """
import json, os, signal
from pathlib import Path
from stages.interfaces import Completion
from tests.invented_grids import a_choice

TOOLS = [(), ("basic",), ("size",), ("basic", "size")]


class Engine:
    def __init__(self, model, *, device, batch_size):
        self.model = model

    def sample(self, requests, progress):
        for number, request in enumerate(requests):
            progress.begin_work([request.id])
            with open("asked", "a") as asked:
                asked.write(f"{request.id}\\n")
            if number == 3 and Path("dies once").exists():
                Path("dies once").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if Path("kill at").exists() and number == int(Path("kill at").read_text()):
                os.kill(os.getppid(), signal.SIGKILL)
                signal.pause()
            answer = "[[2 1 8]]#" if "/" not in request.id else a_choice(*TOOLS[request.sampling.seed % 4])
            yield Completion(request.id, answer, "stop", 3)
            progress.end_work([request.id])
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "mortal.py").write_text(ENGINE)
    lines = [to_json(Record(task=an_arc_task(name))) for name in ("one", "two", "three")]
    (tmp_path / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def run(place: Path, command: str, *more: object) -> Finished:
    return seal(command, "tasks.jsonl", "--model", ".", "--engine", "mortal:Engine", *more, cwd=place)


def distinct(place: Path, name: str) -> Finished:
    return run(place, "generate", "-k", 5, "--unique", "--retry-invalid", 2, "-o", name)


def test_a_worker_that_dies_leaves_distinct_self_edits_distinct(place: Path) -> None:
    assert distinct(place, "whole.jsonl").code == 0
    (place / "dies once").touch()
    died = distinct(place, "again.jsonl")
    assert (died.code, "the worker died of SIGKILL" in died.err) == (0, True), died.err
    assert (place / "again.jsonl").read_text() == (place / "whole.jsonl").read_text()


@pytest.mark.parametrize("moment", [2, 7, 13])
def test_a_run_that_is_killed_goes_on_to_the_same_distinct_self_edits(place: Path, moment: int) -> None:
    assert distinct(place, "whole.jsonl").code == 0
    (place / "kill at").write_text(str(moment))
    assert distinct(place, "parts.jsonl").code == -signal.SIGKILL
    (place / "kill at").unlink()
    assert distinct(place, "parts.jsonl").code == 0
    assert (place / "parts.jsonl").read_text() == (place / "whole.jsonl").read_text()


def test_an_evaluation_that_is_killed_asks_no_vote_of_a_finished_line_again(place: Path) -> None:
    whole = run(place, "eval", "-o", "whole.jsonl")
    every = (place / "asked").read_text().splitlines()
    assert whole.code == 0, whole.err
    votes = len(every) // 3
    (place / "asked").unlink()
    (place / "kill at").write_text(str(2 * votes + 1))
    assert run(place, "eval", "-o", "parts.jsonl").code == -signal.SIGKILL
    assert len((place / "parts.jsonl.part").read_text().splitlines()) == 2
    (place / "kill at").unlink()
    on = run(place, "eval", "-o", "parts.jsonl")
    assert (on.code, "goes on: 2 of 3 lines" in on.err) == (0, True), on.err
    asked = (place / "asked").read_text().splitlines()
    assert len(asked) == (2 * votes + 2) + votes  # those of the third task twice
    assert (place / "parts.jsonl").read_text() == (place / "whole.jsonl").read_text()
    assert {json.loads(line)["score"]["value"] for line in (place / "parts.jsonl").read_text().splitlines()} == {1.0}
