"""Copies of a model on a machine's own disk: made once, of what is read, and never of half a model."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from stages.models import loading, local_copies
from stages.models.device import Device
from stages.models.loading import load_model
from stages.models.local_copies import MODEL_CACHE, find_local_copy

FILES = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "{}", "preprocessor_config.json": "{}"}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shared" / "model"
    folder.mkdir(parents=True)
    for name, text in {**FILES, "pytorch_model.bin": "the same weights", "README.md": "words"}.items():
        (folder / name).write_text(text)
    monkeypatch.setenv(MODEL_CACHE, str(tmp_path / "disk"))
    return folder


def list_copies(model: Path) -> list[str]:
    return sorted(path.name for path in (model.parents[1] / "disk").iterdir() if path.is_dir())


def test_without_a_cache_a_model_is_read_where_it_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_local_copy("a/name-of-the-hub") == "a/name-of-the-hub"
    monkeypatch.delenv(MODEL_CACHE)
    assert find_local_copy(str(model)) == str(model)


def test_all_workers_of_a_machine_share_one_copy_of_what_they_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = list[str](), shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda *paths: (copied.append(Path(paths[0]).name), copy(*paths)))
    found: list[str] = []
    workers = [threading.Thread(target=lambda: found.append(find_local_copy(str(model)))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(found), len(set(found))) == (4, 1)
    assert sorted(copied) == sorted(FILES)
    assert {path.name: path.read_text() for path in Path(found[0]).iterdir()} == FILES


def test_a_model_that_was_trained_again_is_another_copy(model: Path) -> None:
    """Also where sizes and times are the same, as an archive may set them."""
    found = []
    for weights in ("weights", "WEIGHTS"):
        (model / "model.safetensors").write_text(weights)
        os.utime(model / "model.safetensors", ns=(0, 0))
        copy = find_local_copy(str(model))
        assert (Path(copy) / "model.safetensors").read_text() == weights
        found.append(Path(copy).name)
    assert list_copies(model) == sorted(found)


@pytest.mark.parametrize("damaged", ["wei", "weighty"])
def test_a_copy_with_other_content_is_made_anew_and_leftovers_go(damaged: str, model: Path) -> None:
    copy = Path(find_local_copy(str(model)))
    (copy / "model.safetensors").write_text(damaged)
    (copy.parent / f"{copy.name}.abcdefgh.part").mkdir()
    assert find_local_copy(str(model)) == str(copy)
    assert (copy / "model.safetensors").read_text() == "weights"
    assert list_copies(model) == [copy.name]


def test_a_model_that_changes_meanwhile_is_no_copy(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copyfile

    def change(source: Path, target: Path) -> None:
        source.write_text(source.read_text().upper())
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", change)
    with pytest.raises(local_copies.BadInput, match="it changed while it was copied"):
        find_local_copy(str(model))
    assert list_copies(model) == []


def test_weights_are_read_from_the_copy(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change_copy(name: str) -> str:
        file = Path(find_local_copy(name)) / "model.safetensors"
        data = file.read_bytes()
        file.write_bytes(data[:-4] + b"\0\0\xf6\x42")  # the last weight is 123
        return str(file.parent)

    monkeypatch.setenv(MODEL_CACHE, str(tmp_path))
    monkeypatch.setattr(loading, "find_local_copy", change_copy)
    weights = load_model(str(model_dir), Device("cpu")).state_dict().values()
    assert any(weight.flatten()[-1] == 123.0 for weight in weights)
