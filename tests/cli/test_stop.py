"""`--stop` in the shell: what is read of the flag, whose settings it belongs to, and what cannot be meant."""

import json
from pathlib import Path

import pytest

from seal_cli.exit_codes import DONE
from stages.records.record import Record
from tests.cli.conftest import jsonl
from tests.cli.inside import run_inside
from tests.invented import a_task

EVAL = ("eval", "tasks.jsonl", "--model", "model", "--max-tokens", "8", "--judge", "exact")


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    (tmp_path / "model").symlink_to(model_dir)
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task("Ada"))]))
    return tmp_path


def test_answers_end_before_the_stop_string_and_another_one_is_another_run(folder: Path) -> None:
    (free,) = run_inside(*EVAL, cwd=folder).lines
    whole = [answer["prediction"] for answer in free["score"]["answers"]]
    stop = whole[0][2:4]
    assert stop.strip() and "\\" not in stop, "else the flag says something else"
    flags = (*EVAL, "--stop", stop, "--stop", r"\n", "-o", "scores.jsonl")
    assert run_inside(*flags, cwd=folder).code == DONE
    score = json.loads((folder / "scores.jsonl").read_text())["score"]
    assert [each["prediction"] for each in score["answers"]] == [
        text.partition(stop)[0].partition("\n")[0] for text in whole
    ]
    settings = json.loads((folder / "scores.jsonl.manifest.json").read_text())["settings"]
    assert settings["sampling"]["stop"] == sorted((stop, "\n"))
    turned = (*EVAL, "--stop", r"\n", "--stop", stop, "--stop", stop, "-o", "scores.jsonl")
    assert run_inside(*turned, cwd=folder).code == DONE, "there is nothing to do"
    done = run_inside(*EVAL, "-o", "scores.jsonl", cwd=folder)
    assert (done.code, "sampling.stop was" in done.err) == (73, True), done.err
    (asked,) = run_inside("ask", "model", "What did Ada build?", "--stop", stop, "--json", cwd=folder).lines
    assert stop not in asked["answers"][0]["text"]
    assert asked["answers"][0]["finish"] == "stop"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*EVAL, "--stop", ""), "the stop string '': is empty, and would end every text before it begins; leave it"),
        ((*EVAL, "--stop", r"\d"), r"the stop string '\d': \d is none of \n, \t and \\; write \\ for a backslash"),
        (("ask", "model", "Who?", "--stop", ""), "the stop string '': is empty"),
        (("generate", "tasks.jsonl", "--model", "model", "--stop", ""), "the stop string '': is empty"),
        (("generate", "tasks.jsonl", "-t", "none", "--stop", r"\n"), r"--stop '\n': --template none asks no model"),
        (("quiz", "tasks.jsonl", "--model", "model", "--answer-stop", ""), "the stop string '': is empty"),
        (("quiz", "tasks.jsonl", "--given", "--stop", "Q"), "--stop 'Q': no questions are written; those that are"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_model_is_loaded(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run_inside(*arguments, cwd=folder)
    assert (done.code, done.out) == (78, "")
    assert told in done.err
