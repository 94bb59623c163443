"""`seal sft` and the directory that it writes: what is never replaced, and what is trained again."""

import shutil
from pathlib import Path

import pytest

from stages.records import SftExample
from tests.cli.conftest import SMALL_LORA, Finished, jsonl, seal

PAIRS = jsonl(
    SftExample(
        prompt="Read.", completion=f"Inn {n} is red.", task_id=f"t{n}", edit_id=f"e{n}", value=1.0, baseline=None
    )
    for n in range(2)
)


@pytest.fixture
def place(model_dir: Path, tmp_path: Path) -> Path:
    """A folder with a model of our own."""
    shutil.copytree(model_dir, tmp_path / "model")
    return tmp_path


def sft(place: Path, out: str, *more: str, model: str = "model") -> Finished:
    return seal("sft", "--model", model, "--out", out, *SMALL_LORA, *more, stdin=PAIRS, cwd=place)


@pytest.mark.parametrize("out", ["model", "./model/", "there/../model", "link/model"])
def test_the_model_that_is_trained_is_never_replaced(place: Path, out: str) -> None:
    (place / "link").symlink_to(place)
    (place / "there").mkdir()
    before = (place / "model" / "model.safetensors").read_bytes()
    refused = sft(place, out, "--overwrite")
    words = f"seal: --out {Path(out)}: is the model that is trained; give another directory\n"
    assert (refused.code, refused.err) == (73, words)
    assert (place / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("goal", ["model", "other", "absent"])
def test_a_symlink_is_never_replaced(place: Path, goal: str) -> None:
    shutil.copytree(place / "model", place / "other")
    (place / "next").symlink_to(goal)
    refused = sft(place, "next", "--overwrite")
    assert (refused.code, refused.err) == (73, "seal: --out next: a symlink; give the directory itself\n")
    assert (place / "next").is_symlink()


def test_a_whole_model_is_not_trained_again_and_one_that_lost_a_file_is(place: Path) -> None:
    first = sft(place, "next")
    assert first.code == 0, first.err
    again = sft(place, "next", model="model/")
    assert (again.code, again.out, "nothing to train" in again.err) == (0, first.out, True)
    (place / "next" / "tokenizer.json").unlink()
    refused = sft(place, "next")
    assert (refused.code, "--out next: exists already; give --overwrite" in refused.err) == (73, True)
    mended = sft(place, "next", "--overwrite")
    assert (mended.code, mended.out, "nothing to train" in mended.err) == (0, first.out, False)
    assert (place / "next" / "tokenizer.json").is_file()
