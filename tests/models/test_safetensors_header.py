"""A safetensors header is read without its tensors, and a file that is not whole is named with what is wrong."""

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

from stages.errors import BadInput, MissingInput
from stages.models.safetensors_header import TensorInfo, read_header, read_metadata

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
    code = f"""import sys; from pathlib import Path; from stages.models.safetensors_header import read_header
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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
