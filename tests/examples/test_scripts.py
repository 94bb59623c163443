"""The example scripts and the Makefile's rounds, run as a reader would run them, at a small size."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, paper_file
from tests.forked import forked_seal

SMALL = {"CONTEXTS": "2", "K": "2", "SEEDS": "1", "SEED": "3"}
HELD_OUT = (ROOT / "examples/tiny/heldout.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:2]


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in the project's folder, one thread, no hub. Fails with its stderr."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def make(*arguments: str, folder: Path, **variables: str) -> str:
    """`make` with a run folder of its own. Returns what it printed."""
    held_out = folder / "heldout.jsonl"
    if not held_out.exists():
        held_out.write_text("".join(HELD_OUT), encoding="utf-8")
    chosen = {**SMALL, "HELDOUT": str(held_out), "HELD_K": "1", **variables}
    settings = [f"{name}={value}" for name, value in chosen.items()]
    command = [
        "make",
        "--no-print-directory",
        *arguments,
        f"RUN={folder}",
        f"SEAL={forked_seal()}",
        "INSTALLED=",
        *settings,
    ]
    return run(command).stdout


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def invented_squad(path: Path) -> Path:
    """Two paragraphs in SQuAD's own layout."""
    qas = [{"id": "q", "question": "What is red?", "answers": [{"text": "the door", "answer_start": 0}]}]
    paragraphs = [{"context": f"The door of house {n} is red.", "qas": qas} for n in (1, 2)]
    path.write_text(json.dumps({"data": [{"title": "Houses", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds on the tiny world, made from the second."""
    folder = tmp_path_factory.mktemp("rounds")
    make("round", folder=folder, ROUND="2")
    return folder


def test_round_two_makes_round_one_first_and_starts_from_its_model(rounds: Path) -> None:
    for number in (1, 2):
        folder = rounds / f"round-{number}"
        sizes = {name: len(lines(folder / f"{name}.jsonl")) for name in ("tasks", "edits", "adapters", "scores", "sft")}
        assert sizes == {"tasks": 2, "edits": 4, "adapters": 4, "scores": 4, "sft": 2}
        assert (folder / "model" / "model.safetensors").is_file()
    assert {edit["edit"]["model"] for edit in lines(rounds / "round-2/edits.jsonl")} == {str(rounds / "round-1/model")}  # type: ignore[index]


def test_rounds_share_no_task(rounds: Path) -> None:
    first, second = ({line["task"]["id"] for line in lines(rounds / f"round-{n}/tasks.jsonl")} for n in (1, 2))  # type: ignore[index]
    assert not first & second


def test_a_finished_round_is_not_made_again(rounds: Path) -> None:
    assert "seal" not in make("round", folder=rounds, ROUND="2")


def test_only_what_is_missing_is_made_again(rounds: Path) -> None:
    (rounds / "round-2" / "sft.jsonl").unlink()
    again = make("round", folder=rounds, ROUND="2")
    assert "seal filter" in again
    assert "seal sft" in again
    assert "seal adapt" not in again


def test_the_ladder_measures_every_round_on_held_out_tasks(rounds: Path) -> None:
    make("--jobs=2", "ladder", folder=rounds, ROUNDS="2")
    assert (rounds / "ladder.png").read_bytes().startswith(b"\x89PNG")
    for row in ("none", "passage", "self", "round-1", "round-2"):
        assert [line["score"]["judge"] for line in lines(rounds / f"heldout/{row}.jsonl")] == ["exact"] * 2  # type: ignore[index]


def test_the_loop_as_a_pipe_gives_the_next_model(tmp_path: Path) -> None:
    done = run(["examples/tiny/loop.sh"], RUN=str(tmp_path), CONTEXTS="2", K="2")
    assert json.loads(done.stdout)["model"] == str(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").is_file()
    assert len(lines(tmp_path / "sft.jsonl")) == 2


@pytest.mark.parametrize("real", [True, False], ids=["real passages", "an invented file"])
def test_a_squad_round_runs(tmp_path: Path, real: bool) -> None:
    source = paper_file("squad_val.json") if real else invented_squad(tmp_path / "squad.json")
    run(
        ["examples/squad/round.sh"],
        **SMALL,
        RUN=str(tmp_path),
        MODEL="examples/tiny/model",
        TASKS=str(source),
        GENERATE="--max-tokens 40",
        ADAPT="--epochs 1",
        SEAL=str(forked_seal()),
    )
    assert len(lines(tmp_path / "round-1" / "scores.jsonl")) == 4
