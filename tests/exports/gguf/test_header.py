"""A header is held against the file, whatever it says: every damaged one is refused, none takes more than it has."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import BadConfig, BadInput, SealError
from stages.exports.gguf import header
from stages.exports.gguf.header import open_gguf


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.5, 1.5, 2.5])
    writer.add_head_count([4, 4])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_add_bos_token(True)
    writer.add_tensor("one", np.arange(64, dtype=np.float32).reshape(2, 32))
    writer.add_tensor("two", np.arange(32, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_settings_and_tensors_are_those_of_the_file(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(whole)
    with open_gguf(tmp_path / "x.gguf") as file:
        assert file.architecture == "llama" and file.settings["general.name"] == "small"
        assert file.get("tokenizer.ggml.tokens", list) == ["a", "b", "c"]
        assert file.get("attention.head_count", int) == 4  # the same for each layer
        assert file.get("attention.layer_norm_rms_epsilon", float) == pytest.approx(1e-6)
        assert file.get("tokenizer.ggml.add_bos_token", bool) is True and file.get("context_length", int) is None
        one, two = file.tensors["one"], file.tensors["two"]
        assert (one.shape, one.size, two.shape, two.size) == ((2, 32), 256, (32,), 64)
        numbers = np.frombuffer(file.data[one.start : one.start + one.size], np.float32)
        assert np.array_equal(numbers, np.arange(64))


def test_every_file_that_is_cut_off_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for length in range(len(whole) - 32):  # the last tensor's padding may be missing
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"cut off or damaged|beyond the file's end|no GGUF file"), open_gguf(path):
            pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(place=st.integers(0, 500), data=st.binary(min_size=1, max_size=9))
def test_no_damage_is_a_bug_or_takes_more_than_the_file_has(
    place: int, data: bytes, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:place] + data + whole[place + len(data) :])
    try:
        with open_gguf(path) as file:
            assert sum(each.size for each in file.tensors.values()) <= len(whole) + len(data)
    except SealError:
        pass


@pytest.mark.parametrize(
    ("place", "code", "number", "words"),
    [
        (8, "Q", 2**63, "cut off or damaged"),  # tensors
        (16, "Q", 2**62, "cut off or damaged"),  # settings
        (24, "Q", 2**60, "cut off or damaged"),  # the first key's length
        (4, "I", 1, "GGUF version 1, and versions 2 and 3 are read"),
        (4, "I", 3 << 24, "another order of bytes"),
    ],
)
def test_numbers_that_cannot_be_are_refused_at_once(
    place: int, code: str, number: int, words: str, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    said = struct.pack(f"<{code}", number)
    path.write_bytes(whole[:place] + said + whole[place + len(said) :])
    with pytest.raises(SealError, match=words), open_gguf(path):
        pass


def test_a_list_as_long_as_memory_is_no_list(whole: bytes, tmp_path: Path) -> None:
    path, name = tmp_path / "x.gguf", b"tokenizer.ggml.tokens"
    place = whole.index(name) + len(name) + 8  # behind the types of the setting and of its entries
    path.write_bytes(whole[:place] + struct.pack("<Q", 2**40) + whole[place + 8 :])
    with pytest.raises(BadInput, match="cut off or damaged"), open_gguf(path):
        pass


@pytest.mark.parametrize("bound", ["_ENTRIES", "_PARTS", "_HEADER_BYTES"])
def test_a_header_has_so_many_parts_at_most(
    bound: str, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.gguf").write_bytes(whole)
    monkeypatch.setattr(header, bound, 2)  # the file has three tokens, six settings
    with pytest.raises(BadInput, match="cut off or damaged"), open_gguf(tmp_path / "x.gguf"):
        pass


def test_two_tensors_on_the_same_bytes_are_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    place = whole.index(b"two") + 3 + 4 + 8 + 4  # dimensions, the one of them, kind
    assert struct.unpack_from("<Q", whole, place) == (256,)
    path.write_bytes(whole[:place] + struct.pack("<Q", 0) + whole[place + 8 :])
    with pytest.raises(BadInput, match="lies beyond the file's end or on another"), open_gguf(path):
        pass


def test_one_part_of_several_and_an_unknown_kind_are_told(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    place = whole.index(b"two") + 3 + 4 + 8
    path.write_bytes(whole[:place] + struct.pack("<I", 999) + whole[place + 4 :])
    with pytest.raises(BadConfig, match="'two' is of ggml type 999"), open_gguf(path):
        pass
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(BadConfig, match="one of 3 parts; put them together with llama-gguf-split"), open_gguf(path):
        pass
