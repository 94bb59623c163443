"""Models in the place of adapters: what is taken, what is refused, and what readers of adapters say of them."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.engines.local import LocalEngine
from stages.engines.vllm_start import read_lora_needs
from stages.errors import BadInput
from stages.fingerprints import fingerprint_folder
from stages.models import adapter_checks
from stages.models.adapter_checks import (
    find_foreign_models,
    is_whole_adapter,
    make_adapter_check,
    make_usability_check,
    read_adapter,
)
from stages.models.checkpoints import CHECKPOINT_FILE, fingerprint
from stages.models.tuned_models import is_tuned_model, read_tuned_model

ID = "0123456789abcdef"


def make_tuned(source: Path, folder: Path, base: Path) -> Path:
    """A model's directory as `seal adapt --method full` leaves it."""
    shutil.copytree(source, folder)
    about = {"adapter": folder.name, "base": fingerprint(str(base)), "fingerprint": fingerprint_folder(folder)}
    (folder / CHECKPOINT_FILE).write_text(json.dumps(about))
    return folder


@pytest.fixture
def tuned(model_dir: Path, tmp_path: Path) -> Path:
    return make_tuned(model_dir, tmp_path / ID, model_dir)


def test_a_model_in_an_adapters_place_passes_where_its_base_is_as_it_was(
    tuned: Path, model_dir: Path, qwen_dir: Path
) -> None:
    assert is_tuned_model(tuned)
    assert not is_tuned_model(tuned.parent)
    assert is_whole_adapter(tuned)
    assert make_usability_check(str(model_dir))(tuned)
    assert not make_usability_check(str(qwen_dir))(tuned)  # which its line names
    with pytest.raises(BadInput, match="was trained on other weights than"):
        make_adapter_check(str(qwen_dir))(tuned, str(qwen_dir))
    assert find_foreign_models([(tuned, "elsewhere")], str(model_dir)) == set()
    assert find_foreign_models([(tuned, "elsewhere")], str(qwen_dir)) == {"elsewhere"}


def test_it_is_read_once_for_a_check_and_an_error_of_that_reading_is_raised(
    tuned: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, readings = make_adapter_check(str(model_dir)), list[Path]()

    def read(path: Path) -> Mapping[str, Any]:
        readings.append(path)
        if len(readings) == 2:
            raise OSError("Input/output error")
        return read_tuned_model(path)

    monkeypatch.setattr(adapter_checks, "read_tuned_model", read)
    check(tuned, str(model_dir))
    assert readings == [tuned]
    with pytest.raises(OSError, match="Input/output"):
        check(tuned, str(model_dir))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def replace_by_another(path: Path) -> None:
    about = json.loads((path / CHECKPOINT_FILE).read_text())
    (path / CHECKPOINT_FILE).write_text(json.dumps({**about, "adapter": "fedcba9876543210"}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda path: (path / "model.safetensors").write_bytes(b"12345678"), "a model that is not whole"),
    "another number": (lambda path: flip(path / "model.safetensors"), "its files are not those that were written"),
    "another setting": (lambda path: flip(path / "generation_config.json"), "its files are not those that were"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "its files are not those that were written"),
    "no seal.json": (lambda path: (path / CHECKPOINT_FILE).unlink(), "nothing says what it was trained on; give it"),
    "of a run of sft": (
        lambda path: (path / CHECKPOINT_FILE).write_text('{"run": "r"}'),
        "nothing says what it was trained on; give it as --model",
    ),
    "another's": (replace_by_another, "holds the model of adapter fedcba9876543210; make it again"),
    "a pointer": (
        lambda path: (path / "model.safetensors").write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
        ),
        "git lfs pull",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_one_that_is_not_as_it_was_written_is_refused(tuned: Path, model_dir: Path, name: str) -> None:
    damage, told = DAMAGES[name]
    damage(tuned)
    with pytest.raises(BadInput, match=f"adapter {tuned}: .*{told}"):
        read_tuned_model(tuned)
    assert not make_usability_check(str(model_dir))(tuned)
    assert not is_whole_adapter(tuned)


def test_what_takes_loras_alone_says_what_it_is(tuned: Path, model_dir: Path) -> None:
    told = f"adapter {tuned}: a whole model \\(--method full\\), no adapter; --engine hf can use it"
    for read in (read_adapter, lambda path: read_lora_needs([path])):
        with pytest.raises(BadInput, match=told):
            read(tuned)
    engine = LocalEngine(str(model_dir), name="vllm")
    (error,) = engine.find_unusable({tuned: str(model_dir)}, str(model_dir), []).values()
    assert "--engine hf can use it" in str(error)
    assert LocalEngine(str(model_dir)).find_unusable({tuned: str(model_dir)}, str(model_dir), []) == {}
