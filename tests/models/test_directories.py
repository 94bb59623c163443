"""A directory is judged by settings and headers, without its tensors; a file that is not whole is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stages.errors import BadInput, MissingInput, SealError
from stages.models.directories import TensorInfo, read_header, read_metadata, read_model_tensors, read_object

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHOLE = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "U8", "shape": [3, 1], "data_offsets": [8, 11]},
}


def raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file's bytes: the length of its header (or another one), the header, the tensors."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


CONTENT = raw(json.dumps(WHOLE).encode(), bytes(11))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    """The message of the refusal, which names the file and says nothing that a terminal would obey."""
    with pytest.raises(BadInput) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def test_names_dtypes_shapes_and_metadata_are_those_that_were_written(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.zeros(3, 5, dtype=torch.bfloat16),
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 7, dtype=torch.int64),
        "flags": torch.zeros(9, dtype=torch.bool),
        "small": torch.zeros(4, dtype=torch.float8_e4m3fn),
        "ünïcode": torch.zeros(1, dtype=torch.complex64),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt", "note": "ö"})
    header = read_header(tmp_path / "x.safetensors")
    assert read_metadata(tmp_path / "x.safetensors") == {"format": "pt", "note": "ö"}
    assert {name: (info.shape, info.bytes) for name, info in header.items()} == {
        name: (tuple(tensor.shape), tensor.nbytes) for name, tensor in tensors.items()
    }
    assert (header["matrix"].dtype, header["flags"].dtype) == ("BF16", "BOOL")


def test_a_file_without_metadata_and_without_tensors_is_whole(tmp_path: Path) -> None:
    assert (read_header(written(tmp_path, raw(b"{}"))), read_metadata(tmp_path / "weights.safetensors")) == ({}, {})


def test_a_file_of_the_model_library_is_read(model_dir: Path) -> None:
    assert read_header(model_dir / "model.safetensors")["model.embed_tokens.weight"] == TensorInfo("F32", (300, 32))


def test_only_the_header_is_read_however_large_the_tensors_are(tmp_path: Path) -> None:
    size = 1 << 40
    path = written(
        tmp_path, raw(json.dumps({"big": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode())
    )
    os.truncate(path, path.stat().st_size + size)  # a sparse file of a terabyte
    assert read_header(path)["big"].bytes == size


def test_torch_is_not_imported(model_dir: Path) -> None:
    code = f"""import sys; from pathlib import Path; from stages.models.directories import read_header
assert read_header(Path({str(model_dir / "model.safetensors")!r})) and "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_dtype_that_safetensors_writes_has_its_size() -> None:
    from safetensors import torch as theirs

    assert all(TensorInfo(name, (8,)).bytes == 8 * dtype.itemsize for name, dtype in theirs._TYPES.items() if dtype)


DAMAGED = "cut off or damaged, no whole safetensors file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", f"{DAMAGED} ('header too small'); copy or download it again"),
        (raw(b"{}", length=3), f"{DAMAGED} ('invalid header length')"),
        (
            CONTENT + b"x",
            f"{DAMAGED} ('incomplete metadata, file not fully covered')",
        ),
        (raw(b'{"\x1b[2J": 1}'), f"{DAMAGED} ('invalid JSON in header: "),
        (b"<!DOCTYPE html>  not found", "a web page or an XML answer of a server, not the file; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "a Git LFS pointer, not the file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    assert refusal(written(tmp_path, content)).startswith(words)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"absent: no such file; a safetensors file is needed"):
        read_header(tmp_path / "absent")
    assert refusal(tmp_path) == "not a file; a safetensors file is needed"
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    assert refusal(tmp_path / "pipe") == "not a file; a safetensors file is needed"


@pytest.mark.parametrize("length", range(0, len(CONTENT), 3))
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    assert refusal(written(tmp_path, CONTENT[:length])).startswith("cut off")


@FUZZ
@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255))
def test_what_is_read_can_be_loaded_whatever_byte_is_changed(tmp_path: Path, at: int, byte: int) -> None:
    path = written(tmp_path, CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :])
    try:
        header = read_header(path)
    except BadInput as error:
        assert str(error).isprintable()
    else:
        assert {name: tuple(tensor.shape) for name, tensor in load_file(path).items()} == {
            name: info.shape for name, info in header.items()
        }


# ---- a model's directory


def test_the_tensors_of_a_model_are_those_it_loads_with(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir)
    assert read_model_tensors(model_dir) == {
        name: TensorInfo("F32", tuple(weight.shape)) for name, weight in network.state_dict().items()
    }


def test_shards_are_read_together(model_dir: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(model_dir).save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert read_model_tensors(tmp_path) == read_model_tensors(model_dir)
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    with pytest.raises(BadInput, match=f"{shards[1].name}: cut off"):
        read_model_tensors(tmp_path)
    shards[1].unlink()
    with pytest.raises(SealError, match=f"{shards[1].name}: no such file"):
        read_model_tensors(tmp_path)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"a": "../model.safetensors"}, "its weight_map does not name files"),
        ({"a": 3}, "its weight_map does not name files"),
        ({}, "its weight_map does not name files"),
        ([], "its weight_map does not name files"),
        ({"b": "x.safetensors"}, "has no 'b', which the index places there"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(tmp_path: Path, places: object, words: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(BadInput, match=words):
        read_model_tensors(tmp_path)


def test_a_bin_alone_is_refused_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(BadInput, match=r"only a \.bin, which is not read; take a revision with safetensors"):
        read_model_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(SealError, match="no weights"):
        read_model_tensors(tmp_path)


@FUZZ
@given(content=st.binary(max_size=50) | st.just(b"[" * 99_999) | st.just(b'{"a":' * 99_999) | st.just(b"1" * 9999))
def test_settings_of_any_bytes_are_an_object_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_object(path), dict)
    except BadInput as error:
        assert str(error).startswith(f"{path}: ")


def test_settings_that_may_not_be_read_are_not_called_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(denied))
    with pytest.raises(BadInput, match=r"config\.json: cannot be read: Permission denied"):
        read_object(tmp_path / "config.json")
