"""A safetensors header is read without its tensors, and a file that is not whole is named with what is wrong."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from stages.errors import BadInput, MissingInput
from stages.models.safetensors_header import BITS, TensorInfo, read_header

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAIR = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "U8", "shape": [3, 1]}}
PAIR["b"]["data_offsets"] = [8, 11]


def raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file's bytes: the length of its header (or another one), the header, the tensors."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def written(folder: Path, content: bytes) -> Path:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return path


def of(folder: Path, entries: object, size: int = 11) -> Path:
    return written(folder, raw(json.dumps(entries).encode(), bytes(size)))


def changed(**entries: Mapping[str, Any]) -> dict[str, Any]:
    """PAIR with other values in some entries."""
    return {name: {**entry, **entries.get(name, {})} for name, entry in PAIR.items()}


def refusal(path: Path) -> str:
    """The message of the refusal, which names the file and says nothing that a terminal would obey."""
    with pytest.raises(BadInput) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def test_names_dtypes_shapes_and_metadata_are_those_that_safetensors_wrote(tmp_path: Path) -> None:
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
    assert header.metadata == {"format": "pt", "note": "ö"}
    with safe_open(tmp_path / "x.safetensors", "pt") as theirs:
        assert set(header) == set(theirs.keys())
        for name, info in header.items():
            part = theirs.get_slice(name)
            assert info == TensorInfo(part.get_dtype(), tuple(part.get_shape()))
            assert info.bytes == tensors[name].nbytes


def test_a_file_without_metadata_and_without_tensors_is_whole(tmp_path: Path) -> None:
    header = read_header(written(tmp_path, raw(b"{}")))
    assert (dict(header), dict(header.metadata)) == ({}, {})


def test_a_file_of_the_model_library_is_read(model_dir: Path) -> None:
    header = read_header(model_dir / "model.safetensors")
    assert header["model.embed_tokens.weight"] == TensorInfo("F32", (300, 32))
    assert header.metadata == {"format": "pt"}


def test_only_the_header_is_read_however_large_the_tensors_are(tmp_path: Path) -> None:
    size = 1 << 40
    path = of(tmp_path, {"big": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}, 0)
    os.truncate(path, path.stat().st_size + size)  # a sparse file of a terabyte
    assert read_header(path)["big"].bytes == size


def test_every_dtype_that_safetensors_writes_is_known() -> None:
    from safetensors import torch as theirs

    assert set(theirs._TYPES) <= set(BITS)
    assert all(dtype and BITS[name] == 8 * dtype.itemsize for name, dtype in theirs._TYPES.items())


WRONG = [
    (b"", "0 bytes, too short for a safetensors file; copy or download it again"),
    (b"\x02\0\0\0\0\0\0", "7 bytes, too short for a safetensors file"),
    (raw(b"{}", length=1 << 60), f"not safetensors (its header would be {1 << 60} bytes long)"),
    (raw(b"{}", length=3), "cut off within its header of 3 bytes (10 are there); copy or download it again"),
    (b"<!DOCTYPE html>  not found", "a web page or an XML answer of a server, not the file; fetch it again"),
    (raw(b'{"a": '), "its header is not JSON (Expecting value at character 6)"),
    (raw(b"\xff{}"), "its header is not UTF-8"),
    (raw(b"[]"), "its header is a JSON list, not an object"),
    (raw(b'{"a":' * 90_000), "its header is nested too deeply"),
    (raw(b"[" * 90_000), "its header is nested too deeply"),
    (raw(b'{"a": NaN}'), "its header is not JSON (NaN)"),
    (raw(b'{"a": {}, "a": {}}'), "its header names 'a' twice"),
    (raw(b'{"\\ud800": {}}'), "its header names '\\ud800', which is no text"),
    (raw(b'{"a": ' + b"9" * 5000 + b"}"), "its header has a number of 5000 digits"),
    (raw(b'{"a": 1}'), "tensor 'a' is a JSON int, not an object"),
    (raw(b'{"__metadata__": {"a": 1}}'), "its __metadata__ is not an object of texts"),
    (raw(b'{"__metadata__": {"a": "\\udfff"}}'), "its __metadata__ is not an object of texts"),
    (raw(b'{"__metadata__": []}'), "its __metadata__ is not an object of texts"),
    (raw(b'{"\\u001b[2J": 1}'), "tensor '\\x1b[2J' is a JSON int, not an object"),
    (raw(b'{"' + b"x" * 9999 + b'": 1}'), f"tensor '{'x' * 99}\\u2026' is a JSON int, not an object"),
]


@pytest.mark.parametrize(("content", "words"), WRONG, ids=[words[:30] for _, words in WRONG])
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    assert refusal(written(tmp_path, content)).startswith(words)


ENTRIES = [
    (changed(a={"dtype": "F33"}), "tensor 'a' has the unknown dtype 'F33'"),
    (changed(a={"dtype": ["F32"]}), "tensor 'a' has the unknown dtype \"['F32']\""),
    (changed(a={"shape": [3]}), "tensor 'a' has a shape and dtype that do not fit its 8 bytes"),
    (changed(a={"shape": [True, 2]}), "tensor 'a' has no shape of at most 64 whole numbers"),
    (changed(a={"shape": [-1, -2]}), "tensor 'a' has no shape of at most 64 whole numbers"),
    (changed(a={"shape": "2"}), "tensor 'a' has no shape of at most 64 whole numbers"),
    (changed(a={"shape": [2] + 64 * [1]}), "tensor 'a' has no shape of at most 64 whole numbers"),
    (changed(a={"data_offsets": [8, 0]}), "tensor 'a' has no data_offsets [begin, end]"),
    (changed(a={"data_offsets": [0.0, 8.0]}), "tensor 'a' has no data_offsets [begin, end]"),
    (changed(a={"data_offsets": [0, 8, 8]}), "tensor 'a' has no data_offsets [begin, end]"),
    (changed(b={"data_offsets": [7, 10]}), "tensor 'b' overlaps the tensor before it"),
    (changed(b={"data_offsets": [9, 12]}), "tensor 'b' leaves a hole before it"),
    (changed(a={"data_offsets": [3, 11]}), "tensor 'a' leaves a hole before it"),
]


@pytest.mark.parametrize(("entries", "words"), ENTRIES, ids=range(len(ENTRIES)))
def test_an_entry_that_does_not_fit_is_named(tmp_path: Path, entries: dict[str, Any], words: str) -> None:
    assert refusal(of(tmp_path, entries)) == words


def test_a_file_of_another_size_than_its_tensors_is_not_whole(tmp_path: Path) -> None:
    assert refusal(of(tmp_path, PAIR, 10)) == (
        "cut off: its header needs at least 11 bytes of tensors, the file has 10; copy or download it again"
    )
    assert refusal(of(tmp_path, PAIR, 12)) == "1 bytes more than its header tells of; copy or download it again"
    assert set(read_header(of(tmp_path, PAIR, 11))) == {"a", "b"}


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"absent: no such file; a safetensors file is needed"):
        read_header(tmp_path / "absent")
    assert refusal(tmp_path) == "not a file; a safetensors file is needed"
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    assert refusal(tmp_path / "pipe") == "not a file; a safetensors file is needed"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.floats() | st.sampled_from(["F32", "U8", "x", "\x1b[2J"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "a", "b", "__metadata__"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def accepted_by_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as theirs:
            theirs.keys()
    except SafetensorError:
        return False
    return True


def agrees(path: Path) -> None:
    """Refuses in its own words or reads; and what it reads, safetensors reads too."""
    try:
        read_header(path)
    except BadInput as error:
        assert str(error).isprintable()
        return
    assert accepted_by_safetensors(path)


@FUZZ
@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_read_as_safetensors_does(tmp_path: Path, content: bytes) -> None:
    agrees(written(tmp_path, content))


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 8))
def test_a_random_header_is_refused_or_read_as_safetensors_does(tmp_path: Path, header: bytes, size: int) -> None:
    agrees(written(tmp_path, raw(header, bytes(size))))


@FUZZ
@given(JSON, st.integers(0, 12))
def test_json_of_any_kind_is_refused_or_read_as_safetensors_does(tmp_path: Path, header: object, size: int) -> None:
    agrees(of(tmp_path, header, size))


WHOLE = raw(json.dumps({"__metadata__": {"format": "pt"}, **PAIR}).encode(), bytes(11))


@FUZZ
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_file_with_one_byte_changed_is_judged_as_safetensors_judges_it(tmp_path: Path, at: int, byte: int) -> None:
    path = written(tmp_path, WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    agrees(path)
    if accepted_by_safetensors(path):
        read_header(path)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    assert refusal(written(tmp_path, WHOLE[:length]))
