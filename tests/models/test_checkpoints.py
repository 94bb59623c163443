"""Which model a stage uses, which weights a name stands for, and which run made them."""

import json
import shutil
from pathlib import Path

import pytest

from stages.models.checkpoints import (
    CHECKPOINT_FILE,
    choose_model,
    fingerprint,
    plain,
    read_checkpoint,
)
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.records.schema import Checkpoint
from stages.trainers.model_files import save_model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model in it."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_slash_at_the_end_of_a_directory_changes_nothing(place: Path) -> None:
    assert [choose_model(name, ()) for name in ("m", "m/", "m//", "./m/", f"{place}/m/")] == [
        "m",
        "m",
        "m",
        "./m",
        f"{place}/m",
    ]
    assert choose_model(None, ["m/", "m", "none"]) == "m"


def test_the_root_and_names_that_are_no_directory_stay_as_they_are(place: Path) -> None:
    assert [plain(name) for name in ("/", "//", "owner/name", "absent/")] == ["/", "/", "owner/name", "absent/"]


# ---- which weights a name stands for


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """A model of our own to change, with every file that some models have."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    for name in ("chat_template.jinja", "vocab.json", "merges.txt", "spiece.model", "qwen.tiktoken", "tekken.json"):
        (folder / name).write_text("one")
    return folder


def flip(path: Path, place: int) -> None:
    """Another byte in this place of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        "qwen.tiktoken",
        "tekken.json",
    ],
)
def test_another_model_file_is_another_model(model: Path, name: str) -> None:
    before = fingerprint(str(model))
    flip(model / name, 0)
    edited = fingerprint(str(model))
    (model / name).unlink()
    assert len({before, edited, fingerprint(str(model))}) == 3


@pytest.mark.parametrize("name", ["hf_quant_config.json", "quantize_config.json"])
def test_other_settings_of_quantized_weights_are_another_model(model: Path, name: str) -> None:
    before = fingerprint(str(model))
    (model / name).write_text('{"bits": 4}')
    assert fingerprint(str(model)) != before


def test_a_model_without_the_files_that_count_since_later_is_the_one_that_it_was(tmp_path: Path) -> None:
    for name in ("config.json", "merges.txt", "model.safetensors", "spiece.model", "tokenizer.json", "vocab.json"):
        (tmp_path / name).write_text(name)
    assert fingerprint(str(tmp_path)) == "3ad50ee1a6f7a9ce"


@pytest.mark.parametrize("place", [5_000, -1])
def test_another_byte_of_the_weights_is_another_model(model: Path, place: int) -> None:
    before = fingerprint(str(model))
    flip(model / "model.safetensors", place)
    assert fingerprint(str(model)) != before


def test_what_lies_beside_a_model_does_not_change_it(model: Path) -> None:
    before = fingerprint(str(model))
    for name in ("README.md", CHECKPOINT_FILE, "x.manifest.json"):
        (model / name).write_text("{}")
    (model / "tokenizer-backup").mkdir()
    assert fingerprint(str(model)) == before


# ---- a model that a run made


LINE = Checkpoint(model="tuned", base="m", examples=1, steps=1, loss_first=2.0, loss_last=1.0, fit={})


@pytest.fixture
def tuned(chat_dir: Path, tmp_path: Path) -> Path:
    """What a finished training leaves."""
    network, tokenizer = load_model(str(chat_dir), Device("cpu")), load_tokenizer(str(chat_dir))
    about = {"run": "r", "checkpoint": LINE.model_dump(mode="json")}
    save_model(network, tokenizer, tmp_path / "tuned", lambda folder: about)
    return tmp_path / "tuned"


def test_a_whole_model_is_known_by_the_run_that_made_it_whatever_lies_beside_it(tuned: Path) -> None:
    files = {path.name: path.stat().st_size for path in tuned.iterdir() if path.name != CHECKPOINT_FILE}
    assert json.loads((tuned / CHECKPOINT_FILE).read_text())["files"] == files
    (tuned / "README.md").write_text("mine")
    assert read_checkpoint(tuned, "r") == LINE
    assert read_checkpoint(tuned, "another") is None


def test_a_model_that_lost_a_file_or_a_part_of_one_is_not_whole(tuned: Path) -> None:
    for path in [path for path in tuned.iterdir() if path.name != CHECKPOINT_FILE]:
        data = path.read_bytes()
        path.unlink()
        assert read_checkpoint(tuned, "r") is None
        path.write_bytes(data[:-1])
        assert read_checkpoint(tuned, "r") is None
        path.write_bytes(data)
    assert read_checkpoint(tuned, "r") == LINE


@pytest.mark.parametrize("files", [None, [], ["config.json"], "config.json", {"config.json": "long"}, {"a": 1}])
def test_a_model_whose_sizes_cannot_be_told_is_not_whole(tuned: Path, files: object) -> None:
    about = json.loads((tuned / CHECKPOINT_FILE).read_text())
    (tuned / CHECKPOINT_FILE).write_text(json.dumps({**about, "files": files}))
    assert read_checkpoint(tuned, "r") is None
    (tuned / CHECKPOINT_FILE).write_text(json.dumps({key: about[key] for key in ("run", "checkpoint")}))
    assert read_checkpoint(tuned, "r") is None
